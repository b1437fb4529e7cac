//! The floating-point environment: no call changes it, and in another one than the default no call crashes, hangs or
//! panics, and what the docs say holds.
//!
//! Rust itself promises nothing where the environment is not the default one. The tests set it by assembly, call, and
//! set it back.
#![expect(unsafe_code, reason = "the control word is read and set")]

use std::collections::BTreeSet;
use std::hint::black_box;
use std::sync::Mutex;

use evenkeel::{
    Backend, BatchNorm, ColumnMoments, Dropout, InOut, LayerNorm, MaskMut, Moments, NormArgs,
    Parallelism, RmsNorm, Rows, Stream, TrainArgs, reference,
};

use crate::common::*;
use crate::registry::{AFFINE, Memory, OPERATIONS, Setting, Values};

/// What rules arithmetic: the rounding, what becomes of subnormals, which exceptions trap. (What exceptions there were
/// is another matter: arithmetic notes them.)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Control(u64);

/// An environment by name: the bits that differ from the default ones.
type Environment = (&'static str, u64);

#[cfg(target_arch = "x86_64")]
mod register {
    use super::{Control, Environment};
    use std::arch::asm;

    const FLAGS: u32 = 0x3f;
    const DAZ: u64 = 1 << 6;
    const FTZ: u64 = 1 << 15;
    const DOWN: u64 = 1 << 13;
    const UP: u64 = 1 << 14;
    const TO_ZERO: u64 = DOWN | UP;

    pub const FLUSHING: &[Environment] = &[("FTZ", FTZ), ("DAZ", DAZ), ("FTZ, DAZ", FTZ | DAZ)];
    pub const ROUNDING: &[Environment] = &[
        ("down", DOWN),
        ("up", UP),
        ("to zero", TO_ZERO),
        ("FTZ, DAZ, down", FTZ | DAZ | DOWN),
        ("FTZ, DAZ, up", FTZ | DAZ | UP),
        ("FTZ, DAZ, to zero", FTZ | DAZ | TO_ZERO),
    ];

    /// Whether a subnormal number that is read counts as zero.
    pub const fn reads_zeros(bits: u64) -> bool {
        bits & DAZ != 0
    }

    pub fn get() -> Control {
        let mut word = 0_u32;
        // SAFETY: stores the register to `word`.
        unsafe { asm!("stmxcsr [{}]", in(reg) &mut word, options(nostack, preserves_flags)) };
        Control((word & !FLAGS).into())
    }

    pub fn set(Control(word): Control) {
        let word = word as u32;
        // SAFETY: bits that `get` gave or that are named above, of which no exception traps.
        unsafe { asm!("ldmxcsr [{}]", in(reg) &word, options(nostack, preserves_flags)) };
    }
}

#[cfg(target_arch = "aarch64")]
mod register {
    use super::{Control, Environment};
    use std::arch::asm;

    const FZ: u64 = 1 << 24;
    const DN: u64 = 1 << 25;
    const UP: u64 = 1 << 22;
    const DOWN: u64 = 1 << 23;
    const TO_ZERO: u64 = DOWN | UP;

    pub const FLUSHING: &[Environment] = &[("FZ", FZ), ("FZ, DN", FZ | DN)];
    pub const ROUNDING: &[Environment] = &[
        ("down", DOWN),
        ("up", UP),
        ("to zero", TO_ZERO),
        ("FZ, down", FZ | DOWN),
        ("FZ, up", FZ | UP),
        ("FZ, to zero", FZ | TO_ZERO),
    ];

    /// Whether a subnormal number that is read counts as zero.
    pub const fn reads_zeros(bits: u64) -> bool {
        bits & FZ != 0
    }

    pub fn get() -> Control {
        let word: u64;
        // SAFETY: reads a register.
        unsafe { asm!("mrs {}, fpcr", out(reg) word, options(nostack, preserves_flags)) };
        Control(word)
    }

    pub fn set(Control(word): Control) {
        // SAFETY: bits that `get` gave or that are named above, of which no exception traps.
        unsafe { asm!("msr fpcr, {}", in(reg) word, options(nostack, preserves_flags)) };
    }
}

/// Those that this CPU has: an emulator may not. What it lacks is named once.
fn there(all: &'static [Environment]) -> impl Iterator<Item = Environment> {
    static LACKED: Mutex<BTreeSet<&str>> = Mutex::new(BTreeSet::new());
    all.iter().copied().filter(|&(name, bits)| {
        let default = register::get();
        let control = Control(default.0 | bits);
        register::set(control);
        let there = register::get() == control;
        register::set(default);
        if !there && LACKED.lock().is_ok_and(|mut lacked| lacked.insert(name)) {
            skipped(&format!("environment {name}"), "this CPU lacks it");
        }
        there
    })
}

/// With subnormal numbers flushed.
fn flushing() -> impl Iterator<Item = Environment> {
    there(register::FLUSHING)
}

/// With another rounding, and some of the above.
fn rounding() -> impl Iterator<Item = Environment> {
    there(register::ROUNDING)
}

fn environments() -> impl Iterator<Item = Environment> {
    [("default", 0)].into_iter().chain(flushing()).chain(rounding())
}

/// Calls in an environment, and finds that the call has not changed it.
#[track_caller]
fn within<R>((name, bits): Environment, call: impl FnOnce() -> R) -> R {
    /// Sets the environment back, after a panic too.
    struct Back(Control);
    impl Drop for Back {
        fn drop(&mut self) {
            register::set(self.0);
        }
    }
    let back = Back(register::get());
    let control = Control(back.0.0 | bits);
    register::set(control);
    let result = call();
    let after = register::get();
    drop(back);
    assert_eq!(after, control, "the call changes the environment \"{name}\"");
    result
}

/// Calls every operation in an environment with a matrix of data: without options, with one of them by turns, and with as many as go
/// together.
fn call_every_operation(
    environment: Environment,
    setting: &Setting,
    x: Vec<f32>,
    what: &str,
    turn: usize,
) {
    let values = Values::new(setting.rows, x, 1.0, &mut Random::new(1));
    for operation in OPERATIONS {
        let sets = operation.option_sets();
        let (none, last) = (&sets[0], &sets[sets.len() - 1]);
        // Mixed, so that no set keeps to one backend or environment.
        let one = &sets[(turn.wrapping_mul(0x9e37_79b9) >> 16) % sets.len()];
        for (i, options) in [none, one, last].into_iter().enumerate() {
            let options: Vec<&str> = options.iter().copied().chain(AFFINE).collect();
            let place = operation.places()[(turn + i) % operation.places().len()];
            let mut memory = Memory::new(operation, &values, place, &options);
            memory.admit_overflow(operation, setting);
            let result = within(environment, || memory.call(operation, setting));
            let name = operation.name;
            assert_eq!(result, Ok(()), "{name}, {what}, {options:?}, {setting:?}, {environment:?}");
        }
    }
}

fn setting(backend: Backend, rows: Rows) -> Setting {
    Setting {
        eps: 0.0,
        stream: Stream { seed: 5, offset: 7 },
        dropout: Dropout::new().with_p(0.3),
        ..Setting::new(backend, rows)
    }
}

/// The data sets, or some of them, with those of subnormal numbers.
fn sets() -> impl Iterator<Item = &'static DataSet> {
    let wanted = |(i, set): &(usize, &DataSet)| i % 8 == 0 || set.name.contains("subnormal");
    DATA_SETS.iter().enumerate().filter(move |set| !short() || wanted(set)).map(|(_, set)| set)
}

