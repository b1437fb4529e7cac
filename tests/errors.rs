//! What every call refuses, what it says then, and that it has written nothing.
//!
//! [`METHODS`] lists every method that takes buffers, with what it reads and what it writes. The tests
//! go through the list with one argument wrong at a time and compare all buffers, and the memory on
//! both sides of them, bit for bit with what was there before the call.

use std::mem::MaybeUninit;

use evenkeel::{
    Backend, BatchNorm, ColumnMoments, Error, LayerNorm, Moments, NormalizeScaleShift, RmsNorm,
    RowMoments, Rows, RunningStatistics,
};

const LAYER_NORM: LayerNorm = LayerNorm::new();
const RMS_NORM: RmsNorm = RmsNorm::new();
const NORMALIZE: NormalizeScaleShift = NormalizeScaleShift::new();

/// A method, and the buffers that it takes.
struct Method {
    name: &'static str,
    reads: &'static [&'static str],
    writes: &'static [&'static str],
    call: fn(&mut Arguments) -> Result<(), Error>,
}

/// `"name": what it reads => what it writes; a call`, for which each buffer is there by its name and all
/// other arguments are fields of the closure's.
macro_rules! methods {
    ($($name:literal: $($read:ident)* => $($write:ident)+; |$a:ident| $call:expr;)+) => {
        &[$(Method {
            name: $name,
            reads: &[$(stringify!($read)),*],
            writes: &[$(stringify!($write)),+],
            call: |$a| {
                $(let $read = $a.$read.get();)*
                $(let $write = $a.$write.get_mut();)+
                $call.map(|_| ())
            },
        }),+]
    };
}

