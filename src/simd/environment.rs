//! The floating-point environment: what the kernels' bits are promised under.

/// A control word: how a thread rounds, treats subnormal numbers, and which exceptions trap.
///
/// Only the C ABI needs it: a host built with `-ffast-math` enters with subnormals flushed. Rust code may assume the
/// default environment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Control(ControlWord);

impl Control {
    /// Round to nearest, subnormals kept, no exception trapped.
    pub(crate) const DEFAULT: Self = Self(DEFAULT);

    /// The calling thread's, without exceptions that trap.
    pub(crate) fn of_thread() -> Self {
        Self(control() & CONTROL & !TRAPS | DEFAULT)
    }

    /// Runs `work` with this control word, and restores that of the thread after it, even if `work` panics.
    ///
    /// Where the two differ, `work` is a function call, which no operation of it can leave.
    #[inline(always)]
    pub(crate) fn run<T>(self, work: impl FnOnce() -> T) -> T {
        let found = control();
        if found & CONTROL == self.0 {
            return work();
        }
        let _restore = Restore(found);
        set_control(self.0);
        outlined(work)
    }
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
use x86_64::{CONTROL, ControlWord, DEFAULT, TRAPS, control, set_control};

#[cfg(target_arch = "x86_64")]
mod x86_64 {
    use core::arch::asm;

    /// MXCSR.
    pub(super) type ControlWord = u32;
    /// All but the six flags that say which exceptions have happened.
    pub(super) const CONTROL: ControlWord = !0x3f;
    /// Every exception masked, nearest, neither flush-to-zero nor denormals-are-zero.
    pub(super) const DEFAULT: ControlWord = 0x1f80;
    /// None: a set bit masks an exception, and `DEFAULT` has them all.
    pub(super) const TRAPS: ControlWord = 0;

    #[inline(always)]
    pub(super) fn control() -> ControlWord {
        let mut word = 0;
        // SAFETY: SSE is part of x86-64; writes the four bytes of `word`.
        unsafe { asm!("stmxcsr [{}]", in(reg) &raw mut word, options(nostack, preserves_flags)) };
        word
    }

    #[inline(always)]
    pub(super) fn set_control(word: ControlWord) {
        // SAFETY: SSE is part of x86-64; the bits of the word are those of the default or were read from the register, so that
        // no reserved bit is set.
        unsafe {
            asm!("ldmxcsr [{}]", in(reg) &raw const word, options(nostack, preserves_flags));
        };
    }
}

#[cfg(target_arch = "aarch64")]
use aarch64::{CONTROL, ControlWord, DEFAULT, TRAPS, control, set_control};

#[cfg(target_arch = "aarch64")]
mod aarch64 {
    use core::arch::asm;

    /// FPCR. The flags that say which exceptions have happened are in another register.
    pub(super) type ControlWord = u64;
    pub(super) const CONTROL: ControlWord = ControlWord::MAX;
    /// No exception trapped, nearest, subnormals kept.
    pub(super) const DEFAULT: ControlWord = 0;
    /// Invalid operation, division by zero, overflow, underflow, inexact, and subnormal input.
    pub(super) const TRAPS: ControlWord = 0x9f00;

    #[inline(always)]
    pub(super) fn control() -> ControlWord {
        let word;
        // SAFETY: reads a register that every AArch64 CPU has.
        unsafe { asm!("mrs {}, fpcr", out(reg) word, options(nostack, preserves_flags)) };
        word
    }

    #[inline(always)]
    pub(super) fn set_control(word: ControlWord) {
        // SAFETY: the bits of the word were read from the register, or it is the default.
        unsafe { asm!("msr fpcr, {}", in(reg) word, options(nostack, preserves_flags)) };
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
use other::{CONTROL, ControlWord, DEFAULT, TRAPS, control, set_control};

/// Other CPUs: the environment is taken to be the default one.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
mod other {
    pub(super) type ControlWord = u32;
    pub(super) const CONTROL: ControlWord = 0;
    pub(super) const DEFAULT: ControlWord = 0;
    pub(super) const TRAPS: ControlWord = 0;

    pub(super) fn control() -> ControlWord {
        DEFAULT
    }

    pub(super) fn set_control(_: ControlWord) {}
}
