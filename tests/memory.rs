//! What calls do with memory: serial ones allocate nothing, those that take a new buffer fill it, and those for which there
//! is none are refused.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hint::black_box;
use std::mem::MaybeUninit;
use std::ptr::null_mut;

use evenkeel::{
    Backend, BatchNorm, Channels, ColumnMoments, Dropout, Error, GroupNorm, InstanceNorm,
    LayerNorm, Mask, MaskMut, MinMaxScaler, Moments, Norm, NormalizeScaleShift, Normalizer,
    Parallelism, Regularizer, RmsNorm, RowMoments, Rows, RunningStatistics, StandardScaler, Stream,
    ValidRows,
};

/// The system's allocator, which counts what each thread asks of it, and refuses what is too much for the thread: the
/// harness runs other tests meanwhile, on threads of their own.
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

/// How often this thread allocates in a call.
fn allocations(call: impl FnOnce()) -> usize {
    let before = ALLOCATIONS.get();
    call();
    ALLOCATIONS.get() - before
}

/// Whether `EVENKEEL_SHORT=1` asks for less, as an emulated CPU does.
fn short() -> bool {
    std::env::var_os("EVENKEEL_SHORT").is_some_and(|value| value == "1")
}

/// Numbers of either sign, about as large as `scale`.
fn numbers(len: usize, scale: f32) -> Vec<f32> {
    (0..len).map(|i| ((i * 7919 % 1013) as f32 / 500.0 - 0.75) * scale).collect()
}

/// Of numbers that f32 holds well, of numbers whose squares it cannot hold, and of subnormal ones.
const SCALES: [f32; 3] = [1.0, 1e35, 1e-40];

/// gamma and beta.
type Affine<'a> = (Option<&'a [f32]>, Option<&'a [f32]>);

/// What a call may be given to read.
struct Case {
    rows: Rows,
    x: Vec<f32>,
    gamma: Vec<f32>,
    beta: Vec<f32>,
    /// As many as there are rows or columns, whichever are more.
    mean: Vec<f64>,
    rstd: Vec<f64>,
    running_mean: Vec<f32>,
    running_var: Vec<f32>,
}

impl Case {
    fn new(rows: usize, cols: usize, scale: f32) -> Self {
        let wide = f64::from(scale);
        let statistic = |scale: f64| (0..rows.max(cols)).map(|i| (i % 9) as f64 * scale).collect();
        Self {
            rows: Rows::new(rows, cols).expect("a small shape"),
            x: numbers(rows * cols, scale),
            gamma: numbers(cols, 1.5),
            beta: numbers(cols, 0.5),
            mean: statistic(0.3 * wide),
            rstd: statistic(0.5 / wide),
            running_mean: numbers(cols, scale),
            running_var: (0..cols).map(|i| (i % 7) as f32 * scale).collect(),
        }
    }

    /// gamma and beta, each there and not.
    fn affine(&self) -> [Affine<'_>; 4] {
        let (gamma, beta) = (&*self.gamma, &*self.beta);
        [(Some(gamma), Some(beta)), (Some(gamma), None), (None, Some(beta)), (None, None)]
    }
}

#[test]
fn the_count_counts() {
    assert_eq!(allocations(|| ()), 0);
    assert_eq!(allocations(|| drop(black_box(Box::new(1)))), 1);
    assert_eq!(allocations(|| drop(black_box(vec![0_u8; 100]))), 1);
    let mut grows = Vec::with_capacity(1);
    grows.push(1);
    assert_eq!(allocations(|| grows.push(black_box(2))), 1);
    let elsewhere = || std::thread::spawn(|| allocations(|| drop(black_box(Box::new(1))))).join();
    assert_eq!(elsewhere().expect("a count"), 1);
}

/// Finds that each call succeeds and allocates so often.
macro_rules! assert_allocations {
    ($what:expr, $count:literal; $($call:expr;)+) => {$(
        let counted = allocations(|| assert!($call.is_ok()));
        assert_eq!(counted, $count, "{}, {:?}", stringify!($call), $what);
    )+};
}

#[test]
fn serial_calls_allocate_nothing() {
    for backend in Backend::available() {
        for serial in [Parallelism::Serial, Parallelism::AtMost(1), Parallelism::AtMost(0)] {
            // Small; and where Auto would fork, as many rows, as fewer and as one.
            let shapes = [(3, 1), (9, 67), (1000, 160), (100, 4000), (1, 300_000)];
            for &(rows, cols) in if short() { &shapes[..2] } else { &shapes } {
                allocate_nothing(rows, cols, Some(backend), serial);
            }
        }
    }
}

/// Not even with the settings that every operation has at first, where a fork would not pay. The
/// backend is looked up once a process, which may allocate.
#[test]
fn small_calls_allocate_nothing() {
    black_box(Backend::detect());
    for (rows, cols) in [(1, 5000), (64, 1000), (9, 67), (3, 1)] {
        allocate_nothing(rows, cols, None, Parallelism::Auto);
    }
}

/// What a call says while this thread has no memory.
fn without_memory<T>(call: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    LARGEST.set(0);
    let result = call();
    LARGEST.set(usize::MAX);
    result
}

