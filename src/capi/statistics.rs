//! Statistics that C passes or receives: doubles, or floats by way of a temporary.

use core::ffi::c_void;

use super::buffers::{Buffer, Extent, temporary};
use super::fault::Fault;
use crate::args::norm::NormArgs;
use crate::norm::normalize_scale_shift::Statistics;
use crate::shape::Rows;

/// The element type of statistics.
pub type evenkeel_dtype = u32;
/// double, what the operations compute: nothing is lost.
pub const EVENKEEL_F64: evenkeel_dtype = 0;
/// float, as many engines keep statistics: each is rounded once. A call with float statistics allocates a temporary of
/// doubles for them.
pub const EVENKEEL_F32: evenkeel_dtype = 1;

/// A statistic of every row or column: f64, or f32 by way of a temporary.
pub(super) struct StatisticBuffer {
    buffer: Buffer<c_void>,
    single: bool,
}

impl StatisticBuffer {
    fn new(buffer: Buffer<c_void>, dtype: evenkeel_dtype) -> Result<Self, Box<Fault>> {
        match dtype {
            EVENKEEL_F64 | EVENKEEL_F32 => Ok(Self { buffer, single: dtype == EVENKEEL_F32 }),
            got => {
                let expected = "EVENKEEL_F64 or EVENKEEL_F32";
                Err(Fault::Option { arg: "stats_dtype", expected, got }.boxed())
            }
        }
    }

    pub(super) fn input(
        arg: &'static str,
        start: *const c_void,
        len: usize,
        dtype: evenkeel_dtype,
    ) -> Result<Self, Box<Fault>> {
        Self::new(Buffer::input(arg, start, len), dtype)
    }

    pub(super) fn output(
        arg: &'static str,
        start: *mut c_void,
        len: usize,
        dtype: evenkeel_dtype,
    ) -> Result<Self, Box<Fault>> {
        Self::new(Buffer::output(arg, start, len), dtype)
    }

    pub(super) fn is_absent(&self) -> bool {
        self.buffer.is_absent()
    }

    /// As [`Buffer::extent`].
    #[inline(always)]
    pub(super) fn extent(&self) -> Extent {
        match self.single {
            true => self.buffer.cast::<f32>().extent(),
            false => self.buffer.cast::<f64>().extent(),
        }
    }

    /// A temporary of doubles for the floats of `expected` rows or columns. It is empty for doubles, and where the statistic
    /// is absent. Returns an error before it allocates if the floats are more or fewer.
    #[inline(always)]
    pub(super) fn temporary(&self, expected: usize) -> Result<Vec<f64>, Box<Fault>> {
        if !self.single || self.is_absent() {
            return Ok(Vec::new());
        }
        self.buffer.check_length(expected)?;
        temporary(expected)
    }

    /// The doubles to be read: in `wide` if C passed floats.
    ///
    /// # Safety
    ///
    /// As for [`Buffer::slice`].
    #[inline(always)]
    pub(super) unsafe fn read<'a>(&self, wide: &'a mut [f64]) -> &'a [f64] {
        if !self.single {
            // SAFETY: the caller's promise.
            return unsafe { self.buffer.cast().slice() };
        }
        // SAFETY: the caller's promise.
        for (wide, &single) in wide.iter_mut().zip(unsafe { self.buffer.cast::<f32>().slice() }) {
            *wide = single.into();
        }
        wide
    }

    /// The doubles to be written, if the statistic is wanted: `wide` if C passed floats.
    ///
    /// # Safety
    ///
    /// As for [`Buffer::slice_mut`].
    #[inline(always)]
    pub(super) unsafe fn write<'a>(&self, wide: &'a mut [f64]) -> Option<&'a mut [f64]> {
        match (self.is_absent(), self.single) {
            (true, _) => None,
            (false, true) => Some(wide),
            // SAFETY: the caller's promise.
            (false, false) => Some(unsafe { self.buffer.cast().slice_mut() }),
        }
    }

    /// Rounds `wide` to the floats of C, if C passed floats.
    ///
    /// # Safety
    ///
    /// As for [`Buffer::slice_mut`].
    #[inline(always)]
    pub(super) unsafe fn finish(&self, wide: &[f64]) {
        if wide.is_empty() {
            return;
        }
        // SAFETY: the caller's promise; there is a temporary for floats only.
        let single = unsafe { self.buffer.cast::<f32>().slice_mut() };
        for (single, &wide) in single.iter_mut().zip(wide) {
            *single = wide as f32;
        }
    }
}

