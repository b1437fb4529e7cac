//! Statistics that C passes or receives: doubles or floats.

use super::buffers::{Buffer, evenkeel_input, evenkeel_output};
use super::dtype::EVENKEEL_F32;
use super::status::Fault;
use crate::args::grad::GradArgs;
use crate::args::norm::NormArgs;
use crate::element::{Wide, WideMut};

impl evenkeel_input {
    /// Statistics.
    ///
    /// # Safety
    ///
    /// As for [`Buffer::slice`]; the type is `EVENKEEL_F64` or `EVENKEEL_F32`, as checked.
    #[inline(always)]
    pub(super) unsafe fn wide<'a>(&self) -> Wide<'a> {
        // SAFETY: the caller's promise.
        unsafe {
            match self.dtype {
                EVENKEEL_F32 => Wide::Single(self.slice()),
                _ => Wide::Double(self.slice()),
            }
        }
    }
}

impl evenkeel_output {
    /// The place of statistics.
    ///
    /// # Safety
    ///
    /// As for [`slice_mut`](Self::slice_mut); the type is `EVENKEEL_F64` or `EVENKEEL_F32`, as checked.
    #[inline(always)]
    unsafe fn wide_mut<'a>(&self) -> WideMut<'a> {
        // SAFETY: the caller's promise.
        unsafe {
            match self.dtype {
                EVENKEEL_F32 => WideMut::Single(self.slice_mut()),
                _ => WideMut::Double(self.slice_mut()),
            }
        }
    }
}

/// No places of statistics.
pub(super) const NO_STATS: [&evenkeel_output; 2] = [&evenkeel_output::ABSENT; 2];

/// Adds the places of mean and rstd: of both, of rstd alone, or of none.
///
/// # Safety
///
/// As for [`evenkeel_output::slice_mut`]; the types are `EVENKEEL_F64` or `EVENKEEL_F32`, as checked.
#[inline(always)]
pub(super) unsafe fn add_stats<'a>(
    args: &mut NormArgs<'a>,
    [mean, rstd]: [&evenkeel_output; 2],
) -> Result<(), Box<Fault>> {
    check_rstd(mean, rstd)?;
    if mean.is_there() {
        // SAFETY: the caller's promise.
        args.set_mean(unsafe { mean.wide_mut() });
    }
    if rstd.is_there() {
        // SAFETY: the caller's promise.
        args.set_rstd(unsafe { rstd.wide_mut() });
    }
    Ok(())
}

/// Adds mean and rstd that C has kept: both, rstd alone, or none.
///
/// # Safety
///
/// As for [`Buffer::slice`]; the types are `EVENKEEL_F64` or `EVENKEEL_F32`, as checked.
pub(super) unsafe fn add_saved_stats(
    args: &mut GradArgs<'_>,
    [mean, rstd]: [&evenkeel_input; 2],
) -> Result<(), Box<Fault>> {
    check_rstd(mean, rstd)?;
    if mean.is_there() {
        // SAFETY: the caller's promise.
        args.set_mean(unsafe { mean.wide() });
    }
    if rstd.is_there() {
        // SAFETY: the caller's promise.
        args.set_rstd(unsafe { rstd.wide() });
    }
    Ok(())
}

/// Returns an error where there is a mean without an rstd.
#[inline(always)]
fn check_rstd(mean: &impl Buffer, rstd: &impl Buffer) -> Result<(), Box<Fault>> {
    match mean.is_there() && !rstd.is_there() {
        true => Err(Fault::Absent { arg: "rstd" }.boxed()),
        false => Ok(()),
    }
}
