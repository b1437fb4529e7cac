//! Variants of the row operations beside the plain ones: with a residual, gated, with 1 + gamma, of rows at a pitch.
#![forbid(unsafe_code)]
#![no_main]

use std::fmt::Arguments;

use arbitrary::Arbitrary;
use evenkeel::{
    Backend, Error, LayerNorm, Moments, NormalizeScaleShift, RmsNorm, RowMoments, Rows, reference,
};
use evenkeel_fuzz::*;
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input {
    what: What,
    matrix: Matrix,
    /// The residual, the gate, or what lies between rows.
    second: Source,
    affine: (Option<Source>, Option<Source>),
    statistics: (Source, Source),
    eps: Parameter,
    one_plus_gamma: bool,
    /// Elements between rows of x and of y.
    between: [u8; 2],
    /// In one of sixteen inputs, a pitch is shorter than a row.
    short_pitch: u8,
    thorough: Thorough,
    threads: Threads,
    stores: StoresAre,
    shifts: [u8; 8],
    wrong: Wrong,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum What {
    Residual,
    Gated,
    OnePlusGamma,
    Strided,
}

/// How a residual is given, and where the sum goes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Form {
    NotKept,
    Kept,
    Updated,
    InPlace,
}

fuzz_target!(|input: Continued<Input>| {
    let input = input.0;
    let (x, rows) = input.matrix.make(Lines::Rows);
    let data = Data {
        second: input.second.values(x.len(), 3),
        affine: Affine::new(&input.affine.0, &input.affine.1, rows.cols()),
        eps: input.eps.value(1e-5),
        x,
        rows,
    };
    match input.what {
        What::Residual => input.check_residual(&data),
        What::Gated => input.check_gated(&data),
        What::OnePlusGamma => input.check_one_plus_gamma(&data),
        What::Strided => input.check_strided(&data),
    }
});

struct Data {
    x: Vec<f32>,
    rows: Rows,
    second: Vec<f32>,
    affine: Affine,
    eps: f64,
}

impl Data {
    /// Whether rows can have statistics.
    fn has_statistics(&self) -> bool {
        self.rows.cols() > 0 || self.rows.rows() == 0
    }
}

/// Everything that a call with a residual may read or write.
struct Buffers {
    x: Buffer<f32>,
    residual: Buffer<f32>,
    y: Buffer<f32>,
    sum: Buffer<f32>,
    gamma: Option<Buffer<f32>>,
    beta: Option<Buffer<f32>>,
    mean: Buffer<f64>,
    rstd: Buffer<f64>,
}

impl Buffers {
    fn written(&self) -> Written {
        let Self { x, residual, y, sum, mean, rstd, .. } = self;
        Written::default().f32(x).f32(residual).f32(y).f32(sum).f64(mean).f64(rstd)
    }
}

/// What the plain operation makes of the sum.
struct Plain {
    y: Vec<f32>,
    mean: Vec<f64>,
    rstd: Vec<f64>,
}

/// Calls an operation with a residual, with these statistics if they are asked for.
macro_rules! forward_residual {
    ($operation:expr, $form:expr, $with_stats:expr, $buffers:expr, $rows:expr, $($stat:ident),+) => {{
        let (operation, rows) = ($operation, $rows);
        let Buffers { x, residual, y, sum, gamma, beta, $($stat,)+ .. } = $buffers;
        let (gamma, beta) = (gamma.as_deref(), beta.as_deref());
        match ($form, $with_stats) {
            (Form::NotKept, false) => {
                operation.forward_residual(x, residual, gamma, beta, rows, y, None)
            }
            (Form::NotKept, true) => operation
                .forward_residual_with_stats(x, residual, gamma, beta, rows, y, None, $($stat),+),
            (Form::Kept, false) => {
                operation.forward_residual(x, residual, gamma, beta, rows, y, Some(&mut **sum))
            }
            (Form::Kept, true) => operation
                .forward_residual_with_stats(x, residual, gamma, beta, rows, y, Some(&mut **sum), $($stat),+),
            (Form::Updated, false) => {
                operation.forward_update_residual(x, residual, gamma, beta, rows, y)
            }
            (Form::Updated, true) => operation
                .forward_update_residual_with_stats(x, residual, gamma, beta, rows, y, $($stat),+),
            (Form::InPlace, false) => {
                operation.forward_update_residual_in_place(x, residual, gamma, beta, rows)
            }
            (Form::InPlace, true) => operation
                .forward_update_residual_in_place_with_stats(x, residual, gamma, beta, rows, $($stat),+),
        }
    }};
}

