//! The floating-point environment of the host.
#![cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]

use std::ptr::null_mut;

use evenkeel::capi::evenkeel_status::*;
use evenkeel::capi::*;

use crate::*;

/// Reads, and sets, the control word of this thread.
#[cfg(target_arch = "x86_64")]
mod control {
    use std::arch::asm;

    /// Flush-to-zero, denormals-are-zero, each other rounding mode.
    pub(super) const WORDS: [u32; 6] = [0x9f80, 0x1fc0, 0x9fc0, 0x3f80, 0x5f80, 0x7f80];

    pub(super) fn get() -> u32 {
        let mut word = 0_u32;
        unsafe { asm!("stmxcsr [{}]", in(reg) &raw mut word, options(nostack)) };
        word & !0x3f
    }

    pub(super) fn set(word: u32) {
        unsafe { asm!("ldmxcsr [{}]", in(reg) &raw const word, options(nostack)) };
    }
}

#[cfg(target_arch = "aarch64")]
mod control {
    use std::arch::asm;

    /// Flush-to-zero, each other rounding mode.
    pub(super) const WORDS: [u64; 4] = [1 << 24, 1 << 22, 2 << 22, 3 << 22];

    pub(super) fn get() -> u64 {
        let word;
        unsafe { asm!("mrs {}, fpcr", out(reg) word, options(nostack)) };
        word
    }

    pub(super) fn set(word: u64) {
        unsafe { asm!("msr fpcr, {}", in(reg) word, options(nostack)) };
    }
}

/// The host's environment changes no bit, in worker threads neither, and is as it was after the call.
#[test]
fn the_hosts_floating_point_environment_changes_no_bit() {
    // Long enough that sleeping threads wake and take their part.
    let data = Data::new((4096, 768));
    let (r, c, len) = (4096, 768, data.x.len());
    let call = |tasks, y: &mut [f32]| {
        let execution = evenkeel_execution { backend: 0, stores: 0, tasks };
        unsafe {
            evenkeel_layer_norm_f32(
                data.x.as_ptr(),
                len,
                data.gamma.as_ptr(),
                c,
                data.beta.as_ptr(),
                c,
                r,
                c,
                0.0,
                y.as_mut_ptr(),
                len,
                null_mut(),
                0,
                null_mut(),
                0,
                EVENKEEL_F64,
                &raw const execution,
            )
        }
    };
    let mut expected = data.y();
    assert_eq!(call(1, &mut expected), EVENKEEL_OK);
    let default = control::get();
    for word in control::WORDS {
        for tasks in [1, 3] {
            let mut y = data.y();
            #[cfg(feature = "rayon")]
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(3)
                .start_handler(move |_| control::set(word))
                .exit_handler(move |_| control::set(default))
                .build()
                .unwrap();
            control::set(word);
            #[cfg(feature = "rayon")]
            let (status, after) = pool.install(|| (call(tasks, &mut y), control::get()));
            #[cfg(not(feature = "rayon"))]
            let (status, after) = (call(tasks, &mut y), control::get());
            control::set(default);
            assert_eq!(status, EVENKEEL_OK);
            assert!(after == word, "{word:#x} became {after:#x}");
            assert_eq!(bits(&y), bits(&expected), "{word:#x}, {tasks} tasks");
        }
    }
}