/// Matrices of every data set, and of any bits, NaN and infinities among them.
fn matrices(len: usize) -> impl Iterator<Item = (&'static str, Vec<f32>)> {
    let random = &mut Random::new(len as u64);
    let mut all: Vec<_> = sets().map(|set| (set.name, set.row(len, random))).collect();
    let mut any_bits = || (0..len).map(|_| f32::from_bits(random.bits() as u32)).collect();
    all.push(("any bits", any_bits()));
    all.into_iter()
}

/// Law: every operation succeeds on every data set in every environment, and leaves it as it was.
#[test]
fn no_call_fails_in_any_environment_or_changes_it() {
    let mut turn = 0;
    // A short run leaves out the shape without several blocks.
    for (count, cols) in [(17, 40), (70, 5), (3, 1030)].into_iter().skip(usize::from(short())) {
        for (set, x) in matrices(count * cols) {
            for environment in environments() {
                for backend in backends() {
                    let setting = setting(backend, rows(count, cols));
                    call_every_operation(environment, &setting, x.clone(), set, turn);
                    turn += 1;
                }
            }
        }
    }
}

/// The functions that are not methods on buffers.
#[test]
fn no_other_function_changes_the_environment() {
    let x = Random::new(1).normals(60);
    let (affine, y) = (Some(&x[..]), &mut [0.0; 60]);
    for environment in environments() {
        within(environment, || {
            let shape = Rows::new(4, 15).expect("a small shape");
            let backends = Backend::available().filter(|backend| backend.is_fused()).count();
            let named = Backend::NAMES.map(|name| Backend::by_name(name).is_ok());
            let scratch = ColumnMoments::new().scratch_len(shape);
            let dropout = Dropout::new().with_p(0.3);
            let (realised_p, scale) = (dropout.realised_p().unwrap(), dropout.scale().unwrap());
            let mut moments = Moments::new();
            x.iter().for_each(|&x| moments.push(x.into()));
            moments.merge(&moments.clone());
            let variances = (moments.population_variance(), moments.sample_variance());
            let (mean, var) = reference::mean_variance(&x);
            let rstd = reference::rstd(var + reference::mean_square(&x), 1e-5);
            reference::normalize_scale_shift(&x, mean, rstd, affine, affine, y);
            reference::layer_norm(&x, affine, affine, 1e-5, y);
            reference::rms_norm(&x, affine, affine, 1e-5, y);
            let (means, rstds) = reference::batch_statistics(&x, 15, 1e-5);
            reference::normalize_scale_shift_columns(&x, &means, &rstds, None, None, y);
            let column = reference::column(&x, 15, 3);
            let mask = reference::dropout_mask(0.3, 1, 2, 100);
            black_box((backends, named, scratch, realised_p, scale, variances, column, mask));
        });
    }
}

