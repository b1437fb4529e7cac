//! `StandardScaler`, `MinMaxScaler`: fitted at once, in batches and merged, there and back. `Normalizer`.
#![forbid(unsafe_code)]
#![no_main]

use std::fmt::Arguments;

use arbitrary::Arbitrary;
use evenkeel::preprocess::{MinMaxScaler, Norm, Normalizer, StandardScaler};
use evenkeel::{Backend, Error, InOut, Moments, Rows, reference};
use evenkeel_fuzz::*;
use libfuzzer_sys::fuzz_target;

/// How far the statistics of a fit, in any batches, may be from the definition, relative to variance and deviation.
const STATISTICS: f64 = 1e-12;
/// What rounding to f64 may do to a mean, as a part of it.
const ROUNDING: f64 = 3e-16;

#[derive(Arbitrary, Debug)]
struct Input {
    matrix: Matrix,
    /// What is transformed, if it is not what was fitted.
    others: Option<Source>,
    /// Rows of each batch; what is left is the last one.
    batches: Vec<u8>,
    order: u64,
    with: [bool; 2],
    /// The lower end of the feature range, and its width.
    range: (Parameter, Parameter),
    clip: bool,
    norm: NormIs,
    thorough: Thorough,
    threads: Threads,
    stores: StoresAre,
    shifts: [u8; 2],
    wrong: Wrong,
    /// Elements between rows of what is transformed and of what becomes of it.
    between: [u8; 2],
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum NormIs {
    L1,
    L2,
    Max,
}

impl From<NormIs> for Norm {
    fn from(norm: NormIs) -> Self {
        match norm {
            NormIs::L1 => Self::L1,
            NormIs::L2 => Self::L2,
            NormIs::Max => Self::Max,
        }
    }
}

fuzz_target!(|input: Continued<Input>| input.0.check());

/// Both scalers, as they learn together.
#[derive(Clone)]
struct Scalers {
    standard: StandardScaler,
    min_max: MinMaxScaler,
}

/// What a call reads.
struct Call<'a> {
    x: &'a [f32],
    rows: Rows,
    pitches: [usize; 2],
}

/// What each backend is compared with, of the kind that it is.
struct Known {
    fitted: Expected,
    batches: Expected,
    transforms: [Expected; 4],
    normalizer: Expected,
}

const TRANSFORMS: [Transform; 4] = [
    Transform::Standard { inverse: false },
    Transform::Standard { inverse: true },
    Transform::MinMax { inverse: false },
    Transform::MinMax { inverse: true },
];

#[derive(Clone, Copy, Debug)]
enum Transform {
    Standard { inverse: bool },
    MinMax { inverse: bool },
}

impl Scalers {
    fn fit(&mut self, x: &[f32], rows: Rows) -> [Result<(), Error>; 2] {
        [self.standard.fit(x, rows), self.min_max.fit(x, rows)]
    }

    fn partial_fit(&mut self, x: &[f32], rows: Rows) {
        self.standard.partial_fit(x, rows).expect("right lengths");
        self.min_max.partial_fit(x, rows).expect("right lengths");
    }

    fn written(&self) -> Written {
        let written = Written::default().f32(self.min_max.data_min()).f32(self.min_max.data_max());
        self.standard.moments().iter().fold(written, |written, moments| {
            written.f64(&[moments.count as f64, moments.mean, moments.mean_low, moments.m2])
        })
    }

    /// Asserts that the statistics are those of the columns of x.
    fn check(&self, x: &[f32], cols: usize, what: Arguments<'_>) {
        for c in 0..cols {
            let what = format_args!("{what}, column {c}");
            let column = reference::column(x, cols, c);
            let range = (self.min_max.data_min()[c], self.min_max.data_max()[c]);
            assert_eq!(range, reference::min_max(&column), "{what}");

            let numbers: Vec<f32> = column.iter().copied().filter(|x| !x.is_nan()).collect();
            let moments = self.standard.moments()[c];
            assert_eq!(moments.count, numbers.len() as u64, "{what}: count");
            let (mean, scale) = (self.standard.mean()[c], self.standard.scale()[c]);
            if numbers.is_empty() {
                assert!(moments == Moments::new() && mean.is_nan() && scale.is_nan(), "{what}");
                continue;
            }
            let exact = Exact::of(&numbers);
            if !exact.finite {
                assert!([mean, scale, moments.m2].into_iter().all(f64::is_nan), "{what}");
                continue;
            }
            assert_eq!(bits64(mean), bits64(moments.mean), "{what}: mean");
            let bound = STATISTICS * exact.var.sqrt() + ROUNDING * exact.mean.abs();
            assert_within(Bound::Mean, mean, exact.mean, bound, what);
            let m2 = exact.var * numbers.len() as f64;
            assert_within(Bound::Variance, moments.m2, m2, STATISTICS * m2, what);
            // About the bound of a constant feature, both are right.
            let constant = (numbers.len() as f64 * f64::EPSILON * exact.mean).powi(2);
            if constant == 0.0 || !(0.9 * constant..1.1 * constant).contains(&exact.var) {
                let expected = reference::mean_scale(&numbers).1;
                assert_within(Bound::Rstd, scale, expected, STATISTICS * expected, what);
            }
        }
    }