impl Input {
    fn layer_norm(&self, backend: Backend, eps: f64) -> LayerNorm {
        LayerNorm::new()
            .with_eps(eps)
            .with_backend(backend)
            .with_parallelism(self.threads.into())
            .with_stores(self.stores.into())
    }

    fn rms_norm(&self, backend: Backend, eps: f64) -> RmsNorm {
        RmsNorm::new()
            .with_eps(eps)
            .with_one_plus_gamma(self.one_plus_gamma)
            .with_backend(backend)
            .with_parallelism(self.threads.into())
            .with_stores(self.stores.into())
    }

    /// gamma as it is applied: rounded once if 1 is added.
    fn whole_gamma(&self, affine: &Affine) -> Option<Vec<f32>> {
        let offset = if self.one_plus_gamma { 1.0 } else { -0.0 };
        affine.gamma().map(|gamma| gamma.iter().map(|gamma| offset + gamma).collect())
    }

    fn check_residual(&self, data: &Data) {
        let Data { x, rows, second, affine, eps } = data;
        let (rows, eps) = (*rows, *eps);
        let (count, cols) = (rows.rows(), rows.cols());
        let sum: Vec<f32> = x.iter().zip(second).map(|(x, residual)| x + residual).collect();
        let right = [x.len(), x.len(), x.len(), x.len(), cols, cols, count, count];
        let lengths = lengths(right, self.wrong);
        let make = || {
            let f32 = |i: usize| Buffer::<f32>::new(lengths[i], self.shifts[i]);
            let of = |values: &[f32], i: usize| Buffer::of(values, lengths[i], self.shifts[i]);
            Buffers {
                x: of(x, 0),
                residual: of(second, 1),
                y: f32(2),
                sum: f32(3),
                gamma: affine.gamma().map(|gamma| of(gamma, 4)),
                beta: affine.beta().map(|beta| of(beta, 5)),
                mean: Buffer::new(lengths[6], self.shifts[6]),
                rstd: Buffer::new(lengths[7], self.shifts[7]),
            }
        };
        let valid = |operation: RowNorm, form: Form, with_stats: bool| {
            let fits = |i: usize| lengths[i] == right[i];
            let mean_fits = operation == RowNorm::RmsNorm || fits(6);
            fits(0)
                && fits(1)
                && (form == Form::InPlace || fits(2))
                && (form != Form::Kept || fits(3))
                && (affine.gamma().is_none() || fits(4))
                && (affine.beta().is_none() || fits(5))
                && (!with_stats || mean_fits && fits(7) && data.has_statistics())
                && eps_is_valid(eps)
        };

        for operation in [RowNorm::LayerNorm, RowNorm::RmsNorm] {
            let gamma = match operation {
                RowNorm::LayerNorm => affine.gamma().map(<[f32]>::to_vec),
                RowNorm::RmsNorm => self.whole_gamma(affine),
            };
            let whole = Affine::of(gamma.as_deref(), affine.beta());
            let mut outputs = Expected::new();
            for backend in Backend::available() {
                let plain = self.plain(operation, backend, &sum, data);
                if eps_is_valid(eps) {
                    let what = format_args!("{operation:?}, {backend}, {rows:?}, eps {eps:e}");
                    outputs.check(backend, Written::default().f32(&plain.y), what, || {
                        for (x, y) in lines(&sum, rows).zip(lines(&plain.y, rows)) {
                            let exact = ExactRow::of(operation, x, eps);
                            exact.check_output(x, y, &whole, what);
                        }
                    });
                }
                let forms = [Form::Updated, Form::Kept, Form::NotKept, Form::InPlace];
                let forms = if self.thorough.is(backend) { &forms[..] } else { &forms[..1] };
                for (&form, with_stats) in
                    forms.iter().flat_map(|form| [(form, false), (form, true)])
                {
                    let what = format_args!(
                        "{operation:?}, {form:?}, statistics {with_stats}, {backend}, {rows:?}, eps {eps:e}"
                    );
                    let mut got = make();
                    let result = match operation {
                        RowNorm::LayerNorm => forward_residual!(
                            self.layer_norm(backend, eps),
                            form,
                            with_stats,
                            &mut got,
                            rows,
                            mean,
                            rstd
                        ),
                        RowNorm::RmsNorm => forward_residual!(
                            self.rms_norm(backend, eps),
                            form,
                            with_stats,
                            &mut got,
                            rows,
                            rstd
                        ),
                    };
                    let valid = valid(operation, form, with_stats);
                    assert_eq!(result.is_ok(), valid, "{what}: {result:?}");
                    let mut expected = make();
                    if valid {
                        let y =
                            if form == Form::InPlace { &mut expected.x } else { &mut expected.y };
                        y.copy_from_slice(&plain.y);
                        match form {
                            Form::NotKept => {}
                            Form::Kept => expected.sum.copy_from_slice(&sum),
                            Form::Updated | Form::InPlace => {
                                expected.residual.copy_from_slice(&sum);
                            }
                        }
                        if with_stats {
                            expected.rstd.copy_from_slice(&plain.rstd);
                        }
                        if with_stats && operation == RowNorm::LayerNorm {
                            expected.mean.copy_from_slice(&plain.mean);
                        }
                    }
                    expected.written().assert_same(&got.written(), what);
                }
            }
        }
    }

