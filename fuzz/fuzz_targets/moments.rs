//! `RowMoments`, `ColumnMoments`, and `Moments` of streams.
#![forbid(unsafe_code)]
#![no_main]

use arbitrary::Arbitrary;
use evenkeel::{
    Backend, BatchNorm, ColumnMoments, Error, InOut, LayerNorm, MomentArgs, Moments, NormArgs,
    Parallelism, RmsNorm, RowMoments, Rows, TrainArgs, reference,
};
use evenkeel_fuzz::*;
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
enum Input {
    Rows(Lined),
    Columns(Lined),
    Stream(Stream),
    Merge(Vec<Part>),
    Shape(Length, Length, Length),
}

/// Of an axis of a matrix that need not fit into memory.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Length {
    Any(usize),
    Part(u8, usize),
    Zero,
    One,
}

impl Length {
    fn value(self) -> usize {
        match self {
            Self::Any(length) => length,
            Self::Part(shift, length) => length >> (shift % 64),
            Self::Zero => 0,
            Self::One => 1,
        }
    }
}

#[derive(Arbitrary, Debug)]
struct Lined {
    matrix: Matrix,
    thorough: Thorough,
    threads: Threads,
    shifts: [u8; 3],
    wrong: Wrong,
    more_scratch: u8,
    /// Elements between rows.
    between: [u8; 1],
}

/// Numbers that come in several ways.
#[derive(Arbitrary, Debug)]
struct Stream {
    matrix: Matrix,
    chunks: Vec<(Way, u16)>,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Way {
    Push,
    PushAndMerge,
    Extend,
    ExtendAndMerge,
}

/// Moments of anything.
#[derive(Arbitrary, Clone, Copy, Debug)]
struct Part {
    count: u32,
    mean: Number,
    m2: Number,
}

fuzz_target!(|input: Continued<Input>| {
    match input.0 {
        Input::Rows(lined) => lined.check(Lines::Rows),
        Input::Columns(lined) => lined.check(Lines::Columns),
        Input::Stream(stream) => stream.check(),
        Input::Merge(parts) => check_merge(&parts),
        Input::Shape(rows, cols, pitch) => {
            check_shape(rows.value(), cols.value(), pitch.value());
        }
    }
});

#[derive(Clone, Copy, Debug)]
struct Method {
    given_scratch: bool,
    at_pitch: bool,
}

/// On a backend that is not looked at thoroughly, the first one alone.
const METHODS: [Method; 3] = [
    Method { given_scratch: true, at_pitch: false },
    Method { given_scratch: false, at_pitch: false },
    Method { given_scratch: true, at_pitch: true },
];

struct Call {
    backend: Backend,
    threads: Parallelism,
    lines: Lines,
    rows: Rows,
}

impl Call {
    fn scratch_len(&self) -> usize {
        ColumnMoments::new()
            .with_backend(self.backend)
            .with_parallelism(self.threads)
            .scratch_len(self.rows)
    }