    /// Calls the one of four methods.
    fn call<'a>(
        &self,
        transform: Transform,
        io: InOut<'_, 'a>,
        rows: Rows,
    ) -> Result<&'a mut [f32], Error> {
        match transform {
            Transform::Standard { inverse: false } => self.standard.transform(io, rows),
            Transform::Standard { inverse: true } => self.standard.inverse_transform(io, rows),
            Transform::MinMax { inverse: false } => self.min_max.transform(io, rows),
            Transform::MinMax { inverse: true } => self.min_max.inverse_transform(io, rows),
        }
    }
}

impl Input {
    fn check(&self) {
        let (x, rows) = self.matrix.make(Lines::Columns);
        let others = self.others.as_ref().map(|others| others.values(x.len(), self.order));
        let others = others.as_ref().unwrap_or(&x);
        let [x_len, _, features] = lengths([x.len(), x.len(), rows.cols()], self.wrong);
        let call = Call { x: others, rows, pitches: pitches(rows, self.between) };
        let mut known = Known {
            fitted: Expected::new(),
            batches: Expected::new(),
            transforms: std::array::from_fn(|_| Expected::new()),
            normalizer: Expected::new(),
        };
        for backend in Backend::available() {
            let what = format_args!("{backend}, {rows:?}, {:?}, clip {}", self.range(), self.clip);
            let mut scalers = self.scalers(backend, features);
            let new = scalers.written();
            let given = Buffer::of(&x, x_len, self.shifts[0]);
            let right = x_len == x.len() && features == rows.cols();
            for result in scalers.fit(&given, rows) {
                assert_eq!(result.is_ok(), right, "{what}: {result:?}");
            }
            if !right || rows.rows() == 0 {
                new.assert_same(&scalers.written(), what);
            }
            if features != rows.cols() {
                for transform in TRANSFORMS {
                    let mut y = Buffer::new(x.len(), self.shifts[1]);
                    let result = scalers.call(transform, InOut::new(&x, &mut y), rows).map(drop);
                    assert!(result.is_err() && y.is_untouched(), "{what}, {transform:?}");
                }
                continue;
            }
            if !right {
                scalers.partial_fit(&x, rows);
            }
            known.fitted.check(backend, scalers.written(), what, || {
                scalers.check(&x, rows.cols(), what);
            });
            let what = format_args!("in batches, {what}");
            let merged = self.in_batches(backend, &x, rows);
            known.batches.check(backend, merged.written(), what, || {
                merged.check(&x, rows.cols(), what);
            });
            for (transform, expected) in TRANSFORMS.into_iter().zip(&mut known.transforms) {
                self.check_transform(backend, &scalers, transform, &call, expected);
            }
            self.check_normalizer(backend, &call, &mut known.normalizer);

            let nothing = Rows::new(0, features).expect("no elements");
            for result in scalers.fit(&[], nothing) {
                assert_eq!(result, Ok(()), "{what}: a fit of nothing");
            }
            let fitted = scalers.standard.is_fitted() || scalers.min_max.is_fitted();
            assert!(!fitted, "{what}: fitted by nothing");
            new.assert_same(&scalers.written(), what);
        }
    }

    /// The feature range.
    fn range(&self) -> [f64; 2] {
        let least = self.range.0.value(0.0);
        [least, least + self.range.1.value(1.0)]
    }