    fn plain(&self, operation: RowNorm, backend: Backend, x: &[f32], data: &Data) -> Plain {
        let (rows, eps) = (data.rows, data.eps);
        let (gamma, beta) = (data.affine.gamma(), data.affine.beta());
        let mut plain = Plain {
            y: vec![f32::BEFORE; x.len()],
            mean: vec![f64::BEFORE; rows.rows()],
            rstd: vec![f64::BEFORE; rows.rows()],
        };
        let Plain { y, mean, rstd } = &mut plain;
        if eps_is_valid(eps) && data.has_statistics() {
            match operation {
                RowNorm::LayerNorm => self
                    .layer_norm(backend, eps)
                    .forward_with_stats(x, gamma, beta, rows, y, mean, rstd),
                RowNorm::RmsNorm => {
                    self.rms_norm(backend, eps).forward_with_stats(x, gamma, beta, rows, y, rstd)
                }
            }
            .expect("valid");
        }
        plain
    }

    fn check_gated(&self, data: &Data) {
        let Data { x, rows, second: z, affine, eps } = data;
        let (rows, cols, eps) = (*rows, rows.cols(), *eps);
        let right = [x.len(), z.len(), x.len(), cols];
        let lengths = lengths(right, self.wrong);
        let whole = self.whole_gamma(affine);
        let mut outputs = Expected::new();
        for backend in Backend::available() {
            let forms = if self.thorough.is(backend) { &Io::ALL[..] } else { &Io::ALL[..1] };
            for &io in forms {
                let what = format_args!("gated, {io:?}, {backend}, {rows:?}, eps {eps:e}");
                let of = |values: &[f32], i: usize| Buffer::of(values, lengths[i], self.shifts[i]);
                let (mut xy, z, gamma) =
                    (of(x, 0), of(z, 1), affine.gamma().map(|gamma| of(gamma, 3)));
                let mut y = Buffer::<f32>::new(lengths[2], self.shifts[2]);
                let before = Written::default().f32(&xy).f32(&y);
                let (operation, gamma) = (self.rms_norm(backend, eps), gamma.as_deref());
                let result = match io {
                    Io::TwoBuffers => operation.forward_gated(&xy, &z, gamma, rows, &mut y),
                    Io::InPlace => operation.forward_gated_in_place(&mut xy, &z, gamma, rows),
                    Io::Uninit => operation
                        .forward_gated_uninit(&xy, &z, gamma, rows, uninit(&mut y))
                        .map(drop),
                };
                let fits = |i: usize| lengths[i] == right[i];
                let valid = fits(0)
                    && fits(1)
                    && (io == Io::InPlace || fits(2))
                    && (gamma.is_none() || fits(3))
                    && eps_is_valid(eps);
                assert_eq!(result.is_ok(), valid, "{what}: {result:?}");
                if !valid {
                    before.assert_same(&Written::default().f32(&xy).f32(&y), what);
                    continue;
                }
                let y: &[f32] = if io == Io::InPlace { &xy } else { &y };
                outputs.check(backend, Written::default().f32(y), what, || {
                    for ((x, z), y) in lines(x, rows).zip(lines(&z, rows)).zip(lines(y, rows)) {
                        check_gated_row(x, z, y, whole.as_deref(), eps, what);
                    }
                });
            }
        }
    }