/// Rows of one vector and less, of several, and of several blocks.
const LENGTHS: [usize; 8] = [1, 5, 16, 67, 128, 769, 1025, 2500];

fn lengths() -> impl Iterator<Item = usize> + Clone {
    LENGTHS.into_iter().filter(|len| !short() || [5, 67, 1025].contains(len))
}

/// What an environment reads.
fn as_read(bits: u64, x: &[f32]) -> Vec<f32> {
    let flushes = register::reads_zeros(bits);
    x.iter().map(|&x| if flushes && x.is_subnormal() { 0.0 } else { x }).collect()
}

/// Asserts the bound of the docs on LayerNorm, RmsNorm, and BatchNorm of one column, with `factor` times the error and
/// outputs that may be flushed to zero.
fn assert_bounds(
    environment: Environment,
    sets: impl Iterator<Item = &'static DataSet>,
    factor: f64,
) {
    for (set, len) in sets.flat_map(|set| lengths().map(move |len| (set, len))) {
        let random = &mut Random::new(len as u64);
        let x = set.row(len, random);
        let (gamma, beta) = (random.normals(len), random.normals(len));
        let (one_gamma, one_beta) = (vec![gamma[0]; len], vec![beta[0]; len]);
        let read = as_read(environment.1, &x);
        for (eps, backend) in with_backends([1e-5, 0.0]) {
            let check = |operation: &str, y: &[f32], gamma: &[f32], beta: &[f32], centred: bool| {
                let define = if centred {
                    |x: &[f32], gamma: Option<&[f32]>, beta: Option<&[f32]>, eps, y: &mut [f64]| {
                        reference::layer_norm(x, gamma, beta, eps, y).1
                    }
                } else {
                    reference::rms_norm
                };
                let (mut x_hat, mut expected) = (vec![0.0; len], vec![0.0; len]);
                define(&read, None, None, eps, &mut x_hat);
                define(&read, Some(gamma), Some(beta), eps, &mut expected);
                for i in 0..len {
                    let scale = f64::from(gamma[i].abs()) * x_hat[i].abs().max(1.0)
                        + f64::from(beta[i].abs());
                    let bound = factor * OUTPUT * scale + f64::from(f32::MIN_POSITIVE);
                    assert!(
                        (f64::from(y[i]) - expected[i]).abs() <= bound,
                        "{operation}, {backend}, {environment:?}, {}, {len} elements, eps {eps}: element {i}: \
                         expected {:e}, got {:e}, bound {bound:e}",
                        set.name,
                        expected[i],
                        y[i]
                    );
                }
            };
            let (args, mut y) = (|| NormArgs::new().affine(&gamma, &beta), vec![0.0; len]);
            let layer_norm = LayerNorm::new().with_eps(eps).with_backend(backend);
            within(environment, || {
                layer_norm.forward(InOut::new(&x, &mut y), rows(1, len), args()).map(drop)
            })
            .unwrap();
            check("layer norm", &y, &gamma, &beta, true);
            let rms_norm = RmsNorm::new().with_eps(eps).with_backend(backend);
            within(environment, || {
                rms_norm.forward(InOut::new(&x, &mut y), rows(1, len), args()).map(drop)
            })
            .unwrap();
            check("rms norm", &y, &gamma, &beta, false);
            let batch_norm = BatchNorm::new().with_eps(eps).with_backend(backend);
            let args = TrainArgs::new().affine(&one_gamma[..1], &one_beta[..1]);
            within(environment, || {
                batch_norm.forward_training(InOut::new(&x, &mut y), rows(len, 1), args).map(drop)
            })
            .unwrap();
            check("batch norm", &y, &one_gamma, &one_beta, true);
        }
    }
}