    fn scalers(&self, backend: Backend, features: usize) -> Scalers {
        let [least, greatest] = self.range();
        Scalers {
            standard: StandardScaler::new(features)
                .expect("memory")
                .with_mean(self.with[0])
                .with_std(self.with[1])
                .with_backend(backend)
                .with_parallelism(self.threads.into())
                .with_stores(self.stores.into()),
            min_max: MinMaxScaler::new(features)
                .expect("memory")
                .with_feature_range(least, greatest)
                .with_clip(self.clip)
                .with_backend(backend)
                .with_parallelism(self.threads.into())
                .with_stores(self.stores.into()),
        }
    }

    /// Scalers that have seen x in batches in any order, each by one of two that are merged.
    fn in_batches(&self, backend: Backend, x: &[f32], rows: Rows) -> Scalers {
        let cols = rows.cols();
        let (mut random, mut batches, mut first) = (Random(self.order), Vec::new(), 0);
        for count in self.batches.iter().map(|&count| count.into()).chain([rows.rows()]) {
            let end = rows.rows().min(first + count);
            let place = random.bits() as usize % (batches.len() + 1);
            batches.insert(place, first..end);
            first = end;
        }
        let mut parts = [self.scalers(backend, cols), self.scalers(backend, cols)];
        for batch in batches {
            let part = &mut parts[random.bits() as usize % 2];
            let shape = Rows::new(batch.len(), cols).expect("fewer rows");
            part.partial_fit(&x[batch.start * cols..batch.end * cols], shape);
        }
        let [mut merged, other] = parts;
        merged.standard.merge(&other.standard).expect("as many features");
        merged.min_max.merge(&other.min_max).expect("as many features");
        merged
    }

    /// What an operation makes of x, if it is accepted and the lengths are right.
    fn output(
        &self,
        io: Io,
        call: &Call<'_>,
        accepted: bool,
        operation: impl for<'a> FnOnce(InOut<'_, 'a>) -> Result<&'a mut [f32], Error>,
        what: Arguments<'_>,
    ) -> Option<Vec<f32>> {
        let &Call { x, rows, pitches } = call;
        let [of_x, of_y] = io.layouts(rows, pitches);
        let right = [of_x.reach(), of_y.reach(), rows.cols()];
        let [x_len, y_len, _] = lengths(right, self.wrong);
        let mut given = Buffer::of(&of_x.spread(x), x_len, self.shifts[0]);
        let mut y = Buffer::new(y_len, self.shifts[1]);
        let (x_before, y_before) = (given.to_vec(), y.to_vec());
        let result = io.call(&mut given, &mut y, pitches, operation);
        let right = of_x.fits(x_len) && (io.in_place() || of_y.fits(y_len));
        assert_eq!(result.is_ok(), accepted && right, "{what}: {result:?}");
        io.written(result.is_ok(), [of_x, of_y], [&x_before, &given], [&y_before, &y], what)
    }

    fn check_transform(
        &self,
        backend: Backend,
        scalers: &Scalers,
        transform: Transform,
        call: &Call<'_>,
        expected: &mut Expected,
    ) {
        let &Call { x, rows, pitches } = call;
        let [least, greatest] = self.range();
        let ends_are_finite = (least as f32).is_finite() && (greatest as f32).is_finite();
        let fitted = scalers.standard.is_fitted() || rows.elements() == 0;
        let accepted = match transform {
            Transform::Standard { .. } => fitted,
            Transform::MinMax { .. } => fitted && ends_are_finite && least < greatest,
        };
        for &io in if self.thorough.is(backend) { &Io::ALL[..] } else { &Io::ALL[..1] } {
            let what = format_args!("{transform:?}, {io:?}, {backend}, {rows:?}, {pitches:?}");
            let y = self.output(io, call, accepted, |io| scalers.call(transform, io, rows), what);
            let Some(y) = y else { continue };
            expected.check(backend, Written::default().f32(&y), what, || {
                for (i, (&x, &y)) in x.iter().zip(y.iter()).enumerate() {
                    let what = format_args!("{what}, element {i}, x {x:e}");
                    self.check_element(scalers, transform, i % rows.cols(), x, y, what);
                }
            });
        }
    }

