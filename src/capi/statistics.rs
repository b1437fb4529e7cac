//! Statistics that C passes or receives: doubles, or floats by way of a temporary.

use super::buffers::{Buffer, evenkeel_input, evenkeel_output};
use super::dtype::EVENKEEL_F32;
use super::status::Fault;
use crate::memory::filled;
use crate::shape::check_length;

/// Mean and rstd that an operation writes: both, rstd alone, or none.
pub(super) type MeanRstd<'a> = [Option<&'a mut [f64]>; 2];

/// Runs an operation that writes mean and rstd of `expected` rows, channels or groups, as far as they are there, and rounds them
/// to floats where C passes floats.
///
/// # Safety
///
/// As for [`evenkeel_output::slice_mut`].
#[inline(always)]
pub(super) unsafe fn write_statistics(
    [mean, rstd]: [&evenkeel_output; 2],
    expected: usize,
    run: impl FnOnce(MeanRstd<'_>) -> Result<(), Box<Fault>>,
) -> Result<(), Box<Fault>> {
    if mean.is_there() && !rstd.is_there() {
        return Err(Fault::Absent { arg: "rstd" }.boxed());
    }
    // SAFETY: the caller's promise.
    unsafe {
        match mean.dtype == EVENKEEL_F32 || rstd.dtype == EVENKEEL_F32 {
            true => rounded([mean, rstd], expected, run),
            false => run([mean.optional_mut(), rstd.optional_mut()]),
        }
    }
}

/// # Safety
///
/// As for [`write_statistics`].
#[cold]
unsafe fn rounded(
    outputs: [&evenkeel_output; 2],
    expected: usize,
    run: impl FnOnce(MeanRstd<'_>) -> Result<(), Box<Fault>>,
) -> Result<(), Box<Fault>> {
    let mut wide = [Vec::new(), Vec::new()];
    let single = |output: &evenkeel_output| output.dtype == EVENKEEL_F32;
    for ((arg, output), wide) in ["mean", "rstd"].into_iter().zip(outputs).zip(&mut wide) {
        if single(output) {
            output.check_length(arg, expected)?;
            *wide = filled(0.0, expected)?;
        }
    }
    let ([mean, rstd], [wide_mean, wide_rstd]) = (outputs, &mut wide);
    // SAFETY: the caller's promise; the type is that which was checked.
    unsafe {
        let mean = if single(mean) { Some(&mut wide_mean[..]) } else { mean.optional_mut() };
        let rstd = if single(rstd) { Some(&mut wide_rstd[..]) } else { rstd.optional_mut() };
        run([mean, rstd])?;
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

/// Runs an operation that reads mean and rstd of `expected` rows or channels.
///
/// # Safety
///
/// As for [`Buffer::slice`].
pub(super) unsafe fn read_statistics(
    [mean, rstd]: [&evenkeel_input; 2],
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
pub(super) unsafe fn doubles<'a>(
    arg: &'static str,
    input: &evenkeel_input,
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
