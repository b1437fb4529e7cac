//! The CPU features of each backend: the one place that names them.
//!
//! A list is written once and becomes both the detection and the `#[target_feature]` entry. The two
//! cannot disagree.
#![forbid(unsafe_code)]

/// Gives a token type its `detect` and its body of `vectorize`.
#[cfg(target_arch = "x86_64")]
macro_rules! backend_features {
    ($token:ident: $($feature:tt),+) => {
        impl $token {
            /// The token, if this CPU and operating system have every feature of the backend.
            pub(crate) fn detect() -> Option<Self> {
                if true $(&& std::arch::is_x86_feature_detected!($feature))+ {
                    Some(Self(()))
                } else {
                    None
                }
            }

            /// Runs a kernel with the backend's features enabled. It is never inlined: a kernel would be compiled again for
            /// each of its callers.
            #[inline(never)]
            #[target_feature($(enable = $feature),+)]
            pub(super) fn enter<K: $crate::simd::contract::Kernel>(self, kernel: K) -> K::Output {
                kernel.run(self)
            }

            /// The same for what a kernel seldom does.
            #[cold]
            #[inline(never)]
            #[target_feature($(enable = $feature),+)]
            pub(super) fn enter_outlined<K: $crate::simd::contract::Kernel>(self, kernel: K) -> K::Output {
                kernel.run(self)
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
macro_rules! avx2_features {
    ($token:ident) => {
        backend_features!($token: "avx2", "fma");
    };
}

#[cfg(target_arch = "x86_64")]
macro_rules! avx512_features {
    ($token:ident) => {
        backend_features!(
            $token: "avx512f", "avx512bw", "avx512dq", "avx512vl", "avx2", "fma"
        );
    };
}

/// The same for the conversions of f16 that most CPUs with AVX2 have: the detection, and functions that need it.
#[cfg(all(target_arch = "x86_64", feature = "half"))]
macro_rules! f16c_features {
    ($($function:item)+) => {
        /// Whether this CPU and operating system have it.
        pub(super) fn detect() -> bool {
            std::arch::is_x86_feature_detected!("f16c")
        }

        $(
            #[target_feature(enable = "f16c")]
            $function
        )+
    };
}

#[cfg(all(target_arch = "x86_64", feature = "half"))]
pub(super) use f16c_features;
#[cfg(target_arch = "x86_64")]
pub(super) use {avx2_features, avx512_features, backend_features};

/// Whether the portable backend was compiled for a CPU that fuses multiply-adds (`wide` chooses its
/// instructions at compile time).
pub(super) const PORTABLE_FUSED: bool = cfg!(any(
    all(target_feature = "avx", target_feature = "fma"),
    all(target_arch = "aarch64", target_feature = "neon"),
));
