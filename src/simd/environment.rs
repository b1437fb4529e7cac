//! The floating-point environment: what the kernels' bits are promised under.

/// Runs `work` with the calling thread's floating-point control word set to the default (round to nearest, subnormals
/// kept, no exception trapped), and restores the caller's word after it, even if `work` panics.
///
/// Only the C ABI needs it: a host built with `-ffast-math` enters with subnormals flushed. Rust code may assume the
/// default environment. `work` is therefore a function call, which no operation of it can leave.
#[inline(always)]
pub(crate) fn with_default<T>(work: impl FnOnce() -> T) -> T {
    let found = control();
    if found & CONTROL == DEFAULT {
        return work();
    }
    let _restore = Restore(found);
    set_control(DEFAULT);
    outlined(work)
}

#[inline(never)]
fn outlined<T>(work: impl FnOnce() -> T) -> T {
    work()
}

/// Restores the control word when it goes out of scope.
struct Restore(ControlWord);

impl Drop for Restore {
    fn drop(&mut self) {
        set_control(self.0);
    }
}

#[cfg(target_arch = "x86_64")]
use x86_64::{CONTROL, ControlWord, DEFAULT, control, set_control};

#[cfg(target_arch = "x86_64")]
mod x86_64 {
    use core::arch::asm;

    /// MXCSR.
    pub(super) type ControlWord = u32;
    /// All but the six flags that say which exceptions have happened.
    pub(super) const CONTROL: ControlWord = !0x3f;
    /// Every exception masked, nearest, neither flush-to-zero nor denormals-are-zero.
    pub(super) const DEFAULT: ControlWord = 0x1f80;

    #[inline(always)]
    pub(super) fn control() -> ControlWord {
        let mut word = 0;
        // SAFETY: SSE is part of x86-64; writes the four bytes of `word`.
        unsafe { asm!("stmxcsr [{}]", in(reg) &raw mut word, options(nostack, preserves_flags)) };
        word
    }

    #[inline(always)]
    pub(super) fn set_control(word: ControlWord) {
        // SAFETY: SSE is part of x86-64; the word is the default or was read from the register, so it has
        // no reserved bit.
        unsafe {
            asm!("ldmxcsr [{}]", in(reg) &raw const word, options(nostack, preserves_flags));
        };
    }
}

#[cfg(target_arch = "aarch64")]
use aarch64::{CONTROL, ControlWord, DEFAULT, control, set_control};

#[cfg(target_arch = "aarch64")]
mod aarch64 {
    use core::arch::asm;

    /// FPCR. The flags that say which exceptions have happened are in another register.
    pub(super) type ControlWord = u64;
    pub(super) const CONTROL: ControlWord = ControlWord::MAX;
    /// No exception trapped, nearest, subnormals kept.
    pub(super) const DEFAULT: ControlWord = 0;

    #[inline(always)]
    pub(super) fn control() -> ControlWord {
        let word;
        // SAFETY: reads a register that every AArch64 CPU has.
        unsafe { asm!("mrs {}, fpcr", out(reg) word, options(nostack, preserves_flags)) };
        word
    }

    #[inline(always)]
    pub(super) fn set_control(word: ControlWord) {
        // SAFETY: the word is the default or was read from the register.
        unsafe { asm!("msr fpcr, {}", in(reg) word, options(nostack, preserves_flags)) };
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
use other::{CONTROL, ControlWord, DEFAULT, control, set_control};

/// Other CPUs: the environment is taken to be the default one.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
mod other {
    pub(super) type ControlWord = u32;
    pub(super) const CONTROL: ControlWord = 0;
    pub(super) const DEFAULT: ControlWord = 0;

    pub(super) fn control() -> ControlWord {
        DEFAULT
    }

    pub(super) fn set_control(_: ControlWord) {}
}