const METHODS: &[Method] = methods! {
    "LayerNorm::forward": x gamma beta => y;
        |a| LAYER_NORM.with_eps(a.eps).forward(x, gamma, beta, a.rows, y);
    "LayerNorm::forward_with_stats": x gamma beta => y mean rstd;
        |a| LAYER_NORM.with_eps(a.eps).forward_with_stats(x, gamma, beta, a.rows, y, mean, rstd);
    "LayerNorm::forward_in_place": gamma beta => x;
        |a| LAYER_NORM.with_eps(a.eps).forward_in_place(x, gamma, beta, a.rows);
    "LayerNorm::forward_in_place_with_stats": gamma beta => x mean rstd;
        |a| LAYER_NORM.with_eps(a.eps)
            .forward_in_place_with_stats(x, gamma, beta, a.rows, mean, rstd);
    "LayerNorm::forward_uninit": x gamma beta => y;
        |a| LAYER_NORM.with_eps(a.eps).forward_uninit(x, gamma, beta, a.rows, uninit(y));
    "LayerNorm::forward_uninit_with_stats": x gamma beta => y mean rstd;
        |a| LAYER_NORM.with_eps(a.eps)
            .forward_uninit_with_stats(x, gamma, beta, a.rows, uninit(y), mean, rstd);

    "RmsNorm::forward": x gamma beta => y;
        |a| RMS_NORM.with_eps(a.eps).forward(x, gamma, beta, a.rows, y);
    "RmsNorm::forward_with_stats": x gamma beta => y rstd;
        |a| RMS_NORM.with_eps(a.eps).forward_with_stats(x, gamma, beta, a.rows, y, rstd);
    "RmsNorm::forward_in_place": gamma beta => x;
        |a| RMS_NORM.with_eps(a.eps).forward_in_place(x, gamma, beta, a.rows);
    "RmsNorm::forward_in_place_with_stats": gamma beta => x rstd;
        |a| RMS_NORM.with_eps(a.eps).forward_in_place_with_stats(x, gamma, beta, a.rows, rstd);
    "RmsNorm::forward_uninit": x gamma beta => y;
        |a| RMS_NORM.with_eps(a.eps).forward_uninit(x, gamma, beta, a.rows, uninit(y));
    "RmsNorm::forward_uninit_with_stats": x gamma beta => y rstd;
        |a| RMS_NORM.with_eps(a.eps).forward_uninit_with_stats(x, gamma, beta, a.rows, uninit(y), rstd);

    "NormalizeScaleShift::forward": x mean rstd gamma beta => y;
        |a| NORMALIZE.forward(x, mean, rstd, gamma, beta, a.rows, y);
    "NormalizeScaleShift::forward_in_place": mean rstd gamma beta => x;
        |a| NORMALIZE.forward_in_place(x, mean, rstd, gamma, beta, a.rows);
    "NormalizeScaleShift::forward_uninit": x mean rstd gamma beta => y;
        |a| NORMALIZE.forward_uninit(x, mean, rstd, gamma, beta, a.rows, uninit(y));
    "NormalizeScaleShift::forward_columns": x mean rstd gamma beta => y;
        |a| NORMALIZE.forward_columns(x, mean, rstd, gamma, beta, a.rows, y);
    "NormalizeScaleShift::forward_columns_in_place": mean rstd gamma beta => x;
        |a| NORMALIZE.forward_columns_in_place(x, mean, rstd, gamma, beta, a.rows);
    "NormalizeScaleShift::forward_columns_uninit": x mean rstd gamma beta => y;
        |a| NORMALIZE.forward_columns_uninit(x, mean, rstd, gamma, beta, a.rows, uninit(y));

    "BatchNorm::forward_training": x gamma beta => y mean rstd running_mean running_var;
        |a| a.batch_norm.with_eps(a.eps).forward_training(
            x, gamma, beta, a.rows, y, mean, rstd, running(running_mean, running_var));
    "BatchNorm::forward_training_with_scratch":
        x gamma beta => y mean rstd running_mean running_var scratch;
        |a| a.batch_norm.with_eps(a.eps).forward_training_with_scratch(
            x, gamma, beta, a.rows, y, mean, rstd, running(running_mean, running_var), scratch);
    "BatchNorm::forward_training_in_place": gamma beta => x mean rstd running_mean running_var;
        |a| a.batch_norm.with_eps(a.eps).forward_training_in_place(
            x, gamma, beta, a.rows, mean, rstd, running(running_mean, running_var));
    "BatchNorm::forward_training_in_place_with_scratch":
        gamma beta => x mean rstd running_mean running_var scratch;
        |a| a.batch_norm.with_eps(a.eps).forward_training_in_place_with_scratch(
            x, gamma, beta, a.rows, mean, rstd, running(running_mean, running_var), scratch);
    "BatchNorm::forward_training_uninit":
        x gamma beta => y mean rstd running_mean running_var scratch;
        |a| a.batch_norm.with_eps(a.eps).forward_training_uninit(
            x, gamma, beta, a.rows, uninit(y), mean, rstd, running(running_mean, running_var),
            scratch);
    "BatchNorm::forward_training without running statistics": x gamma beta => y mean rstd;
        |a| a.batch_norm.with_eps(a.eps)
            .forward_training(x, gamma, beta, a.rows, y, mean, rstd, None);
    "BatchNorm::forward_inference": x running_mean running_var gamma beta => y;
        |a| a.batch_norm.with_eps(a.eps)
            .forward_inference(x, running_mean, running_var, gamma, beta, a.rows, y);
    "BatchNorm::forward_inference_in_place": running_mean running_var gamma beta => x;
        |a| a.batch_norm.with_eps(a.eps)
            .forward_inference_in_place(x, running_mean, running_var, gamma, beta, a.rows);
    "BatchNorm::forward_inference_uninit": x running_mean running_var gamma beta => y;
        |a| a.batch_norm.with_eps(a.eps)
            .forward_inference_uninit(x, running_mean, running_var, gamma, beta, a.rows, uninit(y));

    "RowMoments::compute": x => moments;
        |a| RowMoments::new().compute(x, a.rows, moments);
    "ColumnMoments::compute": x => moments;
        |a| ColumnMoments::new().compute(x, a.rows, moments);
    "ColumnMoments::compute_with_scratch": x => moments scratch;
        |a| ColumnMoments::new().compute_with_scratch(x, a.rows, moments, scratch);
};

