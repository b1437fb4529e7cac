//! The floating-point environment of the host.
#![cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]

use evenkeel::capi::*;

use crate::*;

/// Reads, and sets, the control word of this thread.
#[cfg(target_arch = "x86_64")]
mod control {
    use std::arch::asm;

    pub(super) type Word = u32;
    /// Flush-to-zero and denormals-are-zero.
    pub(super) const FLUSHING: Word = 0x9fc0;
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

    pub(super) type Word = u64;
    /// Flush-to-zero, of inputs too.
    pub(super) const FLUSHING: Word = 1 << 24;
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

/// Runs `call` with this control word, in a pool whose threads have it too if there is one, and returns the word after it.
fn with_word<T: Send>(word: control::Word, call: impl FnOnce() -> T + Send) -> T {
    let default = control::get();
    #[cfg(feature = "rayon")]
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(3)
        .start_handler(move |_| control::set(word))
        .exit_handler(move |_| control::set(default))
        .build()
        .unwrap();
    let watched = move || {
        let result = call();
        let after = control::get();
        assert!(after == word, "{word:#x} became {after:#x}");
        result
    };
    #[cfg(feature = "rayon")]
    return pool.install(watched);
    #[cfg(not(feature = "rayon"))]
    {
        control::set(word);
        let result = watched();
        control::set(default);
        result
    }
}

/// Long enough that sleeping threads wake and take their part.
const SHAPE: (usize, usize) = (4096, 768);

/// A layer norm of all rows.
fn layer_norm(x: &[f32], beta: &[f32], execution: evenkeel_execution) -> Vec<f32> {
    let (rows, cols) = SHAPE;
    let input = |x: &[f32]| evenkeel_input {
        data: x.as_ptr().cast(),
        len: x.len(),
        pitch: 0,
        outer_pitch: 0,
        dtype: EVENKEEL_F32,
        inner_rows: 0,
    };
    let mut y = vec![f32::NAN; x.len()];
    let (data, len, dtype) = (y.as_mut_ptr().cast(), y.len(), EVENKEEL_F32);
    let args = evenkeel_layer_norm_args {
        x: input(x),
        y: evenkeel_output { data, len, pitch: 0, outer_pitch: 0, dtype, inner_rows: 0 },
        shape: evenkeel_shape {
            layout: EVENKEEL_ROWS,
            reserved: 0,
            rows,
            cols,
            batch: 0,
            channels: 0,
            positions: 0,
        },
        eps: 0.0,
        execution: &raw const execution,
        beta: input(beta),
        ..evenkeel_layer_norm_args::default()
    };
    assert_eq!(unsafe { evenkeel_layer_norm(&args) }, EVENKEEL_OK, "{}", message());
    y
}

/// The host's environment changes no bit, in worker threads neither, and is as it was after the call.
#[test]
fn the_hosts_floating_point_environment_changes_no_bit() {
    let values = values(SHAPE);
    let beta = vec![0.5; SHAPE.1];
    let run = |tasks| {
        layer_norm(&values.x, &beta, evenkeel_execution { tasks, ..evenkeel_execution::default() })
    };
    let expected: Vec<u32> = run(1).iter().map(|y| y.to_bits()).collect();
    for word in control::WORDS {
        for tasks in [1, 3] {
            let y = with_word(word, || run(tasks));
            assert!(
                y.iter().map(|y| y.to_bits()).eq(expected.iter().copied()),
                "{word:#x}, {tasks} tasks"
            );
        }
    }
}

/// Under the host's own control word, if the host chooses it: where subnormal numbers are read as zeros, rows of these equal
/// beta, in every task, though the threads of the pool have another word.
#[test]
fn the_hosts_own_environment_is_that_of_every_task() {
    let x: Vec<f32> = (0..SHAPE.0 * SHAPE.1).map(|i| f32::from_bits(i as u32 % 1000)).collect();
    let beta: Vec<f32> = (0..SHAPE.1).map(|c| 0.5 + c as f32).collect();
    let environment = EVENKEEL_ENVIRONMENT_HOST;
    let default = control::get();
    for tasks in [1, 3] {
        let execution =
            || evenkeel_execution { tasks, environment, ..evenkeel_execution::default() };
        let kept = layer_norm(&x, &beta, execution());
        assert!(kept.chunks(SHAPE.1).all(|row| row != beta), "subnormal numbers are numbers");
        let flushed = with_word(default, || {
            control::set(control::FLUSHING);
            let y = layer_norm(&x, &beta, execution());
            assert!(control::get() == control::FLUSHING, "the word is the host's");
            control::set(default);
            y
        });
        assert!(
            flushed.chunks(SHAPE.1).all(|row| row == beta),
            "{tasks} tasks: not all rows are beta"
        );
    }
}
