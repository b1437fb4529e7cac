//! What calls do with memory: serial ones allocate nothing, new memory is written whole, and a call for which there is no
//! memory returns an error.

#[path = "registry/mod.rs"]
#[expect(dead_code, unreachable_pub, unused_imports, reason = "each test uses a part of it")]
mod registry;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hint::black_box;
use std::ptr::null_mut;

use evenkeel::penalty::Regularizer;
use evenkeel::preprocess::{MinMaxScaler, Norm, Normalizer, StandardScaler};
use evenkeel::{
    Backend, BatchNorm, Channels, Dropout, Error, GradArgs, GroupNorm, InOut, InstanceNorm,
    LayerNorm, Mask, Moments, NormArgs, NormalizeScaleShift, Parallelism, RmsNorm, Rows,
    Statistics, Stream, TrainArgs, to_vec,
};

use registry::{
    AFFINE, Memory, OPERATIONS, Operation, PAINT, Place, Random, Setting, Stored, Takes, Values,
    group_size, is_painted, short,
};

/// The system's allocator. It counts the allocations of each thread, and has only so much memory for the thread: the harness
/// runs other tests meanwhile, on threads of their own.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

thread_local! {
    /// Without a destructor and made at compile time, so that using it allocates nothing.
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
    static LARGEST: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// Counts, and says whether there is memory.
fn count(bytes: usize) -> bool {
    ALLOCATIONS.with(|allocations| allocations.set(allocations.get() + 1));
    bytes <= LARGEST.get()
}

#[expect(unsafe_code, reason = "an allocator is unsafe to write")]
// SAFETY: every call is `System`'s, unchanged, or fails.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !count(layout.size()) {
            return null_mut();
        }
        // SAFETY: the caller keeps the contract, which is that of `System`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if !count(layout.size()) {
            return null_mut();
        }
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if !count(size) {
            return null_mut();
        }
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// What a call returns, and how often this thread allocates in it.
fn counted<T>(call: impl FnOnce() -> T) -> (T, usize) {
    let before = ALLOCATIONS.get();
    let result = call();
    (result, ALLOCATIONS.get() - before)
}

/// What a call returns while this thread has no memory.
fn without_memory<T>(call: impl FnOnce() -> T) -> T {
    LARGEST.set(0);
    let result = call();
    LARGEST.set(usize::MAX);
    result
}

#[test]
fn the_count_counts() {
    assert_eq!(counted(|| ()), ((), 0));
    assert_eq!(counted(|| drop(black_box(Box::new(1)))), ((), 1));
    assert_eq!(counted(|| drop(black_box(vec![0_u8; 100]))), ((), 1));
    let mut grows = Vec::with_capacity(1);
    grows.push(1);
    assert_eq!(counted(|| grows.push(black_box(2))), ((), 1));
    let elsewhere = || std::thread::spawn(|| counted(|| drop(black_box(Box::new(1))))).join();
    assert_eq!(elsewhere().expect("a count"), ((), 1));
    assert!(without_memory(|| Vec::<u8>::new().try_reserve(1)).is_err());
}