impl Method {
    fn buffers(&self) -> impl Iterator<Item = &'static str> {
        self.reads.iter().chain(self.writes).copied()
    }
    fn takes_eps(&self) -> bool {
        ["LayerNorm::", "RmsNorm::", "BatchNorm::"].iter().any(|name| self.name.starts_with(name))
    }
    fn trains(&self) -> bool {
        self.name.starts_with("BatchNorm::forward_training")
    }

    /// Whether statistics are one a column, not one a row.
    fn is_of_columns(&self) -> bool {
        ["BatchNorm", "ColumnMoments", "columns"].iter().any(|name| self.name.contains(name))
    }

    /// The length that a buffer must have.
    fn length(&self, buffer: &str, shape: Rows) -> usize {
        match buffer {
            "x" | "y" => shape.elements(),
            "gamma" | "beta" | "running_mean" | "running_var" => shape.cols(),
            "mean" | "rstd" | "moments" if self.is_of_columns() => shape.cols(),
            "mean" | "rstd" | "moments" => shape.rows(),
            "scratch" if self.trains() => BatchNorm::new().scratch_len(shape),
            "scratch" => ColumnMoments::new().scratch_len(shape),
            _ => unreachable!("no buffer is named {buffer}"),
        }
    }

    /// The axis without elements that statistics are asked of. A batch of no rows is fine.
    fn empty_axis(&self, shape: Rows) -> Option<&'static str> {
        let measures = ["mean", "rstd", "moments"].iter().any(|out| self.writes.contains(out));
        match (shape.rows(), shape.cols()) {
            (0, 1..) if self.name.starts_with("ColumnMoments") => Some("rows"),
            (1.., 0) if measures && !self.is_of_columns() => Some("cols"),
            _ => None,
        }
    }

    /// Calls, and finds that it refuses as expected and leaves every buffer as it was.
    fn refuses(&self, arguments: &mut Arguments, expected: &Error) {
        let before = arguments.bits();
        let error = (self.call)(arguments).expect_err(self.name);
        // As text, since an error that holds a NaN equals no other.
        assert_eq!(format!("{error:?}"), format!("{expected:?}"), "{}", self.name);
        assert!(arguments.bits() == before, "{}: {error}, and yet something is written", self.name);
    }

    /// Calls, and finds that it succeeds and leaves every buffer as it was.
    fn does_nothing(&self, arguments: &mut Arguments) {
        let before = arguments.bits();
        assert_eq!((self.call)(arguments), Ok(()), "{} {:?}", self.name, arguments.rows);
        assert!(arguments.bits() == before, "{} {:?}", self.name, arguments.rows);
    }
}

const fn running<'a>(mean: &'a mut [f32], var: &'a mut [f32]) -> Option<RunningStatistics<'a>> {
    Some(RunningStatistics { mean, var })
}

fn uninit(y: &mut [f32]) -> &mut [MaybeUninit<f32>] {
    let y: *mut [f32] = y;
    // SAFETY: the layout is the same, and the operations write nothing but numbers to it.
    unsafe { &mut *(y as *mut [MaybeUninit<f32>]) }
}

/// Elements on both sides of every buffer that no call may touch.
const MARGIN: usize = 20;

/// An element of a buffer.
trait Element: Copy {
    /// What is in memory that has yet to be written: NaN, with a payload that no arithmetic makes.
    const PAINT: Self;
    /// What is in memory that is read.
    const NUMBERS: [Self; 5];
    fn bits(self) -> [u64; 4];
}

impl Element for f32 {
    const PAINT: Self = f32::from_bits(0x7fc5_a5a5);
    const NUMBERS: [Self; 5] = [0.5, 7.5, 3.25, 10.5, 6.0];
    fn bits(self) -> [u64; 4] {
        [self.to_bits().into(), 0, 0, 0]
    }
}

impl Element for f64 {
    const PAINT: Self = f64::from_bits(0x7ff8_5a5a_a5a5_5a5a);
    const NUMBERS: [Self; 5] = [0.5, 7.5, 3.25, 10.5, 6.0];
    fn bits(self) -> [u64; 4] {
        [self.to_bits(), 0, 0, 0]
    }
}