#[test]
fn a_call_for_which_there_is_no_memory_is_refused() {
    // Worth several tasks; as channels, few samples.
    let (rows, cols) = (512, 400);
    let (x, shape) = (numbers(rows * cols, 1.0), Rows::new(rows, cols).expect("a small shape"));
    let last = Channels::last(2, rows / 2, cols).expect("a small shape");
    let first = Channels::first(1, rows, cols).expect("a small shape");
    let lengths = [200, 100];
    let valid = ValidRows::Lengths { lengths: &lengths, steps: rows / 2 };
    for backend in Backend::available() {
        let (mut y, mut mean, mut rstd) = (vec![7.0; x.len()], vec![7.0; cols], vec![7.0; cols]);
        let mut moments = vec![Moments::new(); cols];
        let of_columns = ColumnMoments::new().with_backend(backend);
        let batch_norm = BatchNorm::new().with_backend(backend);
        let group_norm = GroupNorm::new().with_groups(20).with_backend(backend);
        let instance_norm = InstanceNorm::new().with_backend(backend);
        let layer_norm = LayerNorm::new().with_backend(backend);
        let mut standard = StandardScaler::new(cols).unwrap().with_backend(backend);
        let mut min_max = MinMaxScaler::new(cols).unwrap().with_backend(backend);
        macro_rules! assert_refused {
            ($($call:expr;)+) => {$(
                let refused = without_memory(|| $call);
                let bytes = match refused {
                    Err(Error::OutOfMemory { bytes }) => bytes,
                    other => panic!("{}, {backend}: {other:?}", stringify!($call)),
                };
                assert!((1..1 << 20).contains(&bytes), "{}: {bytes} bytes", stringify!($call));
                $call.expect("there is memory again");
            )+};
        }
        // The scalers first: what they have got they keep. As for everything else, nothing is written when they are refused.
        standard.fit(&x[..cols], Rows::new(1, cols).expect("a row")).expect("little");
        min_max.fit(&x[..cols], Rows::new(1, cols).expect("a row")).expect("little");
        let before = format!("{standard:?}, {min_max:?}");
        assert!(without_memory(|| standard.partial_fit(&x, shape)).is_err());
        assert!(without_memory(|| min_max.partial_fit(&x, shape)).is_err());
        assert_eq!(format!("{standard:?}, {min_max:?}"), before);
        assert_refused! {
            standard.partial_fit(&x, shape);
            min_max.partial_fit(&x, shape);
            StandardScaler::new(cols);
            MinMaxScaler::new(cols);
            StandardScaler::from_moments(&moments);
            MinMaxScaler::from_ranges(&x[..cols], &x[..cols]);
        }

        let untouched = without_memory(|| of_columns.compute(&x, shape, &mut moments)).is_err()
            && without_memory(|| {
                batch_norm
                    .forward_training(&x, None, None, shape, &mut y, &mut mean, &mut rstd, None)
            })
            .is_err()
            && without_memory(|| group_norm.forward(&x, None, None, last, &mut y)).is_err()
            && without_memory(|| layer_norm.forward_channels(&x, None, None, first, &mut y))
                .is_err();
        assert!(untouched, "{backend}: every one is refused");
        assert!(y.iter().all(|&y| y == 7.0) && mean.iter().chain(&rstd).all(|&s| s == 7.0));
        assert!(moments.iter().all(|moments| moments.count == 0));
        assert_refused! {
            of_columns.compute(&x, shape, &mut moments);
            of_columns.compute_masked(&x, valid, shape, &mut moments);
            batch_norm.forward_training(&x, None, None, shape, &mut y, &mut mean, &mut rstd, None);
            group_norm.forward(&x, None, None, last, &mut y);
            instance_norm.forward(&x, None, None, last, &mut y);
            layer_norm.forward_channels(&x, None, None, first, &mut y);
        }
        // A sample at a time is gathered, on whichever thread.
        let serial = instance_norm.with_parallelism(Parallelism::Serial);
        assert_refused! {
            serial.forward_masked(&x, valid, None, None, last, &mut y);
        }
    }
}