/// Statistics in f32 cost an allocation each. Without memory the call returns an error.
#[test]
fn statistics_in_f32_allocate_a_copy() {
    let (x, mut y, rows) = (numbers(12, 1.0), [7.0_f32; 12], shape(3, 4));
    let (mut mean, mut rstd) = ([7.0_f32; 3], [7.0_f32; 3]);
    let norm = LayerNorm::new().with_parallelism(Parallelism::Serial);
    let mut forward = || {
        let args = NormArgs::new().stats(&mut mean, &mut rstd);
        norm.forward(InOut::new(&x, &mut y), rows, args).map(drop)
    };
    assert!(matches!(without_memory(&mut forward), Err(Error::OutOfMemory { .. })));
    assert_eq!(counted(&mut forward), (Ok(()), 2));
    let (mean, rstd) = ([0.5_f32; 3], [2.0_f32; 3]);
    let mut backward = || {
        let args = GradArgs::new().stats(&mean, &rstd);
        norm.backward(InOut::in_place(&mut y), &x, rows, args).map(drop)
    };
    assert!(matches!(without_memory(&mut backward), Err(Error::OutOfMemory { .. })));
    assert_eq!(counted(&mut backward), (Ok(()), 2));
    let mut apply = || {
        let given = Statistics::of_rows(&mean, &rstd);
        let io = InOut::in_place(&mut y);
        NormalizeScaleShift::new().forward(io, rows, given, NormArgs::new()).map(drop)
    };
    assert!(matches!(without_memory(&mut apply), Err(Error::OutOfMemory { .. })));
    assert_eq!(counted(&mut apply), (Ok(()), 2));
}

/// Of numbers that f32 holds well, of numbers whose squares it cannot hold, and of subnormal ones.
const SCALES: [f32; 3] = [1.0, 1e35, 1e-40];

fn shape(rows: usize, cols: usize) -> Rows {
    Rows::new(rows, cols).expect("a small shape")
}

fn numbers(len: usize, scale: f32) -> Vec<f32> {
    (0..len).map(|i| ((i * 7919 % 1013) as f32 / 500.0 - 0.75) * scale).collect()
}

fn values(rows: Rows, scale: f32) -> Values {
    let x = numbers(rows.elements(), scale);
    Values::new(rows, x, scale, &mut Random::new(7)).that_train(scale)
}

/// A set of options with gamma and beta, each there and not.
fn with_affine(operation: &Operation, options: &[&'static str]) -> Vec<Vec<&'static str>> {
    let has = |option: &str| operation.buffers.iter().any(|buffer| buffer.option == option);
    let affine: [&[&str]; 4] = [&[], &AFFINE, &AFFINE[..1], &AFFINE[1..]];
    let affine = affine.iter().take(match AFFINE.map(has) {
        [true, true] => 4,
        [false, false] => 1,
        _ => 2,
    });
    affine.map(|affine| [options, affine].concat()).collect()
}

/// A registry's scaler is made in the call, which allocates. Tests of their own have scalers.
fn operations() -> impl Iterator<Item = &'static Operation> {
    OPERATIONS.iter().filter(|operation| !operation.name.contains("Scaler::"))
}

/// Whether the call gathers samples without their padding, in memory of its own.
fn gathers(operation: &Operation, options: &[&str]) -> bool {
    (operation.name.starts_with("GroupNorm") || operation.name.starts_with("InstanceNorm"))
        && options.iter().any(|option| option.starts_with("valid"))
}

/// Whether it is a backward pass of a norm.
fn is_backward(operation: &Operation) -> bool {
    operation.buffers.iter().any(|buffer| buffer.name == "forward_x")
}

/// Whether a backward pass needs sums of columns for the gradients of parameters alone: where statistics are those of rows or given,
/// and where there is no dx.
fn sums_for_parameters_alone(operation: &Operation, rows: Rows) -> bool {
    let names = ["LayerNorm::backward", "RmsNorm::backward", "NormalizeScaleShift::backward"];
    let of_rows = names.iter().any(|name| operation.name.starts_with(name));
    // Channels at one position are a row.
    let has_planes = operation.name.contains("first") && rows.cols() > 1;
    of_rows && !has_planes || operation.name.ends_with("read only")
}

/// Whether a backward pass has scratch for rows with gates, or with several groups.
fn in_parts(operation: &Operation, options: &[&str], rows: Rows) -> bool {
    let in_groups = operation.name.contains("grouped") && rows.cols() > group_size(rows);
    let writes =
        operation.takes != Takes::Nothing || options.iter().any(|of| of.ends_with("dgate"));
    (in_groups || operation.name.contains("gated")) && writes
}

/// Whether the call needs scratch and is not passed any.
fn lacks_scratch(operation: &Operation, options: &[&str], rows: Rows) -> bool {
    let of_parameters = ["dgamma", "dbeta", "add_dgamma", "add_dbeta", "dbias", "add_dbias"];
    // Sums of columns are made beside it.
    let drops = options.contains(&"dropout_given") || operation.name.contains("dropout drawn");
    let is_backward = is_backward(operation);
    let by_parameters =
        sums_for_parameters_alone(operation, rows) && !in_parts(operation, options, rows);
    if by_parameters && !drops && !of_parameters.iter().any(|of| options.contains(of)) {
        return false;
    }
    let scratch = operation.buffers.iter().find(|buffer| buffer.name == "scratch");
    let needed = match scratch.and_then(|scratch| (scratch.len)(rows)) {
        Some(needed) => needed,
        None if is_backward => LayerNorm::new().backward_scratch_len(rows),
        None => 0,
    };
    needed > 0 && !options.contains(&"scratch")
}

/// An operation with some options in some place.
type Case<'a> = (&'a Operation, &'a [&'static str], Place);