    /// Calls with scratch where columns need it and it is passed, and with a pitch if there is one.
    fn run(
        &self,
        x: &[f32],
        pitch: Option<usize>,
        moments: &mut [Moments],
        scratch: Option<&mut [f64]>,
    ) -> Result<(), Error> {
        let Self { backend, threads, lines, rows } = *self;
        let mut args = MomentArgs::new();
        if let Some(pitch) = pitch {
            args = args.x_pitch(pitch);
        }
        if lines == Lines::Rows {
            let operation = RowMoments::new().with_backend(backend).with_parallelism(threads);
            return operation.compute(x, rows, moments, args);
        }
        if let Some(scratch) = scratch {
            args = args.scratch(scratch);
        }
        let operation = ColumnMoments::new().with_backend(backend).with_parallelism(threads);
        operation.compute(x, rows, moments, args)
    }
}

fn written(moments: &[Moments]) -> Written {
    moments.iter().fold(Written::default(), |written, line| {
        assert_ne!(line.count, Moments::BEFORE.count, "not written");
        written.f64(&[line.count as f64, line.mean, line.mean_low, line.m2])
    })
}

impl Lined {
    fn check(&self, lines_are: Lines) {
        let (x, rows) = self.matrix.make(lines_are);
        let (count, cols) = (rows.rows(), rows.cols());
        let (lines, len) = if lines_are == Lines::Rows { (count, cols) } else { (cols, count) };
        let line = |i: usize| match lines_are {
            Lines::Rows => x[i * cols..(i + 1) * cols].to_vec(),
            Lines::Columns => reference::column(&x, cols, i),
        };
        let [pitch] = pitches(rows, self.between);

        let mut expected = Expected::new();
        for backend in Backend::available() {
            let call = Call { backend, threads: self.threads.into(), lines: lines_are, rows };
            let needed = call.scratch_len();
            let methods = if self.thorough.is(backend) { &METHODS[..] } else { &METHODS[..1] };
            for &Method { given_scratch, at_pitch } in methods {
                let pitch = at_pitch.then_some(pitch);
                let what =
                    format_args!("moments of {lines_are:?}, {backend}, {count}x{cols}, {pitch:?}");
                let layout = Layout { rows, pitch };
                let right = [layout.reach(), lines, needed];
                let lengths = lengths(right, self.wrong);
                let with_scratch = lines_are == Lines::Columns && given_scratch;
                let valid = layout.fits(lengths[0])
                    && lengths[1] == right[1]
                    && (!with_scratch || lengths[2] >= needed);
                let given_x = Buffer::of(&layout.spread(&x), lengths[0], self.shifts[0]);
                let mut moments = Buffer::new(lengths[1], self.shifts[1]);
                let more = if lengths[2] == needed { self.more_scratch.into() } else { 0 };
                let mut numbers = Buffer::<f64>::new(lengths[2] + more, self.shifts[2]);
                let scratch = given_scratch.then_some(&mut *numbers);
                let result = call.run(&given_x, pitch, &mut moments, scratch);
                assert_eq!(result.is_ok(), valid, "{what}: {result:?}");
                if result.is_err() {
                    assert!(moments.is_untouched() && numbers.is_untouched(), "{what}");
                    continue;
                }
                expected.check(backend, written(&moments), what, || {
                    for i in 0..lines {
                        let exact = Exact::of(&line(i));
                        check_moments(&moments[i], &exact, len, format_args!("{what}, line {i}"));
                    }
                });
                if self.thorough.is(backend) {
                    call.check_lines_alone(line, &moments);
                }
            }
        }
    }
}

impl Call {
    /// A row has the bits that it has alone, a column those that it has among copies of itself, whatever the others
    /// hold.
    fn check_lines_alone(&self, line: impl Fn(usize) -> Vec<f32>, moments: &[Moments]) {
        for i in (0..moments.len()).step_by(moments.len() / 16 + 1) {
            let x = line(i);
            let (rows, copies) = match self.lines {
                Lines::Rows => (Rows::new(1, x.len()).expect("a line"), 1),
                Lines::Columns => (self.rows, moments.len()),
            };
            let x: Vec<f32> = x.into_iter().flat_map(|x| std::iter::repeat_n(x, copies)).collect();
            let alone = Self { rows, ..*self };
            let mut own = vec![Moments::BEFORE; copies];
            alone.run(&x, None, &mut own, None).expect("lines of what was accepted");
            let what = format_args!("{}, line {i} of {:?}, alone", self.backend, self.rows);
            written(&own[..1]).assert_same(&written(&moments[i..=i]), what);
        }
    }
}

impl Stream {
    fn check(&self) {
        let (x, _) = self.matrix.make(Lines::Rows);
        let (mut all, mut rest) = (Moments::new(), &x[..]);
        let mut slices = false;
        for &(way, len) in self.chunks.iter().chain([&(Way::Push, u16::MAX)]) {
            let (chunk, others) = rest.split_at(rest.len().min(len.into()));
            rest = others;
            let mut own = Moments::new();
            match way {
                Way::Push => chunk.iter().for_each(|&x| all.push(x.into())),
                Way::PushAndMerge => chunk.iter().for_each(|&x| own.push(x.into())),
                Way::Extend => all.extend_from_slice(chunk),
                Way::ExtendAndMerge => own.extend_from_slice(chunk),
            }
            all.merge(&own);
            slices |= matches!(way, Way::Extend | Way::ExtendAndMerge) && !chunk.is_empty();
        }
        assert_eq!(all.count, x.len() as u64);
        if x.is_empty() {
            assert_eq!(all, Moments::new());
            return;
        }
        let (got, exact) = (all.m2 / x.len() as f64, Exact::of(&x));
        if !exact.finite {
            assert!(all.mean.is_nan() || all.m2.is_nan(), "{all:?}");
            return;
        }
        // Each step may leave the mean off by a rounding of the largest element, and m2 by twice that times
        // the deviations.
        let (n, std) = (x.len() as f64, exact.var.sqrt());
        let largest = x.iter().fold(0.0_f64, |largest, &x| largest.max(f64::from(x).abs()));
        let rounding = n * f64::EPSILON * largest;
        let of_slices = if slices { VARIANCE } else { 0.0 };
        let mean_bound = rounding + of_slices * std;
        let var_bound = 4.0 * rounding * (std + rounding) + (1e-12 + of_slices) * exact.var;
        let what = format_args!("stream of {n} numbers");
        assert_within(Bound::Mean, all.mean, exact.mean, mean_bound, what);
        assert_within(Bound::Variance, got, exact.var, var_bound, what);
    }
}

/// Merging anything with nothing changes nothing; merging anything with anything does not panic.
fn check_merge(parts: &[Part]) {
    let mut all = Moments::new();
    for part in parts {
        let Part { count, mean, m2 } = *part;
        let part =
            Moments { count: count.into(), mean: mean.f64(), m2: m2.f64(), ..Moments::new() };
        let before = all;
        all.merge(&part);
        assert_eq!(all.count, before.count + part.count);
        if part.count == 0 {
            written(&[all]).assert_same(&written(&[before]), format_args!("{part:?} is empty"));
        } else if before.count == 0 {
            written(&[all]).assert_same(&written(&[part]), format_args!("{before:?} is empty"));
        }
        all.push(mean.f64());
        assert_eq!(all.population_variance().is_some(), all.count > 0);
        assert_eq!(all.sample_variance().is_some(), all.count > 1);
    }
}

/// Any shape is one or an error, and so is a call with no elements of it, at any pitch.
fn check_shape(count: usize, cols: usize, pitch: usize) {
    let (elements, most) = (count as u128 * cols as u128, isize::MAX as u128 / 8);
    let rows = match Rows::new(count, cols) {
        Ok(rows) => rows,
        Err(error) => {
            assert!(elements > most, "{count}x{cols}: {error}");
            return;
        }
    };
    assert!(elements <= most, "{count}x{cols} is accepted");
    assert_eq!((rows.rows(), rows.cols(), rows.elements() as u128), (count, cols, elements));
    let (x, has_none, has_no_reach) = ([0.0_f32; 0], elements == 0, elements == 0 && pitch >= cols);
    // What lies between rows without elements is memory too.
    let has_no_reach = has_no_reach && (count < 2 || pitch == 0);
    let (layer_norm, rms_norm) = (LayerNorm::new(), RmsNorm::new());
    let result = layer_norm.forward(InOut::<f32>::new(&x, &mut []), rows, NormArgs::new());
    assert_eq!(result.is_ok(), has_none);
    let result = rms_norm.forward(InOut::<f32>::in_place(&mut []), rows, NormArgs::new());
    assert_eq!(result.is_ok(), has_none);
    let strided = InOut::<f32>::strided(&x, pitch, &mut [], pitch);
    assert_eq!(layer_norm.forward(strided, rows, NormArgs::new()).is_ok(), has_no_reach);

    let (row_moments, column_moments) = (RowMoments::new(), ColumnMoments::new());
    let result = row_moments.compute(&x, rows, &mut [], MomentArgs::new());
    assert_eq!(result.is_ok(), count == 0);
    let result = column_moments.compute(&x, rows, &mut [], MomentArgs::new());
    assert_eq!(result.is_ok(), cols == 0);
    let result = column_moments.compute(&x, rows, &mut [], MomentArgs::new().x_pitch(pitch));
    assert_eq!(result.is_ok(), cols == 0 && has_no_reach);

    let batch_norm = BatchNorm::new();
    let statistics = TrainArgs::new().stats::<f64>(&mut [], &mut []);
    let result = batch_norm.forward_training(InOut::<f32>::new(&x, &mut []), rows, statistics);
    assert_eq!(result.is_ok(), cols == 0);
    let result =
        batch_norm.forward_training(InOut::<f32>::new(&x, &mut []), rows, TrainArgs::new());
    assert_eq!(result.is_ok(), has_none);
    for backend in Backend::available() {
        // No length overflows.
        let batch_norm = batch_norm.with_backend(backend).scratch_len(rows);
        assert_eq!(batch_norm, ColumnMoments::new().with_backend(backend).scratch_len(rows));
    }
}