    /// Asserts that y is what column c makes of x.
    fn check_element(
        &self,
        scalers: &Scalers,
        transform: Transform,
        c: usize,
        x: f32,
        y: f32,
        what: Arguments<'_>,
    ) {
        let Scalers { standard, min_max } = scalers;
        let wide = f64::from(x);
        // The value, what the error is measured in, and all that has to be in the range of f32.
        let (value, scale, parts) = match transform {
            Transform::Standard { inverse } => {
                let mean = if self.with[0] { standard.mean()[c] } else { 0.0 };
                let scale = if self.with[1] { standard.scale()[c] } else { 1.0 };
                if inverse {
                    let value = wide * scale + mean;
                    (value, scale * wide.abs().max(1.0) + mean.abs(), [wide * scale, mean])
                } else {
                    let value = reference::standardized(x, mean, scale);
                    (value, value.abs().max(1.0), [value, 0.0])
                }
            }
            Transform::MinMax { inverse } => {
                let (of, [least, greatest]) =
                    ((min_max.data_min()[c], min_max.data_max()[c]), self.range());
                if inverse {
                    let (min, width) = (f64::from(of.0), f64::from(of.1) - f64::from(of.0));
                    let width = if width == 0.0 { 1.0 } else { width } / (greatest - least);
                    let width = if of.0.is_finite() && of.1.is_finite() { width } else { f64::NAN };
                    let product = (wide - least) * width;
                    let scale = width * (wide - least).abs().max(1.0) + min.abs();
                    (product + min, scale, [product, min])
                } else {
                    let value = reference::min_maxed(x, of, (least, greatest));
                    let scale = (value - least).abs().max(1.0) + least.abs();
                    let value = match self.clip {
                        true if !value.is_nan() => {
                            value.clamp((least as f32).into(), (greatest as f32).into())
                        }
                        _ => value,
                    };
                    if self.clip && !y.is_nan() {
                        let inside = least as f32 <= y && y <= greatest as f32;
                        assert!(inside, "{what}: {y:e} is outside of the range");
                    }
                    if x == of.0 && !value.is_nan() {
                        assert_eq!(y, least as f32, "{what}: the minimum");
                    }
                    (value, scale, [value, least])
                }
            }
        };
        if x.is_nan() || scale.is_nan() && x.is_finite() {
            assert!(y.is_nan(), "{what}: expected NaN, got {y:e}");
        } else if x.is_finite() && [value, parts[0], parts[1]].iter().all(|v| v.abs() <= LARGEST) {
            let bound = OUTPUT * scale + SUBNORMAL;
            assert_within(Bound::Output, y.into(), value, bound, what);
        }
    }

    fn check_normalizer(&self, backend: Backend, call: &Call<'_>, expected: &mut Expected) {
        let &Call { x, rows, pitches } = call;
        let operation = Normalizer::new()
            .with_norm(self.norm.into())
            .with_backend(backend)
            .with_parallelism(self.threads.into())
            .with_stores(self.stores.into());
        for &io in if self.thorough.is(backend) { &Io::ALL[..] } else { &Io::ALL[..1] } {
            let what = format_args!("{:?}, {io:?}, {backend}, {rows:?}, {pitches:?}", self.norm);
            let y = self.output(io, call, true, |io| operation.forward(io, rows), what);
            let Some(y) = y else { continue };
            expected.check(backend, Written::default().f32(&y), what, || {
                for (r, (x, y)) in lines(x, rows).zip(lines(&y, rows)).enumerate() {
                    self.check_row(operation, x, y, format_args!("{what}, row {r}"));
                }
            });
        }
    }

    /// Asserts that y is the row x by its norm, and that it is so alone.
    fn check_row(&self, operation: Normalizer, x: &[f32], y: &[f32], what: Arguments<'_>) {
        let mut alone = x.to_vec();
        let one = Rows::new(1, x.len()).expect("a row");
        operation.forward(InOut::in_place(&mut alone), one).expect("a row");
        Written::default().f32(y).assert_same(&Written::default().f32(&alone), what);
        let mut defined = vec![0.0; x.len()];
        reference::normalizer(x, self.norm.into(), &mut defined);
        for (c, (&y, &value)) in y.iter().zip(&defined).enumerate() {
            let what = format_args!("{what}, element {c}, x {:e}", x[c]);
            if value.is_nan() {
                assert!(y.is_nan(), "{what}: expected NaN, got {y:e}");
                continue;
            }
            let bound = OUTPUT * value.abs().max(1.0) + SUBNORMAL;
            assert_within(Bound::Output, y.into(), value, bound, what);
        }
    }
}
