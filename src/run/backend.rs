//! Which instructions an operation uses: chosen once, dispatched once a call.
#![forbid(unsafe_code)]

use core::fmt;
use std::sync::OnceLock;

use crate::error::Error;
#[cfg(target_arch = "x86_64")]
use crate::simd::{Avx2, Avx512};
use crate::simd::{BACKENDS, Kernel, Portable, Simd};
/// The instructions that an operation runs on.
///
/// Operations use [`Backend::detect`] unless told otherwise (`with_backend`). A `Backend` can only be
/// had for instructions that this CPU has, so every operation is safe on every `Backend` that exists.
///
/// | name | instructions | multiply-add |
/// |---|---|---|
/// | `portable` | what the crate was compiled for: SSE2, NEON, WASM | fused if that has FMA |
/// | `avx2` | AVX2 and FMA | fused |
/// | `avx512` | AVX-512 F, BW, DQ and VL | fused |
///
/// Backends whose multiply-add is fused ([`Backend::is_fused`]) give the same bits.
///
/// ```
/// use evenkeel::Backend;
///
/// println!("this machine gets {}", Backend::detect());
/// assert!(Backend::available().any(|backend| backend == Backend::portable()));
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Backend(Repr);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Repr {
    Portable(Portable),
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
}

/// Evaluates an expression with the token of whichever backend it is.
macro_rules! with_token {
    ($backend:expr, $token:ident => $body:expr) => {
        match $backend.0 {
            Repr::Portable($token) => $body,
            #[cfg(target_arch = "x86_64")]
            Repr::Avx2($token) => $body,
            #[cfg(target_arch = "x86_64")]
            Repr::Avx512($token) => $body,
        }
    };
}

impl Backend {
    /// Every name that [`Backend::by_name`] knows, slowest first.
    pub const NAMES: [&'static str; 3] = BACKENDS;

    /// The fastest backend that this CPU has. Looks once; later calls cost a load.
    #[must_use]
    pub fn detect() -> Self {
        static BEST: OnceLock<Backend> = OnceLock::new();
        *BEST.get_or_init(|| Self::available().last().unwrap_or(Self::portable()))
    }

    /// Every backend that this CPU has, slowest first.
    pub fn available() -> impl Iterator<Item = Self> {
        [Some(Self::portable()), Self::avx2(), Self::avx512()].into_iter().flatten()
    }

    /// The backend that every CPU has.
    #[must_use]
    pub const fn portable() -> Self {
        Self(Repr::Portable(Portable))
    }

    /// AVX2 and FMA, if this CPU has them.
    #[must_use]
    pub fn avx2() -> Option<Self> {
        #[cfg(target_arch = "x86_64")]
        return Avx2::detect().map(|token| Self(Repr::Avx2(token)));
        #[cfg(not(target_arch = "x86_64"))]
        None
    }

    /// AVX-512 F, BW, DQ and VL, if this CPU has them.
    #[must_use]
    pub fn avx512() -> Option<Self> {
        #[cfg(target_arch = "x86_64")]
        return Avx512::detect().map(|token| Self(Repr::Avx512(token)));
        #[cfg(not(target_arch = "x86_64"))]
        None
    }

    /// The backend of this name, as [`Backend::name`] gives it.
    ///
    /// # Errors
    ///
    /// * [`Error::UnknownBackend`]: there is none of this name.
    /// * [`Error::UnavailableBackend`]: there is, but this CPU does not have it.
    pub fn by_name(name: &str) -> Result<Self, Error> {
        let Some(known) = Self::NAMES.into_iter().find(|&known| known == name) else {
            return Err(Error::UnknownBackend { got: name.to_owned() });
        };
        Self::available()
            .find(|backend| backend.name() == known)
            .ok_or(Error::UnavailableBackend { got: known })
    }

    /// `portable`, `avx2` or `avx512`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self.0 {
            Repr::Portable(_) => Self::NAMES[0],
            #[cfg(target_arch = "x86_64")]
            Repr::Avx2(_) => Self::NAMES[1],
            #[cfg(target_arch = "x86_64")]
            Repr::Avx512(_) => Self::NAMES[2],
        }
    }

    /// Whether multiply-adds round once. All such backends give the same bits.
    #[must_use]
    pub const fn is_fused(self) -> bool {
        const fn fused<S: Simd>(_: S) -> bool {
            S::FUSED
        }
        with_token!(self, token => fused(token))
    }

    /// Runs a kernel on this backend.
    #[inline]
    pub(crate) fn dispatch<K: Kernel>(self, kernel: K) -> K::Output {
        with_token!(self, token => token.vectorize(kernel))
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Backend({})", self.name())
    }
}

#[cfg(test)]
#[cfg(target_arch = "x86_64")]
mod tests {
    use super::Backend;

    /// The features are said a second time on purpose: a backend that is never found is tested by nothing else.
    #[test]
    fn the_backends_of_a_cpu_are_those_whose_features_it_has() {
        macro_rules! has {
            ($($feature:tt),+) => { true $(&& std::arch::is_x86_feature_detected!($feature))+ };
        }
        let (avx2, avx512) = (Backend::avx2(), Backend::avx512());
        assert_eq!(avx2.is_some(), has!("avx2", "fma"));
        let features_512 = has!("avx512f", "avx512bw", "avx512dq", "avx512vl", "avx2", "fma");
        assert_eq!(avx512.is_some(), features_512);
        let fastest = avx512.or(avx2).unwrap_or(Backend::portable());
        assert_eq!(Backend::detect(), fastest);
        for backend in Backend::available() {
            let portable = backend == Backend::portable();
            let built_fused = cfg!(all(target_feature = "avx", target_feature = "fma"));
            assert_eq!(backend.is_fused(), built_fused || !portable, "{backend}");
            let name = backend.name();
            assert_eq!(format!("{backend} {backend:?}"), format!("{name} Backend({name})"));
        }
    }
}