/// Law: where subnormal numbers are flushed, the bounds hold for what is read, up to the smallest normal number.
#[test]
fn flushed_subnormals_cost_no_more_than_themselves() {
    for environment in flushing() {
        assert_bounds(environment, sets(), 1.0);
    }
}

/// Law: with another rounding the bounds are ten times as large, for data whose sums of squares f32 holds. (Sums that
/// it does not hold may be rounded to the largest number instead of infinity, and are not recognised then.)
#[test]
fn another_rounding_has_ten_times_the_error() {
    let fits = |set: &&DataSet| {
        let largest =
            set.row(2500, &mut Random::new(1)).into_iter().fold(0.0, |a: f32, x| a.max(x.abs()));
        largest < 1e17
    };
    for environment in rounding() {
        assert_bounds(environment, sets().filter(fits), 10.0);
    }
}

/// Law: a NaN or an infinity stays in its row, or column, and makes all of it NaN.
#[test]
fn non_finite_values_stay_where_they_are() {
    for (count, cols) in [(35, 16), (9, 130), (3, 1500)] {
        let clean = Random::new(cols as u64).normals(count * cols);
        let (row, column, shape) = (count / 2, cols - 2, rows(count, cols));
        for (environment, backend) in with_backends(environments()) {
            let run = |x: &[f32]| {
                let mut y = [(); 3].map(|()| x.to_vec());
                let [of_layer, of_rms, of_batch] = &mut y;
                let layer_norm = LayerNorm::new().with_backend(backend);
                let rms_norm = RmsNorm::new().with_backend(backend);
                let batch_norm = BatchNorm::new().with_backend(backend);
                within(environment, || {
                    layer_norm.forward(InOut::in_place(of_layer), shape, NormArgs::new())?;
                    rms_norm.forward(InOut::in_place(of_rms), shape, NormArgs::new())?;
                    let io = InOut::in_place(of_batch);
                    batch_norm.forward_training(io, shape, TrainArgs::new()).map(drop)
                })
                .unwrap();
                y
            };
            let expected = run(&clean);
            for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let mut x = clean.clone();
                x[row * cols + column] = bad;
                for (operation, (expected, y)) in expected.iter().zip(run(&x)).enumerate() {
                    for i in 0..x.len() {
                        let own = if operation == 2 { i % cols == column } else { i / cols == row };
                        let expected = if own { f32::NAN } else { expected[i] };
                        assert_eq!(
                            bits(y[i]),
                            bits(expected),
                            "{operation}, {backend}, {environment:?}, {count}x{cols}, {bad}: element {i}"
                        );
                    }
                }
            }
        }
    }
}

