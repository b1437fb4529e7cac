//! Prefetches, and the fence after non-temporal stores.

/// Orders this thread's non-temporal stores before its later stores.
#[inline(always)]
pub(super) fn fence() {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: SSE is part of x86-64.
    unsafe {
        core::arch::x86_64::_mm_sfence();
    }
}

/// Prefetches a cache line to L1. A prefetch is a hint: any address is allowed.
#[inline(always)]
pub(crate) fn prefetch(address: *const f32) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: SSE is part of x86-64, and a prefetch never faults.
    unsafe {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

/// Prefetches a cache line for a store.
#[inline(always)]
pub(super) fn prefetch_write(address: *const f32) {
    // The intrinsic would become a prefetch for a load: it needs the feature PRFCHW, which has no name in Rust.
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch never faults and changes nothing; a CPU without it has a no-op there.
    unsafe {
        core::arch::asm!(
            "prefetchw [{}]",
            in(reg) address,
            options(nostack, readonly, preserves_flags)
        );
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

/// The memory of `x` as f32, twice as many.
pub(crate) fn halves(x: &mut [f64]) -> &mut [f32] {
    // SAFETY: the same bytes, aligned for f64; every one of them is part of an f32, and any bits are one.
    unsafe { core::slice::from_raw_parts_mut(x.as_mut_ptr().cast(), 2 * x.len()) }
}