fn what((operation, options, place): Case<'_>, setting: &Setting) -> String {
    format!("{}, {options:?}, {place:?}, {setting:?}", operation.name)
}

/// Law: a call on one thread allocates nothing, or its scratch alone, once, if it is not passed. If it gathers samples, it
/// allocates a sample, of dy too in a backward pass, its scratch, and a list of runs that doubles.
fn assert_allocations((operation, options, place): Case<'_>, values: &Values, setting: Setting) {
    for setting in rates(operation, setting) {
        let mut memory = Memory::new(operation, values, place, options);
        let (io, mut bag) = memory.arguments(operation);
        let (result, allocations) = counted(|| (operation.run)(&setting, io, &mut bag));
        let (rows, what) = (setting.rows, || what((operation, options, place), &setting));
        assert_eq!(result, Ok(()), "{}", what());
        if gathers(operation, options) {
            let samples = 1 + usize::from(is_backward(operation));
            let most = samples + 1 + rows.elements().ilog2() as usize;
            assert!(allocations <= most, "{}: {allocations}", what());
        } else {
            let expected = usize::from(lacks_scratch(operation, options, rows));
            assert_eq!(allocations, expected, "{}", what());
        }
    }
}

/// Every rate at which dropout works in its own way; other operations have none.
fn rates(operation: &Operation, setting: Setting) -> impl Iterator<Item = Setting> {
    let is_dropout = operation.name.starts_with("Dropout");
    let rates: &[f64] = if is_dropout { &[0.001, 0.0, 0.5, 1.0] } else { &[0.5] };
    rates.iter().map(move |&p| Setting { dropout: Dropout::new().with_p(p), ..setting })
}

fn with_backends<T: Copy>(all: impl IntoIterator<Item = T>) -> impl Iterator<Item = (Backend, T)> {
    all.into_iter().flat_map(|of| Backend::available().map(move |backend| (backend, of)))
}

const SERIAL: [Parallelism; 3] =
    [Parallelism::Serial, Parallelism::AtMost(1), Parallelism::AtMost(0)];

