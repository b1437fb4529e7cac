//! What the benchmarks have in common: shapes, buffers, and how an operation meets its contenders.
//!
//! ```text
//! cargo bench                                        # everything: less than 4 minutes
//! cargo bench -- 128x768                             # one shape of every operation
//! cargo bench --bench layer_norm -- avx512           # one backend of one operation
//! cargo bench -- --test                              # everything once, untimed
//! ```
//!
//! The ids are `operation/f32/contender/ROWSxCOLS`. The contenders are every backend that this CPU has, the
//! loops that a user would write instead, and `memcpy`, which reads and writes as many bytes. Everything runs on
//! one thread. What is about to be timed runs once before that, and its output is compared with the reference.
#![forbid(unsafe_code)]
#![expect(unreachable_pub, reason = "the modules of a benchmark have no outside")]

use std::hint::black_box;
use std::ops::{Deref, DerefMut, Range};
use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, SamplingMode, Throughput};
use evenkeel::{Backend, Rows};

/// x and y are 16 KiB, 768 KiB and 16 MiB, for L1, L2 and L3, and 256 MiB, for memory: only LayerNorm, row
/// moments and the training of BatchNorm get to that.
const SHAPES: [(usize, usize); 4] = [(8, 256), (128, 768), (2048, 1024), (8192, 4096)];

/// Shapes of so many elements are measured only where [`Operation::IN_MEMORY`] says so, and longer.
const LARGE: usize = 1 << 24;

/// How far the output of a backend may be from the reference, and that of a loop, which sums in f32.
const BACKEND_TOLERANCE: f64 = 1e-5;
const LOOP_TOLERANCE: f64 = 1e-3;

/// One operation and the buffers that it needs beside x and y.
pub trait Operation: Sized + 'static {
    /// As the ids have it.
    const NAME: &'static str;
    /// What a user would write without this crate.
    const LOOPS: Loops<Self>;
    /// Whether the shape that only memory holds is measured too.
    const IN_MEMORY: bool = false;

    /// Allocates and fills the buffers.
    fn new(io: &Io) -> Self;

    /// Bytes of x that are read and bytes of y that are written, each counted once.
    fn bytes(rows: Rows) -> usize {
        2 * size_of::<f32>() * rows.elements()
    }

    /// What is measured.
    fn run(&mut self, backend: Backend, io: &mut Io);

    /// Overwrites the outputs, except y, so that no contender passes with those of another.
    fn spoil(&mut self) {}

    /// Panics unless the outputs are those of the reference.
    fn check(&self, io: &Io, tolerance: f64);

    /// Panics unless a loop's outputs are right.
    fn check_loop(&self, io: &Io) {
        self.check(io, LOOP_TOLERANCE);
    }
}

/// Loops, and their names in the ids.
pub type Loops<O> = &'static [(&'static str, fn(&mut O, &mut Io))];

/// x and y of a shape.
pub struct Io {
    pub rows: Rows,
    pub x: Aligned,
    pub y: Aligned,
}

impl Io {
    fn new(rows: Rows) -> Self {
        let x = Aligned::new(rows.elements(), spread);
        Self { rows, x, y: Aligned::new(rows.elements(), |_| f32::NAN) }
    }
}

/// Weyl's sequence: spread over [-2, 2], and the same in every run.
pub fn spread(i: usize) -> f32 {
    (i as u32).wrapping_mul(0x9e37_79b9) as f32 / (1 << 30) as f32 - 2.0
}

/// Elements that start at a cache line, as engines allocate them, and have been written.
pub struct Aligned {
    elements: Vec<f32>,
    range: Range<usize>,
}

impl Aligned {
    pub fn new(len: usize, element: impl Fn(usize) -> f32) -> Self {
        const LINE: usize = 64;
        let mut elements: Vec<f32> = Vec::with_capacity(len + LINE / size_of::<f32>());
        let start = elements.as_ptr().align_offset(LINE);
        elements.resize(start, 0.0);
        elements.extend((0..len).map(element));
        Self { elements, range: start..start + len }
    }
}

