//! Statistics that the caller stores in f32.
//!
//! Every operation makes and takes statistics in f64. With f32 it runs on a copy, by one line at its start. The copy costs an
//! allocation. A call with f64 pays a test.
#![forbid(unsafe_code)]

use crate::args::grad::GradArgs;
use crate::args::norm::NormArgs;
use crate::element::{Wide, WideMut};
use crate::error::Error;
use crate::memory::filled;
use crate::shape::check_optional;

impl<'a> NormArgs<'a> {
    #[inline(always)]
    pub(crate) fn set_mean(&mut self, mean: WideMut<'a>) {
        (self.mean, self.f32_stats[0]) = by_type_mut(mean);
    }

    #[inline(always)]
    pub(crate) fn set_rstd(&mut self, rstd: WideMut<'a>) {
        (self.rstd, self.f32_stats[1]) = by_type_mut(rstd);
    }

    #[inline(always)]
    pub(crate) fn has_f32_stats(&self) -> bool {
        self.f32_stats.iter().any(Option::is_some)
    }

    /// Runs an operation on `expected` rows, groups or channels with the same arguments, but statistics in f64. Then rounds them.
    #[cold]
    pub(crate) fn with_f64_stats(
        &mut self,
        expected: usize,
        run: impl FnOnce(&mut NormArgs<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let [mean, rstd] = core::mem::take(&mut self.f32_stats);
        // The copy is as long as it has to be, whatever was passed.
        check_optional("mean", mean.as_deref(), expected)?;
        check_optional("rstd", rstd.as_deref(), expected)?;
        let mut wide_mean = filled(0.0, mean.as_deref().map_or(0, <[f32]>::len))?;
        let mut wide_rstd = filled(0.0, rstd.as_deref().map_or(0, <[f32]>::len))?;
        let mut args = self.reborrow();
        if mean.is_some() {
            args.mean = Some(&mut wide_mean);
        }
        if rstd.is_some() {
            args.rstd = Some(&mut wide_rstd);
        }
        run(&mut args)?;
        for (rounded, wide) in [(mean, wide_mean), (rstd, wide_rstd)] {
            for (rounded, wide) in rounded.into_iter().flatten().zip(wide) {
                *rounded = wide as f32;
            }
        }
        Ok(())
    }
}

impl<'a> GradArgs<'a> {
    #[inline(always)]
    pub(crate) fn set_mean(&mut self, mean: Wide<'a>) {
        (self.mean, self.f32_stats[0]) = by_type(mean);
    }

    #[inline(always)]
    pub(crate) fn set_rstd(&mut self, rstd: Wide<'a>) {
        (self.rstd, self.f32_stats[1]) = by_type(rstd);
    }

    #[inline(always)]
    pub(crate) fn has_f32_stats(&self) -> bool {
        self.f32_stats.iter().any(Option::is_some)
    }

    /// Runs a backward pass over `expected` rows, groups or channels with the same arguments, but statistics in f64.
    #[cold]
    pub(crate) fn with_f64_stats(
        &mut self,
        expected: usize,
        run: impl FnOnce(&mut GradArgs<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let [mut wide_mean, mut wide_rstd] = [Vec::new(), Vec::new()];
        let mut args = self.reborrow();
        let [mean, rstd] = core::mem::take(&mut args.f32_stats);
        check_optional("mean", mean, expected)?;
        check_optional("rstd", rstd, expected)?;
        if let Some(mean) = mean {
            args.mean = Some(Wide::Single(mean).in_f64(&mut wide_mean)?);
        }
        if let Some(rstd) = rstd {
            args.rstd = Some(Wide::Single(rstd).in_f64(&mut wide_rstd)?);
        }
        run(&mut args)
    }
}

/// Statistics in f64 and in f32, of which one is there.
#[inline(always)]
fn by_type(statistics: Wide<'_>) -> (Option<&[f64]>, Option<&[f32]>) {
    match statistics {
        Wide::Single(statistics) => (None, Some(statistics)),
        Wide::Double(statistics) => (Some(statistics), None),
    }
}

/// Places of statistics in f64 and in f32, of which one is there.
#[inline(always)]
fn by_type_mut(statistics: WideMut<'_>) -> (Option<&mut [f64]>, Option<&mut [f32]>) {
    match statistics {
        WideMut::Single(statistics) => (None, Some(statistics)),
        WideMut::Double(statistics) => (Some(statistics), None),
    }
}
