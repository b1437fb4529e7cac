//! The backends that are chosen at run time, on `std::arch`.

mod avx2;
mod avx512;
#[cfg(feature = "half")]
mod f16c;

pub(crate) use avx2::Avx2;
pub(crate) use avx512::Avx512;