impl Element for Moments {
    const PAINT: Self =
        Moments { count: 0x5a5a, mean: f64::PAINT, mean_low: f64::PAINT, m2: f64::PAINT };
    const NUMBERS: [Self; 5] = [Self::PAINT; 5];
    fn bits(self) -> [u64; 4] {
        [self.count, self.mean.to_bits(), self.mean_low.to_bits(), self.m2.to_bits()]
    }
}

/// A buffer, within memory that is none.
struct Buffer<T>(Vec<T>);

impl<T: Element> Buffer<T> {
    fn new(len: usize, element: impl Fn(usize) -> T) -> Self {
        let mut memory = vec![T::PAINT; len + 2 * MARGIN];
        for i in 0..len {
            memory[MARGIN + i] = element(i);
        }
        Self(memory)
    }
    fn get(&self) -> &[T] {
        &self.0[MARGIN..self.0.len() - MARGIN]
    }
    fn get_mut(&mut self) -> &mut [T] {
        let end = self.0.len() - MARGIN;
        &mut self.0[MARGIN..end]
    }
}

/// gamma or beta.
struct Optional {
    buffer: Buffer<f32>,
    absent: bool,
}

impl Optional {
    fn get(&self) -> Option<&[f32]> {
        (!self.absent).then(|| self.buffer.get())
    }
}

/// A buffer of elements of any type.
trait AnyBuffer {
    fn resize(&mut self, len: usize);
    /// The bits of all of its memory.
    fn bits(&self) -> Vec<[u64; 4]>;
}

impl<T: Element> AnyBuffer for Buffer<T> {
    fn resize(&mut self, len: usize) {
        let old = self.get().to_vec();
        *self = Self::new(len, |i| old.get(i).copied().unwrap_or(T::NUMBERS[i % 5]));
    }
    fn bits(&self) -> Vec<[u64; 4]> {
        self.0.iter().map(|element| element.bits()).collect()
    }
}

/// The arguments of any method: those of one call, and some that it does not take.
struct Arguments {
    rows: Rows,
    eps: f64,
    batch_norm: BatchNorm,
    x: Buffer<f32>,
    gamma: Optional,
    beta: Optional,
    y: Buffer<f32>,
    mean: Buffer<f64>,
    rstd: Buffer<f64>,
    moments: Buffer<Moments>,
    running_mean: Buffer<f32>,
    running_var: Buffer<f32>,
    scratch: Buffer<f64>,
}

impl Arguments {
    /// What is right for a method: paint in what it only writes, numbers in the rest.
    fn right(method: &Method, (rows, cols): (usize, usize)) -> Self {
        fn new<T: Element>(method: &Method, name: &str, rows: Rows) -> Buffer<T> {
            let fresh = ["y", "mean", "rstd", "moments"].contains(&name);
            let painted = fresh && !method.reads.contains(&name);
            let elements = if painted { [T::PAINT; 5] } else { T::NUMBERS };
            Buffer::new(method.length(name, rows), |i| elements[i % 5])
        }
        let rows = Rows::new(rows, cols).expect("a small shape");
        Self {
            rows,
            eps: 1e-5,
            batch_norm: BatchNorm::new(),
            x: new(method, "x", rows),
            gamma: Optional { buffer: new(method, "gamma", rows), absent: false },
            beta: Optional { buffer: new(method, "beta", rows), absent: false },
            y: new(method, "y", rows),
            mean: new(method, "mean", rows),
            rstd: new(method, "rstd", rows),
            moments: new(method, "moments", rows),
            running_mean: new(method, "running_mean", rows),
            running_var: new(method, "running_var", rows),
            scratch: new(method, "scratch", rows),
        }
    }