fn allocate_nothing(rows: usize, cols: usize, backend: Option<Backend>, threads: Parallelism) {
    fn running<'a>(mean: &'a mut [f32], var: &'a mut [f32]) -> Option<RunningStatistics<'a>> {
        Some(RunningStatistics { mean, var })
    }
    /// An operation with the settings that the test is about.
    macro_rules! operation {
        ($operation:ident) => {{
            let operation = $operation::new().with_parallelism(threads);
            backend.map_or(operation, |backend| operation.with_backend(backend))
        }};
    }
    let (layer_norm, rms_norm) = (operation!(LayerNorm), operation!(RmsNorm));
    let (normalize, batch_norm) = (operation!(NormalizeScaleShift), operation!(BatchNorm));
    let (row_moments, column_moments) = (operation!(RowMoments), operation!(ColumnMoments));

    for scale in SCALES {
        let case = Case::new(rows, cols, scale);
        let Case { rows, x, running_mean: m, running_var: v, .. } = &case;
        let (gamma, beta) = case.affine()[0];
        let (rows, (n, cols)) = (*rows, (rows.rows(), rows.cols()));
        let (mean, rstd) = (&case.mean[..n], &case.rstd[..n]);
        let (means, rstds) = (&case.mean[..cols], &case.rstd[..cols]);

        let (y, xy) = (&mut *vec![0.0; x.len()], &mut *x.clone());
        let new = &mut *vec![MaybeUninit::uninit(); x.len()];
        let (of_rows, and_rows) = (&mut *vec![0.0; n], &mut *vec![0.0; n]);
        let (of_cols, and_cols) = (&mut *vec![0.0; cols], &mut *vec![0.0; cols]);
        let moments = &mut *vec![Moments::new(); n];
        let (rm, rv) = (&mut *m.clone(), &mut *v.clone());
        let scratch = &mut *vec![0.0; batch_norm.scratch_len(rows)];
        let column_scratch = &mut *vec![0.0; column_moments.scratch_len(rows)];
        let moments_of_cols = &mut *vec![Moments::new(); cols];
        let lengths = &*(0..n).map(|r| (r * 7 + 1) % (cols + 1)).collect::<Vec<_>>();
        let of_steps = &*(0..n).map(|r| usize::from(r % 3 != 1)).collect::<Vec<_>>();
        let (bytes, bits) = (&*vec![1; n], &*vec![0xbd; n.div_ceil(8)]);
        let valid = [
            ValidRows::Mask(Mask::Packed(bits)),
            ValidRows::Mask(Mask::Bytes(bytes)),
            ValidRows::Lengths { lengths: of_steps, steps: 1 },
        ];

        assert_allocations! { (rows, scale, backend, threads), 0;
            layer_norm.forward(x, gamma, beta, rows, y);
            layer_norm.forward_in_place(xy, gamma, beta, rows);
            layer_norm.forward_uninit(x, gamma, beta, rows, new);
            layer_norm.forward_with_stats(x, gamma, beta, rows, y, of_rows, and_rows);
            layer_norm.forward_in_place_with_stats(xy, gamma, beta, rows, of_rows, and_rows);
            layer_norm.forward_uninit_with_stats(x, gamma, beta, rows, new, of_rows, and_rows);
            rms_norm.forward(x, gamma, beta, rows, y);
            rms_norm.forward_in_place(xy, gamma, beta, rows);
            rms_norm.forward_uninit(x, gamma, beta, rows, new);
            rms_norm.forward_with_stats(x, gamma, beta, rows, y, of_rows);
            rms_norm.forward_in_place_with_stats(xy, gamma, beta, rows, of_rows);
            rms_norm.forward_uninit_with_stats(x, gamma, beta, rows, new, of_rows);
            layer_norm.forward_residual(x, x, gamma, beta, rows, y, Some(xy));
            layer_norm.forward_update_residual(x, xy, gamma, beta, rows, y);
            layer_norm.forward_update_residual_in_place(xy, y, gamma, beta, rows);
            layer_norm.forward_strided(x, cols, gamma, beta, rows, y, cols);
            layer_norm.forward_strided_in_place(xy, cols, gamma, beta, rows);
            rms_norm.forward_residual(x, x, gamma, beta, rows, y, None);
            rms_norm.forward_residual_with_stats(x, x, gamma, beta, rows, y, Some(xy), of_rows);
            rms_norm.forward_update_residual_with_stats(x, xy, gamma, beta, rows, y, of_rows);
            layer_norm.forward_update_residual_in_place_with_stats(
                xy, y, gamma, beta, rows, of_rows, and_rows);
            rms_norm.forward_gated(x, x, gamma, rows, y);
            rms_norm.forward_gated_in_place(xy, x, gamma, rows);
            rms_norm.forward_gated_uninit(x, x, gamma, rows, new);
            normalize.forward(x, mean, rstd, gamma, beta, rows, y);
            normalize.forward_in_place(xy, mean, rstd, gamma, beta, rows);
            normalize.forward_uninit(x, mean, rstd, gamma, beta, rows, new);
            normalize.forward_columns(x, means, rstds, gamma, beta, rows, y);
            normalize.forward_columns_in_place(xy, means, rstds, gamma, beta, rows);
            normalize.forward_columns_uninit(x, means, rstds, gamma, beta, rows, new);
            batch_norm.forward_training_with_scratch(
                x, gamma, beta, rows, y, of_cols, and_cols, running(rm, rv), scratch);
            batch_norm.forward_training_in_place_with_scratch(
                xy, gamma, beta, rows, of_cols, and_cols, running(rm, rv), scratch);
            batch_norm.forward_training_uninit(
                x, gamma, beta, rows, new, of_cols, and_cols, running(rm, rv), scratch);
            batch_norm.forward_inference(x, m, v, gamma, beta, rows, y);
            batch_norm.forward_inference_in_place(xy, m, v, gamma, beta, rows);
            batch_norm.forward_inference_uninit(x, m, v, gamma, beta, rows, new);
            row_moments.compute(x, rows, moments);
            row_moments.compute_prefixes(x, lengths, rows, moments);
            batch_norm.forward_training_masked_with_scratch(
                x, valid[0], gamma, beta, rows, y, of_cols, and_cols, running(rm, rv), scratch);
            batch_norm.forward_training_masked_in_place_with_scratch(
                xy, valid[1], gamma, beta, rows, of_cols, and_cols, running(rm, rv), scratch);
            batch_norm.forward_training_masked_uninit(
                x, valid[2], gamma, beta, rows, new, of_cols, and_cols, running(rm, rv), scratch);
            batch_norm.forward_inference_masked(x, valid[0], m, v, gamma, beta, rows, y);
            batch_norm.forward_inference_masked_in_place(xy, valid[1], m, v, gamma, beta, rows);
            batch_norm.forward_inference_masked_uninit(x, valid[2], m, v, gamma, beta, rows, new);
            column_moments.compute_masked_with_scratch(
                x, valid[1], rows, moments_of_cols, column_scratch);
            column_moments.compute_with_scratch(x, rows, moments_of_cols, column_scratch);
        }
        let (mut standard, mut min_max) =
            (StandardScaler::new(cols).unwrap(), MinMaxScaler::new(cols).unwrap());
        (standard, min_max) =
            (standard.with_parallelism(threads), min_max.with_parallelism(threads));
        if let Some(backend) = backend {
            (standard, min_max) = (standard.with_backend(backend), min_max.with_backend(backend));
        }
        let (mut new_standard, mut new_min_max) = (standard.clone(), min_max.clone());
        standard.fit(x, rows).expect("a fit");
        min_max.fit(x, rows).expect("a fit");
        let normalizer = operation!(Normalizer);
        assert_allocations! { (rows, scale, backend, threads), 0;
            new_standard.fit(x, rows);
            new_standard.partial_fit(x, rows);
            new_standard.merge(&standard);
            standard.transform(x, rows, y);
            standard.transform_in_place(xy, rows);
            standard.transform_uninit(x, rows, new);
            standard.inverse_transform(x, rows, y);
            new_min_max.fit(x, rows);
            new_min_max.partial_fit(x, rows);
            new_min_max.merge(&min_max);
            min_max.transform(x, rows, y);
            min_max.transform_in_place(xy, rows);
            min_max.transform_uninit(x, rows, new);
            min_max.inverse_transform(x, rows, y);
            normalizer.with_norm(Norm::L1).forward(x, rows, y);
            normalizer.with_norm(Norm::L2).forward_in_place(xy, rows);
            normalizer.with_norm(Norm::Max).forward_uninit(x, rows, new);
        }
        assert_eq!(allocations(|| Moments::new().extend_from_slice(black_box(x))), 0);
        // Once, the scratch.
        assert_allocations! { (rows, scale, backend, threads), 1;
            batch_norm.forward_training(
                x, gamma, beta, rows, y, of_cols, and_cols, running(rm, rv));
            batch_norm.forward_training_in_place(
                xy, gamma, beta, rows, of_cols, and_cols, running(rm, rv));
            batch_norm.forward_training_masked(
                x, valid[0], gamma, beta, rows, y, of_cols, and_cols, running(rm, rv));
            batch_norm.forward_training_masked_in_place(
                xy, valid[0], gamma, beta, rows, of_cols, and_cols, running(rm, rv));
            column_moments.compute(x, rows, moments_of_cols);
            column_moments.compute_masked(x, valid[0], rows, moments_of_cols);
        }
        let regularizer = operation!(Regularizer).with_l1(0.01).with_l2(0.1);
        assert_allocations! { (rows, scale, backend, threads), 0;
            regularizer.penalty(x);
            regularizer.add_gradient(x, xy);
            regularizer.penalty_and_add_gradient(x, xy);
            regularizer.decay(x, 0.1, y);
            regularizer.decay_in_place(xy, 0.1);
            regularizer.decay_uninit(x, 0.1, new);
            regularizer.proximal(x, 0.1, y);
            regularizer.proximal_in_place(xy, 0.1);
            regularizer.proximal_uninit(x, 0.1, new);
        }

        // The rows as positions of one sample, and as samples of a channel each.
        let (norm, instance) = (operation!(GroupNorm).with_groups(1), operation!(InstanceNorm));
        let first = Channels::first(1, cols, n).expect("a small shape");
        let last = Channels::last(1, n, cols).expect("a small shape");
        let planes = Channels::first(n, 1, cols).expect("a small shape");
        let (one_mean, one_rstd) = (&mut [0.0], &mut [0.0]);
        let group_scratch = &mut *vec![0.0; norm.scratch_len(last)];
        let instance_scratch = &mut *vec![0.0; instance.scratch_len(last)];
        let first_scratch = &mut *vec![0.0; batch_norm.scratch_len(first)];
        assert_eq!((norm.scratch_len(first), instance.scratch_len(planes)), (0, 0));
        let (m_1, v_1) = (&m[..1], &v[..1]);
        assert_allocations! { (rows, scale, backend, threads), 0;
            norm.forward(x, gamma, beta, first, y);
            norm.forward_in_place(xy, None, None, planes);
            norm.forward_uninit(x, gamma, beta, first, new);
            norm.forward_with_scratch(
                x, gamma, beta, last, y, one_mean, one_rstd, group_scratch);
            norm.forward_in_place_with_scratch(
                xy, gamma, beta, last, one_mean, one_rstd, group_scratch);
            norm.forward_uninit_with_scratch(
                x, gamma, beta, last, new, one_mean, one_rstd, group_scratch);
            instance.forward(x, gamma, beta, first, y);
            instance.forward_in_place(xy, None, None, planes);
            instance.forward_uninit(x, gamma, beta, first, new);
            instance.forward_with_scratch(
                x, gamma, beta, last, y, of_cols, and_cols, instance_scratch);
            instance.forward_in_place_with_scratch(
                xy, gamma, beta, last, of_cols, and_cols, instance_scratch);
            instance.forward_uninit_with_scratch(
                x, gamma, beta, last, new, of_cols, and_cols, instance_scratch);
            layer_norm.forward_channels(x, gamma, beta, first, y);
            layer_norm.forward_channels_in_place(xy, gamma, beta, last);
            layer_norm.forward_channels_uninit(x, None, None, planes, new);
            layer_norm.forward_channels_with_stats(
                x, gamma, beta, first, y, of_rows, and_rows);
            layer_norm.forward_channels_uninit_with_stats(
                x, gamma, beta, first, new, of_rows, and_rows);
            batch_norm.forward_training_with_scratch(
                x, gamma, beta, first, y, of_cols, and_cols, running(rm, rv), first_scratch);
            batch_norm.forward_training_uninit(
                x, gamma, beta, first, new, of_cols, and_cols, running(rm, rv), first_scratch);
            batch_norm.forward_inference(x, m, v, gamma, beta, first, y);
            batch_norm.forward_inference_in_place(xy, m_1, v_1, None, None, planes);
        }
        let once = if n == 1 { 0 } else { 1 };
        let counted = allocations(|| {
            assert!(norm.forward(x, gamma, beta, last, y).is_ok());
        });
        assert_eq!(counted, once, "the scratch of {last:?}");

        for p in [0.0, 0.001, 0.5, 1.0] {
            let (dropout, stream) = (operation!(Dropout).with_p(p), Stream { seed: 1, offset: 3 });
            let bits = &mut *vec![0; x.len().div_ceil(8)];
            assert_allocations! { (rows, scale, backend, threads, p), 0;
                dropout.mask(stream, x.len(), MaskMut::Packed(bits));
                dropout.forward(x, stream, y);
                dropout.forward_with_mask(x, stream, y, MaskMut::Packed(bits));
                dropout.forward_in_place(xy, stream);
                dropout.forward_in_place_with_mask(xy, stream, MaskMut::Packed(bits));
                dropout.forward_uninit(x, stream, new, Some(MaskMut::Packed(bits)));
                dropout.forward_inference(x, y);
                dropout.apply(x, Mask::Packed(bits), y);
                dropout.apply_in_place(xy, Mask::Packed(bits));
                dropout.apply_uninit(x, Mask::Packed(bits), new);
                dropout.backward(x, stream, y);
                dropout.backward_with_mask(x, Mask::Packed(bits), y);
            }
        }
    }
}