impl Deref for Aligned {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        &self.elements[self.range.clone()]
    }
}

impl DerefMut for Aligned {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.elements[self.range.clone()]
    }
}

/// Panics if an element is further than `tolerance * max(1, |expected|)` from the expected one.
pub fn assert_close<T: Copy + Into<f64>>(got: &[T], expected: &[f64], tolerance: f64) {
    assert_eq!(got.len(), expected.len());
    for (i, (&got, &expected)) in got.iter().zip(expected).enumerate() {
        let got = got.into();
        let bound = tolerance * expected.abs().max(1.0);
        assert!((got - expected).abs() <= bound, "element {i} is {got} instead of {expected}");
    }
}

/// Measures an operation and its contenders in every shape.
pub fn measure<O: Operation>() {
    for (rows, cols) in SHAPES {
        let rows = Rows::new(rows, cols).expect("the shape can be held");
        let large = rows.elements() >= LARGE;
        if !large || O::IN_MEMORY {
            let (samples, time) = if large { (10, 3000) } else { (20, 500) };
            let mut criterion = Criterion::default()
                .without_plots()
                .sample_size(samples)
                .warm_up_time(Duration::from_millis(200))
                .measurement_time(Duration::from_millis(time))
                .configure_from_args();
            measure_shape::<O>(&mut criterion, rows);
        }
    }
}

fn measure_shape<O: Operation>(criterion: &mut Criterion, rows: Rows) {
    let bytes = O::bytes(rows);
    let mut group = criterion.benchmark_group(format!("{}/f32", O::NAME));
    // Linear samples would take twice as long where one run takes milliseconds.
    group.sampling_mode(SamplingMode::Flat).throughput(Throughput::Bytes(bytes as u64));
    let mut shape = Shape { group, rows, buffers: None::<(O, Io)> };

    // Half of the bytes are read, half are written, in several copies where they are more than x and y.
    let half = bytes / 2 / size_of::<f32>();
    let copies = half.div_ceil(rows.elements());
    let copied = half / copies;
    shape.contender(
        "memcpy",
        |_, io| {
            for _ in 0..copies {
                let Io { x, y, .. } = black_box(&mut *io);
                y[..copied].copy_from_slice(&x[..copied]);
            }
        },
        |_, io| assert_eq!(io.y[..copied], io.x[..copied]),
    );
    for &(name, run) in O::LOOPS {
        shape.contender(name, run, O::check_loop);
    }
    for backend in Backend::available() {
        let run = |operation: &mut O, io: &mut Io| operation.run(backend, io);
        shape.contender(backend.name(), run, |operation, io| {
            operation.check(io, BACKEND_TOLERANCE);
        });
    }
}

/// The contenders of one shape, which share buffers.
struct Shape<'c, O> {
    group: BenchmarkGroup<'c, WallTime>,
    rows: Rows,
    /// Allocated for the first contender that the command line does not filter out.
    buffers: Option<(O, Io)>,
}

impl<O: Operation> Shape<'_, O> {
    fn contender(&mut self, name: &str, run: impl Fn(&mut O, &mut Io), check: impl Fn(&O, &Io)) {
        let Self { group, rows, buffers } = self;
        let mut checked = false;
        let shape = format!("{}x{}", rows.rows(), rows.cols());
        group.bench_function(BenchmarkId::new(name, shape), |bencher| {
            let (operation, io) = buffers.get_or_insert_with(|| {
                let io = Io::new(*rows);
                (O::new(&io), io)
            });
            // Criterion calls this closure for every sample, and for the warm-up before them.
            if !checked {
                io.y.fill(f32::NAN);
                operation.spoil();
                run(operation, io);
                check(operation, io);
                checked = true;
            }
            bencher.iter(|| run(black_box(&mut *operation), black_box(&mut *io)));
        });
    }
}