    fn buffers(&mut self) -> [(&'static str, &mut dyn AnyBuffer); 10] {
        [
            ("x", &mut self.x),
            ("gamma", &mut self.gamma.buffer),
            ("beta", &mut self.beta.buffer),
            ("y", &mut self.y),
            ("mean", &mut self.mean),
            ("rstd", &mut self.rstd),
            ("moments", &mut self.moments),
            ("running_mean", &mut self.running_mean),
            ("running_var", &mut self.running_var),
            ("scratch", &mut self.scratch),
        ]
    }

    fn resize(&mut self, name: &str, len: usize) {
        let named = self.buffers().into_iter().find(|(other, _)| *other == name);
        named.expect("a buffer's name").1.resize(len);
    }

    /// Every buffer's name, and the bits of it and its margins.
    fn bits(&mut self) -> [(&'static str, Vec<[u64; 4]>); 10] {
        self.buffers().map(|(name, buffer)| (name, buffer.bits()))
    }
}

const SHAPES: [(usize, usize); 7] = [(1, 1), (2, 3), (3, 16), (5, 17), (4, 67), (9, 33), (70, 5)];

/// Otherwise a refusal would prove nothing.
#[test]
fn right_arguments_are_accepted_and_every_output_is_written() {
    let paint = [f32::PAINT.bits(), f64::PAINT.bits(), Moments::PAINT.bits()];
    for method in METHODS {
        for shape in SHAPES {
            let mut arguments = Arguments::right(method, shape);
            let before = arguments.bits();
            assert_eq!((method.call)(&mut arguments), Ok(()), "{}", method.name);
            for ((name, before), (_, after)) in before.into_iter().zip(arguments.bits()) {
                let what = format!("{}: {name}, {shape:?}", method.name);
                if method.writes.contains(&name) {
                    let end = after.len() - MARGIN;
                    let around = |memory: &[_]| [&memory[..MARGIN], &memory[end..]].concat();
                    assert_eq!(around(&after), around(&before), "{what}, the memory around it");
                    let painted = after[MARGIN..end].iter().any(|bits| paint.contains(bits));
                    assert!(!painted, "{what} is written to the last element");
                } else {
                    assert_eq!(after, before, "{what} is only read");
                }
            }
        }
    }
}

#[test]
fn a_length_that_is_not_the_shapes() {
    for method in METHODS {
        for shape in SHAPES {
            for arg in method.buffers() {
                let expected = method.length(arg, Arguments::right(method, shape).rows);
                for got in [expected - 1, expected + 1, 0, 2 * expected] {
                    // gamma and beta are independent of each other.
                    for absent in ["neither", "gamma", "beta"] {
                        let mut arguments = Arguments::right(method, shape);
                        arguments.gamma.absent = absent == "gamma" && arg != "gamma";
                        arguments.beta.absent = absent == "beta" && arg != "beta";
                        arguments.resize(arg, got);
                        if arg == "scratch" && got > expected {
                            assert_eq!((method.call)(&mut arguments), Ok(()), "{}", method.name);
                        } else {
                            method.refuses(&mut arguments, &Error::Length { arg, expected, got });
                        }
                    }
                }
            }
        }
    }
}

/// Lengths are checked before it is asked whether there is anything to do.
#[test]
fn a_length_that_is_not_that_of_an_empty_shape() {
    for method in METHODS {
        for shape in [(0, 0), (0, 5), (5, 0)] {
            for arg in method.buffers().filter(|&arg| arg != "scratch") {
                let mut arguments = Arguments::right(method, shape);
                let expected = method.length(arg, arguments.rows);
                let got = expected + 1;
                arguments.resize(arg, got);
                if method.empty_axis(arguments.rows).is_some() {
                    // Two things are wrong. Either may be said.
                    let before = arguments.bits();
                    assert!((method.call)(&mut arguments).is_err(), "{}", method.name);
                    assert!(arguments.bits() == before, "{}", method.name);
                } else {
                    method.refuses(&mut arguments, &Error::Length { arg, expected, got });
                }
            }
        }
    }
}

#[test]
fn an_eps_that_is_negative_or_not_finite() {
    let expected = "a finite number of at least 0";
    for method in METHODS.iter().filter(|method| method.takes_eps()) {
        for got in [-1e-9, -1e300, f64::NAN, -f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            for shape in SHAPES.into_iter().chain([(0, 0), (0, 5)]) {
                let mut arguments = Arguments::right(method, shape);
                arguments.eps = got;
                method.refuses(&mut arguments, &Error::Parameter { arg: "eps", expected, got });
            }
        }
        for right in [0.0, -0.0, f64::from_bits(1), 1e-5, 1.0, f64::MAX] {
            let mut arguments = Arguments::right(method, (2, 3));
            arguments.eps = right;
            assert_eq!((method.call)(&mut arguments), Ok(()), "{}: {right:e}", method.name);
        }
    }
}

#[test]
fn a_momentum_that_is_not_from_0_to_1() {
    let (expected, new) = ("a number from 0 to 1", BatchNorm::new());
    let both = |momentum| [new.with_momentum(momentum), new.with_pytorch_momentum(momentum)];
    let cumulative = [0, 1, u64::MAX].map(|batches| new.with_cumulative_average(batches));
    for method in METHODS.iter().filter(|method| method.trains()) {
        for got in [-1e-9, 1.0 + f64::EPSILON, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            for batch_norm in both(got) {
                let mut arguments = Arguments::right(method, (2, 3));
                arguments.batch_norm = batch_norm;
                let expected = Error::Parameter { arg: "momentum", expected, got };
                method.refuses(&mut arguments, &expected);
            }
        }
        for batch_norm in [0.0, -0.0, 0.5, 1.0].into_iter().flat_map(both).chain(cumulative) {
            let mut arguments = Arguments::right(method, (2, 3));
            arguments.batch_norm = batch_norm;
            assert_eq!((method.call)(&mut arguments), Ok(()), "{} {batch_norm:?}", method.name);
        }
    }
}

#[test]
fn a_running_variance_that_is_negative() {
    let (arg, expected) = ("running_var", "numbers of at least 0");
    for method in METHODS.iter().filter(|method| method.buffers().any(|name| name == arg)) {
        for shape in [(2, 1), (2, 3), (70, 33), (0, 5)] {
            for at in 0..shape.1 {
                for var in [-1.5, -f32::from_bits(1), f32::NEG_INFINITY] {
                    let mut arguments = Arguments::right(method, shape);
                    arguments.running_var.get_mut()[at] = var;
                    let got = f64::from(var);
                    method.refuses(&mut arguments, &Error::Parameter { arg, expected, got });
                }
            }
        }
        let mut arguments = Arguments::right(method, (2, 3));
        arguments.running_var.get_mut().copy_from_slice(&[0.0, -0.0, f32::MAX]);
        assert_eq!((method.call)(&mut arguments), Ok(()), "{}", method.name);
    }
}

/// One row has no unbiased variance. It matters where a running variance is to follow it.
#[test]
fn a_batch_of_one_row_whose_variance_is_to_be_unbiased() {
    let expected = Error::TooFewRows { arg: "unbiased variance", expected: 2, got: 1 };
    for method in METHODS.iter().filter(|method| method.trains()) {
        for (rows, unbiased) in [(1, true), (1, false), (2, true), (0, true)] {
            let mut arguments = Arguments::right(method, (rows, 3));
            arguments.batch_norm = BatchNorm::new().with_unbiased_running_var(unbiased);
            if (rows, unbiased) == (1, true) && method.writes.contains(&"running_var") {
                method.refuses(&mut arguments, &expected);
            } else {
                assert_eq!((method.call)(&mut arguments), Ok(()), "{}", method.name);
            }
        }
    }
}

#[test]
fn empty_shapes_are_no_work_and_have_no_statistic() {
    for method in METHODS {
        for shape in [(0, 0), (0, 1), (0, 5), (0, 67), (1, 0), (2, 0), (9, 0)] {
            let mut arguments = Arguments::right(method, shape);
            match method.empty_axis(arguments.rows) {
                Some(arg) => method.refuses(&mut arguments, &Error::EmptyAxis { arg }),
                None => method.does_nothing(&mut arguments),
            }
        }
    }
}

/// Where rows are empty there may be any number of them, and without rows they may have any length.
#[test]
fn the_largest_empty_shapes() {
    const MOST: usize = usize::MAX;
    for method in METHODS {
        for (rows, cols) in [(0, MOST), (MOST, 0)] {
            let mut arguments = Arguments::right(method, (0, 0));
            (arguments.gamma.absent, arguments.beta.absent) = (true, true);
            arguments.rows = Rows::new(rows, cols).expect("no elements");
            let statistics = method.buffers().filter(|name| !["gamma", "beta"].contains(name));
            match { statistics }.find(|arg| method.length(arg, arguments.rows) == MOST) {
                Some(arg) => {
                    let expected = Error::Length { arg, expected: MOST, got: 0 };
                    method.refuses(&mut arguments, &expected);
                }
                None => method.does_nothing(&mut arguments),
            }
        }
    }
}

#[test]
fn a_shape_that_no_slice_can_have() {
    const MOST: usize = isize::MAX as usize / size_of::<f64>();
    const HALF: usize = 1 << (usize::BITS / 2);
    let largest = [(MOST, 1), (1, MOST), (MOST / 2, 2), (usize::MAX, 0), (0, usize::MAX), (0, 0)];
    for (rows, cols) in largest {
        let shape = Rows::new(rows, cols).expect("a shape that fits");
        assert_eq!((shape.rows(), shape.cols()), (rows, cols));
        assert_eq!(shape.elements(), rows * cols);
    }
    // HALF * HALF comes back to 0 elements and usize::MAX * usize::MAX to 1.
    let too_large = [[MOST + 1, 1], [1, MOST + 1], [MOST / 2 + 1, 2], [usize::MAX, 1]];
    for got in too_large.into_iter().chain([[usize::MAX, 2], [HALF, HALF], [usize::MAX; 2]]) {
        let [rows, cols] = got;
        assert_eq!(Rows::new(rows, cols), Err(Error::ShapeOverflow { arg: "rows", got }));
    }
}

#[test]
fn a_name_that_no_backend_has_or_whose_backend_this_cpu_lacks() {
    for name in ["sse9", "", "AVX2", " avx2", "avx2 ", "avx512f", "auto"] {
        let expected = Error::UnknownBackend { got: name.to_owned() };
        assert_eq!(Backend::by_name(name), Err(expected));
    }
    for name in Backend::NAMES {
        let available = Backend::available().find(|backend| backend.name() == name);
        let expected = available.ok_or(Error::UnavailableBackend { got: name });
        assert_eq!(Backend::by_name(name), expected);
    }
    assert_eq!(Backend::by_name("portable"), Ok(Backend::portable()));
    assert_eq!(Backend::by_name("avx2").ok(), Backend::avx2());
    assert_eq!(Backend::by_name("avx512").ok(), Backend::avx512());
}

/// Every variant names the argument, what was expected and what came.
#[test]
fn what_an_error_says() {
    macro_rules! table {
        ($($error:expr => $text:literal;)+) => { [$(($error, $text)),+] };
    }
    let (arg, expected) = ("eps", "a finite number of at least 0");
    let says = table! {
        Error::Length { arg: "gamma", expected: 768, got: 767 }
            => "`gamma`: expected 768 elements, got 767";
        Error::ShapeOverflow { arg: "rows", got: [12, 1_000_000_000] }
            => "`rows`: expected at most isize::MAX bytes, got 12 x 1000000000 elements";
        Error::Parameter { arg, expected, got: -0.5 }
            => "`eps`: expected a finite number of at least 0, got -0.5";
        Error::Parameter { arg, expected, got: f64::NAN }
            => "`eps`: expected a finite number of at least 0, got NaN";
        Error::EmptyAxis { arg: "cols" }
            => "`cols`: expected at least 1 where a statistic is asked for, got 0";
        Error::TooFewRows { arg: "unbiased variance", expected: 2, got: 1 }
            => "`rows`: expected at least 2 rows for the unbiased variance, got 1";
        Error::StreamOverflow { offset: 1 << 63, len: 70 }
            => "`offset`: expected at most 2^64 - 70 for 70 elements, got 9223372036854775808";
        Error::UnknownBackend { got: "sse9".to_owned() }
            => "`name`: expected one of [\"portable\", \"avx2\", \"avx512\"], got \"sse9\"";
        Error::UnavailableBackend { got: "avx512" }
            => "`name`: expected a backend that this CPU has, got \"avx512\"";
    };
    for (error, text) in says {
        assert_eq!(error.to_string(), text);
        let boxed: Box<dyn std::error::Error + Send + Sync> = Box::new(error);
        assert_eq!(boxed.to_string(), text);
    }
}
