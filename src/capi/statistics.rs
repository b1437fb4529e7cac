//! Statistics that C passes or receives: doubles, or floats by way of a temporary.

use super::buffers::{Buffer, EVENKEEL_F32, evenkeel_input, evenkeel_output};
use super::status::Fault;
use crate::args::norm::NormArgs;
use crate::memory::filled;
use crate::shape::check_length;

/// Runs an operation that writes mean and rstd of `expected` rows, channels or groups, as far as they are there, and rounds them to
/// floats where C passes floats.
///
/// # Safety
///
/// As for [`evenkeel_output::slice_mut`].
#[inline(always)]
pub(super) unsafe fn write_statistics<'a>(
    [mean, rstd]: [evenkeel_output; 2],
    expected: usize,
    args: NormArgs<'a>,
    run: impl FnOnce(NormArgs<'_>) -> Result<(), Box<Fault>>,
) -> Result<(), Box<Fault>> {
    // SAFETY: the caller's promise.
    unsafe {
        if mean.dtype == EVENKEEL_F32 || rstd.dtype == EVENKEEL_F32 {
            return rounded([mean, rstd], expected, args, run);
        }
        with_statistics(args, [mean.optional_mut(), rstd.optional_mut()], run)
    }
}

/// # Safety
///
/// As for [`write_statistics`].
#[cold]
unsafe fn rounded<'a>(
    outputs: [evenkeel_output; 2],
    expected: usize,
    args: NormArgs<'a>,
    run: impl FnOnce(NormArgs<'_>) -> Result<(), Box<Fault>>,
) -> Result<(), Box<Fault>> {
    let [mean, rstd] = outputs;
    let single = |output: evenkeel_output| output.dtype == EVENKEEL_F32;
    let mut wide = [Vec::new(), Vec::new()];
    for ((arg, output), wide) in [("mean", mean), ("rstd", rstd)].into_iter().zip(&mut wide) {
        if single(output) {
            output.check_length(arg, expected)?;
            *wide = filled(0.0, expected)?;
        }
    }
    let [wide_mean, wide_rstd] = &mut wide;
    // SAFETY: the caller's promise; the type is that which was checked.
    unsafe {
        let mean = if single(mean) { Some(&mut wide_mean[..]) } else { mean.optional_mut() };
        let rstd = if single(rstd) { Some(&mut wide_rstd[..]) } else { rstd.optional_mut() };
        with_statistics(args, [mean, rstd], run)?;
    }
    for (output, wide) in outputs.into_iter().zip(&wide) {
        if single(output) {
            // SAFETY: the same; the slices before are gone.
            let to = unsafe { output.slice_mut::<f32>() };
            to.iter_mut().zip(wide).for_each(|(single, &wide)| *single = wide as f32);
        }
    }
    Ok(())
}

/// Runs an operation with mean and rstd, or rstd alone, or none.
#[inline(always)]
fn with_statistics<'a>(
    args: NormArgs<'a>,
    [mean, rstd]: [Option<&'a mut [f64]>; 2],
    run: impl FnOnce(NormArgs<'_>) -> Result<(), Box<Fault>>,
) -> Result<(), Box<Fault>> {
    if mean.is_some() && rstd.is_none() {
        return Err(Fault::Absent { arg: "rstd" }.boxed());
    }
    run(NormArgs { mean, rstd, ..args })
}

/// Runs an operation that reads mean and rstd of `expected` rows or channels.
///
/// # Safety
///
/// As for [`Buffer::slice`].
pub(super) unsafe fn read_statistics(
    [mean, rstd]: [evenkeel_input; 2],
    expected: usize,
    run: impl FnOnce(&[f64], &[f64]) -> Result<(), Box<Fault>>,
) -> Result<(), Box<Fault>> {
    let (mut wide_mean, mut wide_rstd) = (Vec::new(), Vec::new());
    // SAFETY: the caller's promise.
    unsafe {
        run(
            doubles("mean", mean, expected, &mut wide_mean)?,
            doubles("rstd", rstd, expected, &mut wide_rstd)?,
        )
    }
}

/// A statistic as doubles: in `wide` if C passes floats.
///
/// # Safety
///
/// As for [`Buffer::slice`].
unsafe fn doubles<'a>(
    arg: &'static str,
    input: evenkeel_input,
    expected: usize,
    wide: &'a mut Vec<f64>,
) -> Result<&'a [f64], Box<Fault>> {
    if input.dtype != EVENKEEL_F32 {
        // SAFETY: the caller's promise; the other type that was checked.
        return Ok(unsafe { input.slice() });
    }
    check_length(arg, input.len, expected)?;
    *wide = filled(0.0, expected)?;
    // SAFETY: the caller's promise.
    let single = unsafe { input.slice::<f32>() };
    wide.iter_mut().zip(single).for_each(|(wide, &single)| *wide = single.into());
    Ok(wide)
}