/// What an unwritten element holds: NaN, with a payload that no arithmetic makes.
const PAINT: f32 = f32::from_bits(0x7fc5_a5a5);

/// Two buffers of one length, for a call whose y is initialised and one whose y is not.
struct Outputs {
    y: Vec<f32>,
    new: Vec<MaybeUninit<f32>>,
}

impl Outputs {
    fn new(len: usize) -> Self {
        Self { y: vec![PAINT; len], new: vec![MaybeUninit::new(PAINT); len] }
    }

    /// Calls both with paint in their outputs, finds none of it left, and no bit of difference.
    fn are_one_and_whole<'a>(
        &'a mut self,
        what: &str,
        call: impl FnOnce(&mut [f32]) -> Result<(), Error>,
        call_uninit: impl FnOnce(&'a mut [MaybeUninit<f32>]) -> Result<&'a mut [f32], Error>,
    ) {
        let Self { y, new } = self;
        y.fill(PAINT);
        new.fill(MaybeUninit::new(PAINT));
        let (address, len) = (new.as_ptr().cast::<f32>(), new.len());
        call(y).expect(what);
        let new = call_uninit(new).expect(what);
        assert_eq!((new.as_ptr(), new.len()), (address, len), "{what}: y itself is returned");
        let painted = new.iter().position(|y| y.to_bits() == PAINT.to_bits());
        assert_eq!(painted, None, "{what}: an element is left unwritten");
        // NaN has any bits.
        let bits = |y: &f32| if y.is_nan() { f32::NAN.to_bits() } else { y.to_bits() };
        assert!(new.iter().map(bits).eq(y.iter().map(bits)), "{what}: {new:?}, expected {y:?}");
    }
}