/// Every operation in every place, with every set of options and with gamma and beta or not; of `ends`, with no options and
/// with as many as go together, and with gamma and beta both or neither.
fn every_call(ends: bool, mut check: impl FnMut(Case<'_>)) {
    for operation in operations() {
        let mut sets = operation.option_sets();
        if ends {
            sets.drain(1..sets.len().max(2) - 1);
        }
        let affine = |set| with_affine(operation, set).into_iter().take(if ends { 2 } else { 4 });
        for options in sets.iter().flat_map(|set| affine(set)) {
            operation.places().iter().for_each(|&place| check((operation, &options, place)));
        }
    }
}

/// Small shapes on every backend; and shapes where `Auto` would fork, as many rows, as fewer and as one.
#[test]
fn serial_calls_allocate_nothing() {
    // Numbers of every size, each with one way to be serial.
    let ways: Vec<_> = SCALES.into_iter().zip(SERIAL).collect();
    let small = [(3, 1), (9, 67)].into_iter().flat_map(|of| ways.iter().map(move |way| (of, *way)));
    let large = [((1000, 160), ways[0]), ((100, 4000), ways[1]), ((1, 300_000), ways[2])];
    let large = large.into_iter().take(if short() { 0 } else { 3 });
    for ((rows, cols), (scale, parallelism)) in small.chain(large) {
        let rows = shape(rows, cols);
        let values = values(rows, scale);
        for (backend, parallelism) in with_backends([parallelism]) {
            let setting = Setting { parallelism, ..Setting::new(backend, rows) };
            let ends = rows.elements() > 1000;
            every_call(ends, |case| assert_allocations(case, &values, setting));
        }
    }
}

/// Not even with the settings that every operation has at first, where a fork would not pay. The backend is looked up once a
/// process, which may allocate.
#[test]
fn small_calls_allocate_nothing() {
    let detected = black_box(Backend::detect());
    assert_eq!(counted(Backend::detect), (detected, 0));
    for (rows, cols) in [(1, 5000), (64, 1000), (9, 67), (3, 1)] {
        let rows = shape(rows, cols);
        let (values, mut y) = (values(rows, 1.0), vec![0.0; rows.elements()]);
        let of_default = || {
            let (norm, io) = (LayerNorm::new(), InOut::new(&values.x, &mut y));
            norm.forward(io, rows, NormArgs::new()).map(drop)
        };
        assert_eq!(counted(of_default), (Ok(()), 0));
        let setting = Setting::new(detected, rows);
        let ends = rows.elements() > 1000;
        every_call(ends, |case| assert_allocations(case, &values, setting));
    }
}

/// What a scaler holds is allocated when it is made.
#[test]
fn serial_calls_of_scalers_allocate_nothing() {
    let shapes = [(3, 1), (9, 67), (1000, 160), (100, 4000), (1, 300_000)];
    let shapes = shapes.into_iter().take(if short() { 2 } else { 5 });
    for ((rows, cols), scale) in shapes.flat_map(|of| SCALES.map(|scale| (of, scale))) {
        let rows = shape(rows, cols);
        let x = numbers(rows.rows() * (cols + 5), scale);
        let (data, mut y) = (&x[..rows.elements()], x.clone());
        for (backend, serial) in with_backends(SERIAL) {
            let none = |result: (Result<(), Error>, usize)| {
                assert_eq!(result, (Ok(()), 0), "{rows:?}, {backend}, {serial:?}");
            };
            let standard = StandardScaler::new(cols).expect("a scaler");
            let mut standard = standard.with_backend(backend).with_parallelism(serial);
            let mut other = standard.clone();
            none(counted(|| standard.fit(data, rows)));
            none(counted(|| other.partial_fit(data, rows)));
            none(counted(|| standard.merge(&other)));
            let min_max = MinMaxScaler::new(cols).expect("a scaler");
            let mut min_max = min_max.with_backend(backend).with_parallelism(serial);
            let mut other = min_max.clone();
            none(counted(|| min_max.fit(data, rows)));
            none(counted(|| other.partial_fit(data, rows)));
            none(counted(|| min_max.merge(&other)));
            for place in Place::ALL {
                let [x_len, y_len] = place.lens(rows);
                let (x, y) = (&x[..x_len], &mut y[..y_len]);
                none(counted(|| standard.transform(place.io(rows, x, y), rows).map(drop)));
                none(counted(|| standard.inverse_transform(place.io(rows, x, y), rows).map(drop)));
                none(counted(|| min_max.transform(place.io(rows, x, y), rows).map(drop)));
                none(counted(|| min_max.inverse_transform(place.io(rows, x, y), rows).map(drop)));
            }
        }
    }
}

/// Law: a call that cannot allocate returns an error that says how many bytes it needed, and has written nothing. With memory
/// again, it succeeds. A call that gathers samples may have written some of them.
fn assert_out_of_memory(case: Case<'_>, values: &Values, setting: &Setting) {
    let ((operation, options, place), what) = (case, what(case, setting));
    let mut memory = Memory::new(operation, values, place, options);
    let before = memory.written(&what);
    let (io, mut bag) = memory.arguments(operation);
    let result = without_memory(|| (operation.run)(setting, io, &mut bag));
    let Err(Error::OutOfMemory { bytes }) = result else { panic!("{what}: {result:?}") };
    assert!((1..1 << 20).contains(&bytes), "{what}: {bytes} bytes");
    if !gathers(operation, options) {
        assert!(memory.written(&what) == before, "{what}: something is written");
    }
    assert_eq!(memory.call(operation, setting), Ok(()), "{what}: there is memory again");
}

/// On one thread, a call that allocates nothing does not notice that there is no memory.
#[test]
fn a_serial_call_without_memory_succeeds_or_writes_nothing() {
    let rows = shape(64, 40);
    let values = values(rows, 1.0);
    for (backend, parallelism) in with_backends([Parallelism::Serial]) {
        let setting = Setting { parallelism, ..Setting::new(backend, rows) };
        every_call(false, |case| {
            let (operation, options, place) = case;
            let mut memory = Memory::new(operation, &values, place, options);
            let (io, mut bag) = memory.arguments(operation);
            if counted(|| (operation.run)(&setting, io, &mut bag)).1 > 0 {
                return assert_out_of_memory(case, &values, &setting);
            }
            let (io, mut bag) = memory.arguments(operation);
            let result = without_memory(|| (operation.run)(&setting, io, &mut bag));
            assert_eq!(result, Ok(()), "{}", what(case, &setting));
        });
    }
}

/// Of a shape that is worth several tasks: what a call needs is allocated before threads begin.
#[test]
fn a_parallel_call_without_memory_for_scratch_writes_nothing() {
    // LayerNorm of a large sample has scratch only where it forks: from outside of a pool from 2^20 elements on.
    for (rows, of_large_samples) in [(shape(512, 400), false), (shape(1024, 1030), true)] {
        let values = values(rows, 1.0);
        for (backend, parallelism) in with_backends([Parallelism::Auto]) {
            let setting = Setting { parallelism, ..Setting::new(backend, rows) };
            every_call(false, |case| {
                let (operation, options, _) = case;
                let large_sample = operation.name == "LayerNorm::forward, channels first";
                let lacks = large_sample || lacks_scratch(operation, options, rows);
                let here = large_sample == of_large_samples;
                if here && lacks && !gathers(operation, options) {
                    assert_out_of_memory(case, &values, &setting);
                }
            });
        }
    }
}

/// A scaler for which there is no memory is an error. One that learns keeps what it has seen.
#[test]
fn a_scaler_without_memory_stays_as_it_is() {
    fn check<T: std::fmt::Debug>(result: Result<T, Error>) {
        let Err(Error::OutOfMemory { bytes }) = result else { panic!("{result:?}") };
        assert!((1..1 << 20).contains(&bytes), "{bytes} bytes");
    }
    let (rows, cols) = (shape(512, 400), 400);
    let x = numbers(rows.elements(), 1.0);
    check(without_memory(|| StandardScaler::new(cols)));
    check(without_memory(|| MinMaxScaler::new(cols)));
    let moments = vec![Moments::new(); cols];
    check(without_memory(|| StandardScaler::from_moments(&moments)));
    check(without_memory(|| MinMaxScaler::from_ranges(&x[..cols], &x[..cols])));
    for backend in Backend::available() {
        let mut standard = StandardScaler::new(cols).expect("a scaler").with_backend(backend);
        let mut min_max = MinMaxScaler::new(cols).expect("a scaler").with_backend(backend);
        standard.fit(&x[..cols], shape(1, cols)).expect("little");
        min_max.fit(&x[..cols], shape(1, cols)).expect("little");
        let before = format!("{standard:?}, {min_max:?}");
        check(without_memory(|| standard.partial_fit(&x, rows)));
        check(without_memory(|| min_max.partial_fit(&x, rows)));
        check(without_memory(|| standard.fit(&x, rows)));
        check(without_memory(|| min_max.fit(&x, rows)));
        assert_eq!(format!("{standard:?}, {min_max:?}"), before);
        standard.partial_fit(&x, rows).expect("there is memory again");
        min_max.partial_fit(&x, rows).expect("there is memory again");
    }
}

/// An operation as a function from x to y.
type Call<'a> = dyn for<'y> Fn(InOut<'_, 'y>) -> Result<&'y mut [f32], Error> + 'a;

/// Law: every operation returns the y that it is passed, so that `to_vec` makes a `Vec` of it, in one allocation. If there is no
/// memory for it, `to_vec` returns an error and does not call the operation.
#[test]
fn to_vec_allocates_once() {
    let (rows, channels) = (shape(5, 67), Channels::last(1, 5, 67).expect("a small shape"));
    let (x, ones) = (numbers(rows.elements(), 1.0), vec![1.0_f32; 67]);
    let (of_rows, stream) = (vec![0.5; 5], Stream { seed: 5, offset: 70 });
    let mask = Mask::Bytes(&[1; 5 * 67]);
    let regularizer = Regularizer::new().with_l1(0.1);
    let standard =
        StandardScaler::from_moments(&[Moments { count: 3, m2: 2.0, ..Moments::new() }; 67]);
    let standard = standard.expect("a scaler");
    let min_max = MinMaxScaler::from_ranges(&[0.0; 67], &ones).expect("a scaler");
    let given = Statistics::of_rows(&of_rows, &of_rows);
    let calls: &[&Call<'_>] = &[
        &|io| LayerNorm::new().forward(io, rows, NormArgs::new()),
        &|io| LayerNorm::new().forward(io, channels, NormArgs::new()),
        &|io| RmsNorm::new().forward(io, rows, NormArgs::new()),
        &|io| NormalizeScaleShift::new().forward(io, rows, given, NormArgs::new()),
        &|io| {
            let scratch = &mut [0.0; 4096];
            BatchNorm::new().forward_training(io, rows, TrainArgs::new().scratch(scratch))
        },
        &|io| BatchNorm::new().forward_inference(io, rows, &ones, &ones, NormArgs::new()),
        &|io| {
            let scratch = &mut [0.0; 4096];
            let norm = GroupNorm::new().with_groups(1);
            norm.forward(io, channels, NormArgs::new().scratch(scratch))
        },
        &|io| InstanceNorm::new().forward(io, channels, NormArgs::new().scratch(&mut [0.0; 4096])),
        &|io| Dropout::new().forward(io, stream),
        &|io| Dropout::new().forward(io, mask),
        &|io| Dropout::new().backward(io, stream),
        &|io| Dropout::new().forward_inference(io),
        &|io| regularizer.decay(io, 0.1),
        &|io| regularizer.proximal(io, 0.1),
        &|io| Normalizer::new().with_norm(Norm::L1).forward(io, rows),
        &|io| standard.transform(io, rows),
        &|io| standard.inverse_transform(io, rows),
        &|io| min_max.transform(io, rows),
        &|io| min_max.inverse_transform(io, rows),
    ];
    black_box(Backend::detect());
    for (i, call) in calls.iter().enumerate() {
        let mut expected = vec![PAINT; x.len()];
        call(InOut::new(&x, &mut expected)).expect("a call");
        let (y, count) = counted(|| to_vec(x.len(), |y| call(InOut::uninit(&x, y))));
        assert_eq!((y.as_deref(), count), (Ok(&*expected), 1), "{i}");
        let y =
            without_memory(|| to_vec::<f32>(x.len(), |_| unreachable!("there is no memory for y")));
        assert_eq!(y, Err(Error::OutOfMemory { bytes: 4 * x.len() }), "{i}");
        let (y, count) = counted(|| to_vec(7, |y| call(InOut::uninit(&x[..5], y))));
        assert!(matches!(y, Err(Error::Length { .. })) && count == 1, "{i}: {y:?}");
    }
}

/// Law: `sum_vec` allocates the sum once, and nothing where the vector has room. If there is no memory, the vector is empty and
/// y is not written.
#[test]
fn sum_vec_allocates_once() {
    let rows = shape(5, 67);
    let (x, residual) = (numbers(rows.elements(), 1.0), numbers(rows.elements(), 0.3));
    let (mut y, mut expected) = (vec![7.0; x.len()], vec![7.0; x.len()]);
    black_box(Backend::detect());
    let args = NormArgs::new().residual(&residual).sum(&mut expected);
    LayerNorm::new().forward(InOut::new(&x, &mut y), rows, args).expect("a call");
    y.fill(7.0);
    for is_layer_norm in [true, false] {
        y.fill(7.0);
        let mut sum = vec![7.0_f32];
        let mut run = |sum: &mut Vec<f32>| {
            let args = NormArgs::new().residual(&residual).sum_vec(sum);
            match (is_layer_norm, InOut::new(&x, &mut y)) {
                (true, io) => LayerNorm::new().forward(io, rows, args).map(drop),
                (false, io) => RmsNorm::new().forward(io, rows, args).map(drop),
            }
        };
        let result = without_memory(|| run(&mut sum));
        assert_eq!((result, sum.len()), (Err(Error::OutOfMemory { bytes: 4 * x.len() }), 0));
        assert_eq!(counted(|| run(&mut sum)), (Ok(()), 1));
        assert_eq!(sum, expected);
        assert_eq!(counted(|| run(&mut sum)), (Ok(()), 0));
        assert_eq!(sum, expected);
        let mut y = vec![PAINT; x.len()];
        let (args, mut none) = (NormArgs::new().residual(&residual), Vec::new());
        let (args, io) = (args.sum_vec::<f32>(&mut none), InOut::new(&x, &mut y));
        assert!(without_memory(|| LayerNorm::new().forward(io, rows, args)).is_err());
        assert!(y.into_iter().all(is_painted));
    }
}

/// Whether an output has an element that is not written. A byte may be like an unwritten one.
fn has_paint(stored: &Stored) -> bool {
    match (stored, Stored::painted(stored.kind(), 1)) {
        (Stored::F32(x), _) => x.iter().copied().any(is_painted),
        (Stored::F64(x), Stored::F64(paint)) => x.iter().any(|x| x.to_bits() == paint[0].to_bits()),
        _ => false,
    }
}

/// Law: a call with a y that is not initialised writes every element of every output, and the bits of one whose y is.
/// `all_padding` has no valid row.
fn assert_whole(
    operation: &Operation,
    options: &[&'static str],
    values: &Values,
    setting: &Setting,
    all_padding: bool,
) {
    let call = |place| {
        let what = || what((operation, options, place), setting);
        let mut memory = Memory::new(operation, values, place, options);
        let valid =
            memory.others.iter_mut().filter(|(buffer, _)| buffer.option.starts_with("valid"));
        for (_, stored) in valid.filter(|_| all_padding) {
            match stored {
                Stored::U8(mask) => mask.fill(0),
                Stored::Usize(lengths) => lengths.fill(0),
                other => panic!("{other:?} says which rows are valid"),
            }
        }
        assert_eq!(memory.call(operation, setting), Ok(()), "{}", what());
        let mut others = memory.others.iter().filter(|(buffer, _)| buffer.name != "scratch");
        let painted =
            memory.y.iter().copied().any(is_painted) || others.any(|(_, of)| has_paint(of));
        assert!(!painted, "{}: an element is not written", what());
        memory.written(operation.name)
    };
    let expected = call(Place::New);
    for &place in operation.places() {
        if matches!(place, Place::Uninit | Place::StridedUninit) {
            let case = (operation, options, place);
            assert!(call(place) == expected, "{}: other bits", what(case, setting));
        }
    }
}

/// Every length of a row up to four vectors and three elements and around blocks; every number of rows up to two groups of four
/// and one. No options and as many as go together in every shape, the other sets in some of every length.
fn assert_whole_in_every_shape(takes: Takes) {
    let operations = OPERATIONS.iter().filter(|operation| operation.takes == takes);
    let calls = operations.flat_map(|operation| {
        let sets = operation.option_sets();
        let last = sets.len() - 1;
        let with_affine = move |(i, set): (usize, Vec<_>)| {
            let ends = i == 0 || i == last;
            let affine = with_affine(operation, &set).into_iter();
            affine.enumerate().map(move |(j, options)| (operation, options, ends, i + j))
        };
        sets.into_iter().enumerate().flat_map(with_affine)
    });
    let calls: Vec<_> = calls.collect();
    let in_short = |cols| [0, 65, 67, 769, 1023].contains(&cols) || cols % 9 == 1;
    let lengths = (0..=67).chain(767..=769).chain(1023..=1025);
    let lengths = lengths.filter(|&cols| !short() || in_short(cols));
    let shapes = lengths.flat_map(|cols| (0..=9).map(move |count| shape(count, cols)));
    for rows in shapes.filter(|of| !short() || of.cols() < 100 || of.rows() % 4 == 1) {
        // Numbers of every size, by turns.
        let values = values(rows, SCALES[(rows.rows() + rows.cols()) % SCALES.len()]);
        for (backend, &(operation, ref options, ends, i)) in with_backends(&calls) {
            let setting = Setting { eps: 0.0, ..Setting::new(backend, rows) };
            let some = (rows.rows() + rows.cols() + i) % 4 == 1;
            if ends || some {
                assert_whole(operation, options, &values, &setting, false);
            }
            if some && options.iter().any(|option| option.starts_with("valid")) {
                assert_whole(operation, options, &values, &setting, true);
            }
        }
    }
}

#[test]
fn operations_on_rows_fill_new_memory() {
    assert_whole_in_every_shape(Takes::Rows);
}

#[test]
fn operations_on_elements_fill_new_memory() {
    assert_whole_in_every_shape(Takes::Elements);
}

/// Around the blocks of dropout and of penalties, whatever the rate of dropout and of decay.
#[test]
fn dropout_and_regularizer_fill_new_memory() {
    let blocks = (1020..=1030).chain(4020..=4030).chain(4090..=4100);
    let is_elementwise = |operation: &&Operation| {
        operation.takes == Takes::Elements
            && ["Dropout", "Regularizer"].iter().any(|of| operation.name.starts_with(of))
    };
    for len in (0..=300).chain(blocks).chain([2048, 5000, 8191, 10_000]) {
        let rows = shape(1, len);
        let values = values(rows, 1.0);
        for operation in OPERATIONS.iter().filter(is_elementwise) {
            let stream = Stream { seed: 5, offset: 70 };
            for (backend, l2) in with_backends([0.1, 1e300]) {
                let setting = Setting { l1: 0.1, l2, stream, ..Setting::new(backend, rows) };
                for (setting, options) in rates(operation, setting)
                    .flat_map(|of| operation.option_sets().into_iter().map(move |set| (of, set)))
                {
                    assert_whole(operation, &options, &values, &setting, false);
                }
            }
        }
    }
}