/// Law: a constant row, or column, equals beta.
#[test]
fn constants_equal_beta() {
    for len in lengths() {
        let random = &mut Random::new(len as u64);
        let (gamma, beta) = (random.normals(len), random.normals(len));
        for constant in [0.0, -0.0, 1e7, 0.1, -1.234_567_9, 1e-40, 1e30, f32::MAX] {
            for (environment, backend) in with_backends(environments()) {
                let (mut row, mut column) = (vec![constant; len], vec![constant; len]);
                let layer_norm = LayerNorm::new().with_backend(backend);
                let batch_norm = BatchNorm::new().with_backend(backend);
                within(environment, || {
                    let args = NormArgs::new().affine(&gamma, &beta);
                    layer_norm.forward(InOut::in_place(&mut row), rows(1, len), args)?;
                    let args = TrainArgs::new().affine(&gamma[..1], &beta[..1]);
                    let io = InOut::in_place(&mut column);
                    batch_norm.forward_training(io, rows(len, 1), args).map(drop)
                })
                .unwrap();
                let what = format!("{backend}, {environment:?}, {len} times {constant:e}");
                assert!(row == beta, "{what}: the row");
                assert!(column.iter().all(|&y| y == beta[0]), "{what}: the column");
            }
        }
    }
}

/// Law: the mask is the same.
#[test]
fn masks_are_the_same() {
    for p in [1e-12, 0.001, 0.015_624_9, 1.0 / 64.0, 0.1, 0.3, 0.999, 1.0 - 1e-16] {
        for backend in backends() {
            let operation = Dropout::new().with_p(p).with_backend(backend);
            let mask = |environment| {
                let mut mask = vec![0; 1000];
                let stream = Stream { seed: 3, offset: 4000 };
                within(environment, || operation.mask(stream, 8000, MaskMut::Packed(&mut mask)))
                    .unwrap();
                mask
            };
            let expected = mask(("default", 0));
            for environment in environments() {
                assert!(mask(environment) == expected, "{backend}, p {p}, {environment:?}");
            }
        }
    }
}

/// A thread has an environment of its own: a call reads that of the threads that work on it, and changes none.
#[test]
fn threads_keep_their_environment() {
    let (shape, last) = (rows(260, 1025), environments().last().expect("the default one"));
    let default = register::get();
    let set = Control(default.0 | last.1);
    for of_workers in [default, set] {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(3)
            .start_handler(move |_| register::set(of_workers))
            .build()
            .unwrap();
        let x = Random::new(1).normals(shape.elements());
        let setting =
            Setting { parallelism: Parallelism::AtMost(3), ..setting(Backend::detect(), shape) };
        within(last, || {
            pool.install(|| call_every_operation(("the pool's", 0), &setting, x, "in a pool", 0))
        });
        assert!(pool.broadcast(|_| register::get()).iter().all(|&control| control == of_workers));
        assert_eq!(register::get(), default);
    }
}