/// Returns an error if one of two statistics is absent and the other is not.
pub(super) fn both_or_neither(
    mean: &StatisticBuffer,
    rstd: &StatisticBuffer,
    len: usize,
) -> Result<(), Box<Fault>> {
    match (mean.is_absent(), rstd.is_absent()) {
        (true, false) if len > 0 => Err(Fault::Null { arg: "mean", len }.boxed()),
        (false, true) if len > 0 => Err(Fault::Null { arg: "rstd", len }.boxed()),
        _ => Ok(()),
    }
}

/// Mean and rstd that an operation writes, as far as they are wanted.
pub(super) type MeanRstd<'a> = [Option<&'a mut [f64]>; 2];

/// Runs an operation that writes mean and rstd of so many rows or columns, and rounds them to floats where C passed floats.
///
/// # Safety
///
/// As for [`Buffer::slice_mut`].
#[inline(always)]
pub(super) unsafe fn write_statistics(
    [mean, rstd]: [&StatisticBuffer; 2],
    expected: usize,
    run: impl FnOnce(MeanRstd<'_>) -> Result<(), Box<Fault>>,
) -> Result<(), Box<Fault>> {
    let mut wide = [mean.temporary(expected)?, rstd.temporary(expected)?];
    let [wide_mean, wide_rstd] = &mut wide;
    // SAFETY: the caller's promise.
    run(unsafe { [mean.write(wide_mean), rstd.write(wide_rstd)] })?;
    let [wide_mean, wide_rstd] = &wide;
    // SAFETY: the same; the slices before are gone.
    unsafe {
        mean.finish(wide_mean);
        rstd.finish(wide_rstd);
    }
    Ok(())
}

/// The arguments with mean and rstd, of which there are both or neither.
#[inline(always)]
pub(super) fn with_statistics<'a>(args: NormArgs<'a>, [mean, rstd]: MeanRstd<'a>) -> NormArgs<'a> {
    match mean.zip(rstd) {
        Some((mean, rstd)) => args.stats(mean, rstd),
        None => args,
    }
}

/// The statistics that C passes, and the gamma and beta, to normalise x by.
pub(super) struct PassedStatistics {
    pub(super) mean: StatisticBuffer,
    pub(super) rstd: StatisticBuffer,
    pub(super) gamma: Buffer<f32>,
    pub(super) beta: Buffer<f32>,
}

impl PassedStatistics {
    /// The extents of everything that is read.
    #[inline(always)]
    pub(super) fn inputs(&self, x: Buffer<f32>) -> [Extent; 5] {
        let Self { mean, rstd, gamma, beta } = self;
        [x.extent(), mean.extent(), rstd.extent(), gamma.extent(), beta.extent()]
    }

    /// Runs an operation with what is read, of rows or of columns.
    ///
    /// # Safety
    ///
    /// As for [`Buffer::slice`].
    pub(super) unsafe fn read(
        &self,
        rows: Rows,
        of_rows: bool,
        run: impl FnOnce(Statistics<'_>, NormArgs<'_>) -> Result<(), Box<Fault>>,
    ) -> Result<(), Box<Fault>> {
        let Self { mean, rstd, gamma, beta } = self;
        let each = if of_rows { rows.rows() } else { rows.cols() };
        let mut wide = [mean.temporary(each)?, rstd.temporary(each)?];
        let [wide_mean, wide_rstd] = &mut wide;
        // SAFETY: the caller's promise.
        unsafe {
            let (mean, rstd) = (mean.read(wide_mean), rstd.read(wide_rstd));
            let statistics = match of_rows {
                true => Statistics::of_rows(mean, rstd),
                false => Statistics::of_columns(mean, rstd),
            };
            let args = NormArgs::new().maybe_gamma(gamma.optional()).maybe_beta(beta.optional());
            run(statistics, args)
        }
    }
}