    fn check_one_plus_gamma(&self, data: &Data) {
        let Data { x, rows, affine, eps, .. } = data;
        let whole = self.whole_gamma(affine);
        for backend in Backend::available() {
            let operation = self.rms_norm(backend, *eps);
            let (mut expected, mut got) =
                (vec![f32::BEFORE; x.len()], Buffer::<f32>::new(x.len(), self.shifts[0]));
            let plain = operation.with_one_plus_gamma(false);
            let of_whole = plain.forward(x, whole.as_deref(), affine.beta(), *rows, &mut expected);
            let result = operation.forward(x, affine.gamma(), affine.beta(), *rows, &mut got);
            let what = format_args!("1 + gamma: {}, {backend}, {rows:?}", self.one_plus_gamma);
            // Not the errors: a NaN that is refused is not itself.
            assert_eq!(result.is_ok(), of_whole.is_ok(), "{what}");
            let expected = Written::default().f32(&expected);
            expected.assert_same(&Written::default().f32(&got), what);
        }
    }

    fn check_strided(&self, data: &Data) {
        let Data { x, rows, affine, eps, second } = data;
        let (rows, eps) = (*rows, *eps);
        let (count, cols) = (rows.rows(), rows.cols());
        let mut pitches = self.between.map(|between| cols + usize::from(between % 40));
        if self.short_pitch % 16 == 15 && cols > 0 {
            pitches[usize::from(self.short_pitch / 16) % 2] = cols - 1;
        }
        let [x_pitch, y_pitch] = pitches;
        let reach = |pitch: usize| match count {
            0 => 0,
            _ => (count - 1) * pitch + cols,
        };
        // What lies between two rows does not matter.
        let wide = |pitch: usize| {
            let mut wide: Vec<f32> =
                (0..reach(pitch)).map(|i| second.get(i).copied().unwrap_or(f32::NAN)).collect();
            place(x, rows, &mut wide, pitch);
            wide
        };
        let right = [reach(x_pitch), reach(y_pitch), cols, cols, count, count, count];
        let lengths = lengths(right, self.wrong);
        let fits = |i: usize| lengths[i] == right[i];
        let affine_fits =
            (affine.gamma().is_none() || fits(2)) && (affine.beta().is_none() || fits(3));
        let x_fits = x_pitch >= cols && lengths[0] >= right[0];
        let y_fits = y_pitch >= cols && lengths[1] >= right[1];

        let of = |values: &[f32], i: usize| Buffer::of(values, lengths[i], self.shifts[i]);
        let wide = of(&wide(x_pitch), 0);
        let optional = |values: Option<&[f32]>, i: usize| values.map(|values| of(values, i));
        let (gamma, beta) = (optional(affine.gamma(), 2), optional(affine.beta(), 3));
        let (gamma, beta) = (gamma.as_deref(), beta.as_deref());
        let given = |source: &Source, i: usize| {
            let values: Vec<f64> =
                source.values(count, i as u64).into_iter().map(f64::from).collect();
            Buffer::of(&values, lengths[i], self.shifts[i])
        };
        let (mean, rstd) = (given(&self.statistics.0, 4), given(&self.statistics.1, 5));
        for backend in Backend::available() {
            let check =
                |name: &str,
                 valid: bool,
                 plain: &dyn Fn(&mut [f32]) -> Result<(), Error>,
                 strided: &dyn Fn(&[f32], &mut [f32]) -> Result<(), Error>,
                 in_place: &dyn Fn(&mut [f32]) -> Result<(), Error>| {
                    let what = format_args!(
                        "{name}, {backend}, {rows:?}, pitches {x_pitch}, {y_pitch}, eps {eps:e}"
                    );
                    let mut y = vec![f32::BEFORE; x.len()];
                    if valid {
                        plain(&mut y).unwrap_or_else(|error| panic!("{what}: {error}"));
                    }
                    let mut got = Buffer::<f32>::new(lengths[1], self.shifts[1]);
                    let result = strided(&wide, &mut got);
                    assert_eq!(result.is_ok(), valid && x_fits && y_fits, "{what}: {result:?}");
                    let mut expected = vec![f32::BEFORE; lengths[1]];
                    if result.is_ok() {
                        place(&y, rows, &mut expected, y_pitch);
                    }
                    same(&expected, &got, what);

                    if !self.thorough.is(backend) {
                        return;
                    }
                    let mut got = Buffer::of(&wide, lengths[0], self.shifts[7]);
                    let result = in_place(&mut got);
                    assert_eq!(result.is_ok(), valid && x_fits, "{what}, in place: {result:?}");
                    let mut expected = wide.to_vec();
                    if result.is_ok() {
                        place(&y, rows, &mut expected, x_pitch);
                    }
                    same(&expected, &got, what);
                };
            let layer_norm = self.layer_norm(backend, eps);
            let valid = affine_fits && eps_is_valid(eps);
            check(
                "LayerNorm",
                valid,
                &|y| layer_norm.forward(x, gamma, beta, rows, y),
                &|x, y| layer_norm.forward_strided(x, x_pitch, gamma, beta, rows, y, y_pitch),
                &|x| layer_norm.forward_strided_in_place(x, x_pitch, gamma, beta, rows),
            );
            let rms_norm = self.rms_norm(backend, eps);
            check(
                "RmsNorm",
                valid,
                &|y| rms_norm.forward(x, gamma, beta, rows, y),
                &|x, y| rms_norm.forward_strided(x, x_pitch, gamma, beta, rows, y, y_pitch),
                &|x| rms_norm.forward_strided_in_place(x, x_pitch, gamma, beta, rows),
            );
            let given = NormalizeScaleShift::new()
                .with_backend(backend)
                .with_parallelism(self.threads.into())
                .with_stores(self.stores.into());
            let (m, s) = (&*mean, &*rstd);
            check(
                "NormalizeScaleShift",
                affine_fits && fits(4) && fits(5),
                &|y| given.forward(x, m, s, gamma, beta, rows, y),
                &|x, y| given.forward_strided(x, x_pitch, m, s, gamma, beta, rows, y, y_pitch),
                &|x| given.forward_strided_in_place(x, x_pitch, m, s, gamma, beta, rows),
            );

            let row_moments =
                RowMoments::new().with_backend(backend).with_parallelism(self.threads.into());
            let mut got = Buffer::<Moments>::new(lengths[6], self.shifts[6]);
            let result = row_moments.compute_strided(&wide, x_pitch, rows, &mut got);
            let what = format_args!("RowMoments, {backend}, {rows:?}, pitch {x_pitch}");
            let valid = x_fits && fits(6) && data.has_statistics();
            assert_eq!(result.is_ok(), valid, "{what}: {result:?}");
            let mut expected = vec![Moments::BEFORE; lengths[6]];
            if valid {
                row_moments.compute(x, rows, &mut expected).expect("valid");
            }
            let written = |moments: &[Moments]| {
                moments.iter().fold(Written::default(), |written, row| {
                    written.f64(&[row.count as f64, row.mean, row.mean_low, row.m2])
                })
            };
            written(&expected).assert_same(&written(&got), what);
        }
    }
}