/// Runs a check on every backend, for every length of a row up to four vectors and three elements and
/// around blocks, and for every number of rows up to two groups of four and one.
fn for_every_case(check: impl Fn(Backend, &Case, Affine<'_>, &mut Outputs, &str)) {
    let all = (0..=67).chain(767..=769).chain(1023..=1025);
    let in_short = |cols| [0, 65, 67, 769, 1023].contains(&cols) || cols % 9 == 1;
    for cols in all.filter(|&cols| !short() || in_short(cols)) {
        for rows in (0..=9).filter(|rows| !short() || cols < 100 || rows % 4 == 1) {
            let mut outputs = Outputs::new(rows * cols);
            for scale in SCALES {
                let case = Case::new(rows, cols, scale);
                for backend in Backend::available() {
                    for affine in case.affine() {
                        let (gamma, beta) = (affine.0.is_some(), affine.1.is_some());
                        let with = format!("gamma {gamma}, beta {beta}, scale {scale:e}");
                        let what = format!("{backend}, {rows} x {cols}, {with}");
                        check(backend, &case, affine, &mut outputs, &what);
                    }
                }
            }
        }
    }
}

#[test]
fn layer_norm_fills_a_new_buffer() {
    for_every_case(|backend, case, (gamma, beta), outputs, what| {
        let (x, rows) = (&*case.x, case.rows);
        let layer_norm = LayerNorm::new().with_eps(0.0).with_backend(backend);
        outputs.are_one_and_whole(
            what,
            |y| layer_norm.forward(x, gamma, beta, rows, y),
            |new| layer_norm.forward_uninit(x, gamma, beta, rows, new),
        );
        if rows.cols() > 0 {
            let (mut stats, mut new_stats) = ([[7.0; 9]; 2], [[7.0; 9]; 2]);
            let [mean, rstd] = stats.each_mut().map(|stat| &mut stat[..rows.rows()]);
            let [new_mean, new_rstd] = new_stats.each_mut().map(|stat| &mut stat[..rows.rows()]);
            outputs.are_one_and_whole(
                what,
                |y| layer_norm.forward_with_stats(x, gamma, beta, rows, y, mean, rstd),
                |new| {
                    layer_norm
                        .forward_uninit_with_stats(x, gamma, beta, rows, new, new_mean, new_rstd)
                },
            );
            assert_eq!(stats, new_stats, "{what}");
        }
    });
}

#[test]
fn rms_norm_fills_a_new_buffer() {
    for_every_case(|backend, case, (gamma, beta), outputs, what| {
        let (x, rows) = (&*case.x, case.rows);
        let rms_norm = RmsNorm::new().with_eps(0.0).with_backend(backend);
        outputs.are_one_and_whole(
            what,
            |y| rms_norm.forward(x, gamma, beta, rows, y),
            |new| rms_norm.forward_uninit(x, gamma, beta, rows, new),
        );
        if rows.cols() > 0 {
            let (mut stats, mut new_stats) = ([7.0; 9], [7.0; 9]);
            let (rstd, new_rstd) = (&mut stats[..rows.rows()], &mut new_stats[..rows.rows()]);
            outputs.are_one_and_whole(
                what,
                |y| rms_norm.forward_with_stats(x, gamma, beta, rows, y, rstd),
                |new| rms_norm.forward_uninit_with_stats(x, gamma, beta, rows, new, new_rstd),
            );
            assert_eq!(stats, new_stats, "{what}");
        }
    });
}

#[test]
fn normalize_scale_shift_fills_a_new_buffer() {
    for_every_case(|backend, case, (gamma, beta), outputs, what| {
        let (x, rows) = (&*case.x, case.rows);
        let normalize = NormalizeScaleShift::new().with_backend(backend);
        let (mean, rstd) = (&case.mean[..rows.rows()], &case.rstd[..rows.rows()]);
        outputs.are_one_and_whole(
            what,
            |y| normalize.forward(x, mean, rstd, gamma, beta, rows, y),
            |new| normalize.forward_uninit(x, mean, rstd, gamma, beta, rows, new),
        );
        let (mean, rstd) = (&case.mean[..rows.cols()], &case.rstd[..rows.cols()]);
        outputs.are_one_and_whole(
            what,
            |y| normalize.forward_columns(x, mean, rstd, gamma, beta, rows, y),
            |new| normalize.forward_columns_uninit(x, mean, rstd, gamma, beta, rows, new),
        );
    });
}

#[test]
fn batch_norm_fills_a_new_buffer() {
    for_every_case(|backend, case, (gamma, beta), outputs, what| {
        let (x, rows) = (&*case.x, case.rows);
        let batch_norm = BatchNorm::new().with_eps(0.0).with_backend(backend);
        let (mut m, mut v) = (case.running_mean.clone(), case.running_var.clone());
        outputs.are_one_and_whole(
            what,
            |y| batch_norm.forward_inference(x, &m, &v, gamma, beta, rows, y),
            |new| batch_norm.forward_inference_uninit(x, &m, &v, gamma, beta, rows, new),
        );
        let (mut mean, mut rstd) = (vec![7.0; rows.cols()], vec![7.0; rows.cols()]);
        let (mut new_mean, mut new_rstd) = (mean.clone(), rstd.clone());
        let (mut new_m, mut new_v) = (m.clone(), v.clone());
        // Rows of which some are padding, or all.
        for bits in [[0b101_0110, 1], [0, 0]] {
            let valid = ValidRows::Mask(Mask::Packed(&bits[..rows.rows().div_ceil(8)]));
            outputs.are_one_and_whole(
                &format!("{what}, masked"),
                |y| batch_norm.forward_inference_masked(x, valid, &m, &v, gamma, beta, rows, y),
                |new| {
                    batch_norm
                        .forward_inference_masked_uninit(x, valid, &m, &v, gamma, beta, rows, new)
                },
            );
            let stats = [(); 4].map(|()| vec![7.0; rows.cols()]);
            let [mut mean, mut rstd, mut new_mean, mut new_rstd] = stats;
            let (to, scratch) =
                ((&mut mean, &mut rstd), &mut *vec![f64::NAN; batch_norm.scratch_len(rows)]);
            outputs.are_one_and_whole(
                &format!("{what}, masked"),
                |y| {
                    batch_norm
                        .forward_training_masked(x, valid, gamma, beta, rows, y, to.0, to.1, None)
                },
                |new| {
                    let (mean, rstd) = (&mut new_mean, &mut new_rstd);
                    batch_norm.forward_training_masked_uninit(
                        x, valid, gamma, beta, rows, new, mean, rstd, None, scratch,
                    )
                },
            );
        }
        let running = RunningStatistics { mean: &mut m, var: &mut v };
        let new_running = RunningStatistics { mean: &mut new_m, var: &mut new_v };
        let scratch = &mut *vec![f64::NAN; batch_norm.scratch_len(rows)];
        let (running, new_running) = (Some(running), Some(new_running));
        let (stats, new_stats) = ((&mut mean, &mut rstd), (&mut new_mean, &mut new_rstd));
        outputs.are_one_and_whole(
            what,
            |y| batch_norm.forward_training(x, gamma, beta, rows, y, stats.0, stats.1, running),
            |new| {
                let ((mean, rstd), running) = (new_stats, new_running);
                batch_norm.forward_training_uninit(
                    x, gamma, beta, rows, new, mean, rstd, running, scratch,
                )
            },
        );
        assert_eq!((mean, rstd, m, v), (new_mean, new_rstd, new_m, new_v), "{what}");
    });
}

/// The rows as the channels, and as the positions, of one sample, and as samples of one channel.
#[test]
fn operations_on_channels_fill_a_new_buffer() {
    for_every_case(|backend, case, (gamma, beta), outputs, what| {
        let (x, rows, cols) = (&*case.x, case.rows.rows(), case.rows.cols());
        // Every length, with some numbers of rows.
        if (rows + cols) % 4 != 1 {
            return;
        }
        let layer_norm = LayerNorm::new().with_eps(0.0).with_backend(backend);
        let batch_norm = BatchNorm::new().with_eps(0.0).with_backend(backend);
        let instance_norm = InstanceNorm::new().with_eps(0.0).with_backend(backend);
        let one = (gamma.and_then(|of| of.get(..1)), beta.and_then(|of| of.get(..1)));
        let some = (gamma.and_then(|of| of.get(..rows)), beta.and_then(|of| of.get(..rows)));
        for (shape, (gamma, beta)) in [
            (Channels::first(1, rows, cols), some),
            (Channels::last(1, rows, cols), (gamma, beta)),
            (Channels::first(rows, 1, cols), one),
            (Channels::last(rows, 1, cols), (gamma, beta)),
        ] {
            let shape = shape.expect("a small shape");
            let group_norm = GroupNorm::new().with_groups(1).with_eps(0.0).with_backend(backend);
            let what = &format!("{what}, {shape:?}");
            outputs.are_one_and_whole(
                what,
                |y| group_norm.forward(x, gamma, beta, shape, y),
                |new| group_norm.forward_uninit(x, gamma, beta, shape, new),
            );
            outputs.are_one_and_whole(
                what,
                |y| instance_norm.forward(x, gamma, beta, shape, y),
                |new| instance_norm.forward_uninit(x, gamma, beta, shape, new),
            );
            let some: Vec<u8> =
                (0..shape.batch() * shape.positions()).map(|i| i as u8 % 3).collect();
            let valid = ValidRows::Mask(Mask::Bytes(&some));
            outputs.are_one_and_whole(
                &format!("{what}, masked"),
                |y| instance_norm.forward_masked(x, valid, gamma, beta, shape, y),
                |new| instance_norm.forward_masked_uninit(x, valid, gamma, beta, shape, new),
            );
            outputs.are_one_and_whole(
                what,
                |y| layer_norm.forward_channels(x, gamma, beta, shape, y),
                |new| layer_norm.forward_channels_uninit(x, gamma, beta, shape, new),
            );
            let (m, v) = (numbers(shape.channels(), 1.0), vec![2.0; shape.channels()]);
            outputs.are_one_and_whole(
                what,
                |y| batch_norm.forward_inference(x, &m, &v, gamma, beta, shape, y),
                |new| batch_norm.forward_inference_uninit(x, &m, &v, gamma, beta, shape, new),
            );
            let scratch = &mut *vec![f64::NAN; batch_norm.scratch_len(shape)];
            let stats = || (vec![7.0; shape.channels()], vec![7.0; shape.channels()]);
            let ((mut mean, mut rstd), (mut new_mean, mut new_rstd)) = (stats(), stats());
            let (a, b) = ((&mut mean, &mut rstd), (&mut new_mean, &mut new_rstd));
            outputs.are_one_and_whole(
                what,
                |y| batch_norm.forward_training(x, gamma, beta, shape, y, a.0, a.1, None),
                |new| {
                    batch_norm.forward_training_uninit(
                        x, gamma, beta, shape, new, b.0, b.1, None, scratch,
                    )
                },
            );
            assert_eq!((mean, rstd), (new_mean, new_rstd), "{what}");
        }
    });
}

#[test]
fn scalers_and_norms_fill_a_new_buffer() {
    for_every_case(|backend, case, (gamma, beta), outputs, what| {
        if gamma.is_some() || beta.is_some() {
            return;
        }
        let (x, rows) = (&*case.x, case.rows);
        // Fitted, whatever x is.
        let moments = case.mean[..rows.cols()].iter().map(|&mean| Moments {
            count: 3,
            mean,
            mean_low: 0.0,
            m2: mean * mean,
        });
        let standard = StandardScaler::from_moments(&moments.collect::<Vec<_>>()).expect(what);
        let standard = standard.with_backend(backend);
        let (m, v) = (&case.running_mean, &case.running_var);
        let max: Vec<f32> = m.iter().zip(v).map(|(m, v)| m + v).collect();
        let min_max = MinMaxScaler::from_ranges(m, &max).expect(what).with_backend(backend);
        outputs.are_one_and_whole(
            what,
            |y| standard.transform(x, rows, y),
            |new| standard.transform_uninit(x, rows, new),
        );
        outputs.are_one_and_whole(
            what,
            |y| standard.inverse_transform(x, rows, y),
            |new| standard.inverse_transform_uninit(x, rows, new),
        );
        for min_max in [min_max.clone(), min_max.with_clip(true)] {
            outputs.are_one_and_whole(
                what,
                |y| min_max.transform(x, rows, y),
                |new| min_max.transform_uninit(x, rows, new),
            );
            outputs.are_one_and_whole(
                what,
                |y| min_max.inverse_transform(x, rows, y),
                |new| min_max.inverse_transform_uninit(x, rows, new),
            );
        }
        for norm in [Norm::L1, Norm::L2, Norm::Max] {
            let normalizer = Normalizer::new().with_norm(norm).with_backend(backend);
            outputs.are_one_and_whole(
                what,
                |y| normalizer.forward(x, rows, y),
                |new| normalizer.forward_uninit(x, rows, new),
            );
        }
    });
}

#[test]
fn dropout_fills_a_new_buffer() {
    let stream = Stream { seed: 5, offset: 70 };
    for len in (0..=300).chain(4020..=4030).chain(4090..=4100).chain([8191, 10_000]) {
        let (x, mut outputs) = (numbers(len, 1.0), Outputs::new(len));
        for (backend, p) in
            Backend::available().flat_map(|backend| [0.0, 0.001, 0.5, 1.0].map(|p| (backend, p)))
        {
            let (what, x) = (format!("{backend}, {len} elements, p = {p}"), &*x);
            let dropout = Dropout::new().with_p(p).with_backend(backend);
            outputs.are_one_and_whole(
                &what,
                |y| dropout.forward(x, stream, y),
                |new| dropout.forward_uninit(x, stream, new, None),
            );
            let (mut bits, mut new_bits) = (vec![7; len], vec![8; len]);
            outputs.are_one_and_whole(
                &what,
                |y| dropout.forward_with_mask(x, stream, y, MaskMut::Bytes(&mut bits)),
                |new| dropout.forward_uninit(x, stream, new, Some(MaskMut::Bytes(&mut new_bits))),
            );
            assert_eq!(bits, new_bits, "{what}");
            outputs.are_one_and_whole(
                &what,
                |y| dropout.apply(x, Mask::Bytes(&bits), y),
                |new| dropout.apply_uninit(x, Mask::Bytes(&bits), new),
            );
        }
    }
}

#[test]
fn regularizer_fills_a_new_buffer() {
    for len in (0..=300).chain(1020..=1030).chain([2048, 5000]) {
        let (x, mut outputs) = (numbers(len, 1.0), Outputs::new(len));
        for (backend, l2) in
            Backend::available().flat_map(|backend| [0.1, 1e300].map(|l2| (backend, l2)))
        {
            let (what, x) = (format!("{backend}, {len} elements, l2 = {l2}"), &*x);
            let regularizer = Regularizer::new().with_l1(0.1).with_l2(l2).with_backend(backend);
            outputs.are_one_and_whole(
                &what,
                |y| regularizer.decay(x, 0.1, y),
                |new| regularizer.decay_uninit(x, 0.1, new),
            );
            outputs.are_one_and_whole(
                &what,
                |y| regularizer.proximal(x, 0.1, y),
                |new| regularizer.proximal_uninit(x, 0.1, new),
            );
        }
    }
}
