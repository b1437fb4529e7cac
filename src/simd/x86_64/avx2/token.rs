//! The token of the backend, and the macro that calls intrinsics with it.

use crate::simd::features::{avx2_features, backend_features};

/// Proof that the CPU has the features of this backend: only `detect` makes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Avx2(());

avx2_features!(Avx2);

/// Evaluates an expression that needs the features of this backend and nothing else: intrinsics that take and return
/// values, and the entry.
macro_rules! with_token {
    ($token:expr, $intrinsics:expr) => {{
        let _: Avx2 = $token;
        // SAFETY: an `Avx2` exists only where `detect` saw every feature of the backend, and nothing
        // passed here needs more or takes a pointer.
        unsafe { $intrinsics }
    }};
}

pub(super) use with_token;