/// Puts rows where they are at a pitch.
fn place(x: &[f32], rows: Rows, wide: &mut [f32], pitch: usize) {
    for (r, row) in lines(x, rows).enumerate() {
        let at = r * pitch;
        if let Some(place) = wide.get_mut(at..at + row.len()) {
            place.copy_from_slice(row);
        }
    }
}

/// Asserts that both hold the same bits.
#[track_caller]
fn same(expected: &[f32], got: &[f32], what: Arguments<'_>) {
    Written::default().f32(expected).assert_same(&Written::default().f32(got), what);
}

/// Asserts what the documentation of gated rows says of one.
fn check_gated_row(
    x: &[f32],
    z: &[f32],
    y: &[f32],
    gamma: Option<&[f32]>,
    eps: f64,
    what: Arguments<'_>,
) {
    let finite = is_finite(x);
    let rstd = reference::rstd(reference::mean_square(x), eps);
    for i in 0..x.len() {
        let what = format_args!("{what}, element {i}, x {:e}, z {:e}", x[i], z[i]);
        if !finite || z[i].is_nan() {
            assert!(y[i].is_nan(), "{what}: expected NaN, got {:e}", y[i]);
            continue;
        }
        let (x_hat, gamma) = (f64::from(x[i]) * rstd, gamma.map_or(1.0, |gamma| gamma[i].into()));
        let factor = gamma * reference::silu(z[i]);
        let expected = x_hat * factor;
        let in_range = |value: f64| value.abs() <= LARGEST;
        if ![x_hat, gamma, factor, expected].into_iter().all(in_range) {
            continue;
        }
        let bound = OUTPUT * factor.abs() + 2.0 * SUBNORMAL * gamma.abs().max(1.0);
        let bound = bound * x_hat.abs().max(1.0);
        assert_within(Bound::Output, y[i].into(), expected, bound, what);
    }
}
