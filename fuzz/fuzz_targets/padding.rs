//! Padding: masked `BatchNorm`, `InstanceNorm` and `ColumnMoments`, `RowMoments` of prefixes, beside the same without the
//! padding.
#![forbid(unsafe_code)]
#![no_main]

use arbitrary::Arbitrary;
use evenkeel::{
    Backend, BatchNorm, Channels, ColumnMoments, Error, InstanceNorm, Mask, Moments, RowMoments,
    Rows, RunningStatistics, ValidRows,
};
use evenkeel_fuzz::*;
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input {
    matrix: Matrix,
    padding: Source,
    valid: Valid,
    kind: Kind,
    affine: (Option<Source>, Option<Source>),
    eps: Parameter,
    unbiased: bool,
    thorough: Thorough,
    threads: Threads,
    stores: StoresAre,
    shifts: [u8; 3],
    wrong: Wrong,
    /// Asks for a divisor of the rows, where they are positions of samples.
    positions: u8,
    channels_first: bool,
}

/// Which rows are valid.
#[derive(Arbitrary, Debug)]
enum Valid {
    /// Runs of valid rows and of padding in turns.
    Runs(Vec<u8>),
    OneIn(u8, u64),
    AllBut(u16),
    Only(u16),
    Bits(Vec<u8>),
}

/// How it is said.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Kind {
    Packed,
    Bytes,
    /// Samples of so many steps. The rows after a sample's first padding are padding, too.
    Lengths(u8),
}

impl Valid {
    fn rows(&self, count: usize) -> Vec<bool> {
        match self {
            Self::Runs(runs) => {
                let mut runs = runs.iter().map(|&run| usize::from(run));
                let (mut valid, mut rows) = (true, Vec::new());
                while rows.len() < count {
                    let run = runs.next().unwrap_or(count).min(count - rows.len());
                    rows.extend(std::iter::repeat_n(valid, run));
                    valid = !valid;
                }
                rows
            }
            Self::OneIn(n, seed) => {
                let mut random = Random(*seed);
                (0..count).map(|_| random.bits().is_multiple_of(u64::from(*n) + 1)).collect()
            }
            Self::AllBut(row) => (0..count).map(|r| r != usize::from(*row)).collect(),
            Self::Only(row) => (0..count).map(|r| r == usize::from(*row) % count.max(1)).collect(),
            Self::Bits(bits) => {
                let bit = |r: usize| bits.get(r / 8).is_some_and(|bits| bits >> (r % 8) & 1 == 1);
                (0..count).map(bit).collect()
            }
        }
    }
}

fuzz_target!(|input: Continued<Input>| input.0.check());

/// What a training leaves beside y.
#[derive(Clone)]
struct Left {
    mean: Vec<f64>,
    rstd: Vec<f64>,
    running_mean: Vec<f32>,
    running_var: Vec<f32>,
}

impl Left {
    fn new(cols: usize) -> Self {
        Self {
            mean: vec![7.0; cols],
            rstd: vec![7.0; cols],
            running_mean: vec![0.5; cols],
            running_var: vec![2.0; cols],
        }
    }

    fn written(&self, y: &[f32]) -> Written {
        let written = Written::default().f32(y).f64(&self.mean).f64(&self.rstd);
        written.f32(&self.running_mean).f32(&self.running_var)
    }
}

impl Input {
    fn check(&self) {
        let (mut x, mut rows) = self.matrix.make(Lines::Columns);
        let cols = rows.cols();
        let mut steps = 1;
        if let Kind::Lengths(n) = self.kind {
            // As many whole samples as there are rows for.
            steps = usize::from(n).max(1).min(rows.rows().max(1));
            rows = Rows::new(rows.rows() / steps * steps, cols).expect("fewer rows");
            x.truncate(rows.elements());
        }
        let count = rows.rows();
        let mut valid = self.valid.rows(count);
        let mut of_samples = Vec::new();
        if matches!(self.kind, Kind::Lengths(_)) {
            for sample in valid.chunks_mut(steps) {
                let length = sample.iter().position(|valid| !valid).unwrap_or(steps);
                sample[length..].fill(false);
                of_samples.push(length);
            }
        }
        let padding = self.padding.values(x.len(), 5);
        let mut compact = Vec::new();
        for (r, valid) in valid.iter().enumerate() {
            let row = r * cols..(r + 1) * cols;
            match valid {
                true => compact.extend_from_slice(&x[row]),
                false => x[row.clone()].copy_from_slice(&padding[row]),
            }
        }
        let n = valid.iter().filter(|valid| **valid).count();

        let packed = matches!(self.kind, Kind::Packed);
        let right = match self.kind {
            Kind::Lengths(_) => of_samples.len(),
            _ => mask_len(count, packed),
        };
        let [len] = lengths([right], self.wrong);
        let mask = Buffer::of(&store_mask(&valid, packed), len.max(right), self.shifts[0]);
        of_samples.resize(len, 0);
        let given = match self.kind {
            Kind::Packed => ValidRows::Mask(Mask::Packed(&mask[..len])),
            Kind::Bytes => ValidRows::Mask(Mask::Bytes(&mask[..len])),
            Kind::Lengths(_) => ValidRows::Lengths { lengths: &of_samples, steps },
        };
        let given_is_right = len == right;
        let small = Rows::new(n, cols).expect("fewer rows");
        for backend in Backend::available() {
            self.check_moments(backend, (&x, rows), (&compact, small), given, given_is_right);
            self.check_batch_norm(
                backend,
                (&x, rows),
                (&compact, small),
                (given, &valid),
                given_is_right,
            );
            let positions = match self.kind {
                Kind::Lengths(_) => steps,
                _ => divisor(count, self.positions),
            };
            self.check_instance_norm(
                backend,
                &x,
                (cols, positions),
                (given, &valid),
                given_is_right,
            );
        }
        self.check_prefixes(&x, rows);
    }

    fn check_moments(
        &self,
        backend: Backend,
        (x, rows): (&[f32], Rows),
        (compact, small): (&[f32], Rows),
        valid: ValidRows<'_>,
        right: bool,
    ) {
        let operation =
            ColumnMoments::new().with_backend(backend).with_parallelism(self.threads.into());
        let mut got = Buffer::<Moments>::new(rows.cols(), self.shifts[1]);
        let mut scratch = vec![f64::NAN; operation.scratch_len(rows)];
        let result = operation.compute_masked_with_scratch(x, valid, rows, &mut got, &mut scratch);
        let what = format_args!("moments, {backend}, {rows:?}, {small:?}");
        let mut expected = vec![Moments::BEFORE; rows.cols()];
        let of_compact = operation.compute(compact, small, &mut expected);
        if !right {
            assert!(result.is_err() && got.is_untouched(), "{what}");
            return;
        }
        assert_eq!(result, of_compact, "{what}");
        let written = |moments: &[Moments]| {
            moments.iter().fold(Written::default(), |written, column| {
                written.f64(&[column.count as f64, column.mean, column.m2])
            })
        };
        written(&expected).assert_same(&written(&got), what);
    }

    fn check_batch_norm(
        &self,
        backend: Backend,
        (x, rows): (&[f32], Rows),
        (compact, small): (&[f32], Rows),
        (valid, is_valid): (ValidRows<'_>, &[bool]),
        right: bool,
    ) {
        let (cols, eps) = (rows.cols(), self.eps.value(1e-5));
        let affine = Affine::new(&self.affine.0, &self.affine.1, cols);
        let operation = BatchNorm::new()
            .with_eps(eps)
            .with_unbiased_running_var(self.unbiased)
            .with_backend(backend)
            .with_parallelism(self.threads.into())
            .with_stores(self.stores.into());
        let (gamma, beta) = (affine.gamma(), affine.beta());
        let spread = |compact: &[f32]| {
            let mut rows = compact.chunks_exact(cols.max(1));
            let mut y = vec![0.0; x.len()];
            for (r, _) in is_valid.iter().enumerate().filter(|(_, valid)| **valid && cols > 0) {
                y[r * cols..(r + 1) * cols].copy_from_slice(rows.next().expect("a valid row"));
            }
            y
        };
        let what = format_args!("{backend}, {rows:?}, {small:?}, eps {eps:e}");

        let (mut y, mut left) = (compact.to_vec(), Left::new(cols));
        let Left { mean, rstd, running_mean, running_var } = &mut left;
        let running = Some(RunningStatistics { mean: running_mean, var: running_var });
        let expected = operation
            .forward_training_in_place(&mut y, gamma, beta, small, mean, rstd, running)
            .map(|()| left.written(&spread(&y)));

        let (mut y, running) = (compact.to_vec(), Left::new(cols));
        let (m, v) = (&running.running_mean, &running.running_var);
        let inferred = operation
            .forward_inference_in_place(&mut y, m, v, gamma, beta, small)
            .map(|()| Written::default().f32(&spread(&y)));

        let thorough = self.thorough.is(backend);
        for &io in if thorough { &Io::ALL[..] } else { &Io::ALL[..1] } {
            let what = format_args!("{io:?}, {what}");
            let y = || match io {
                Io::InPlace => Buffer::of(x, x.len(), self.shifts[2]),
                _ => Buffer::new(x.len(), self.shifts[2]),
            };
            let (mut y_trained, mut left) = (y(), Left::new(cols));
            let before = left.written(&y_trained);
            let Left { mean, rstd, running_mean, running_var } = &mut left;
            let running = Some(RunningStatistics { mean: running_mean, var: running_var });
            let mut scratch = vec![f64::NAN; operation.scratch_len(rows)];
            let result = match io {
                Io::TwoBuffers => operation.forward_training_masked_with_scratch(
                    x,
                    valid,
                    gamma,
                    beta,
                    rows,
                    &mut y_trained,
                    mean,
                    rstd,
                    running,
                    &mut scratch,
                ),
                Io::InPlace => operation.forward_training_masked_in_place(
                    &mut y_trained,
                    valid,
                    gamma,
                    beta,
                    rows,
                    mean,
                    rstd,
                    running,
                ),
                Io::Uninit => operation
                    .forward_training_masked_uninit(
                        x,
                        valid,
                        gamma,
                        beta,
                        rows,
                        uninit(&mut y_trained),
                        mean,
                        rstd,
                        running,
                        &mut scratch,
                    )
                    .map(drop),
            };
            let got = left.written(&y_trained);
            compare(
                right,
                expected.as_ref().ok(),
                result,
                &before,
                &got,
                format_args!("training, {what}"),
            );

            let mut y = y();
            let before = Written::default().f32(&y);
            let result = match io {
                Io::TwoBuffers => {
                    operation.forward_inference_masked(x, valid, m, v, gamma, beta, rows, &mut y)
                }
                Io::InPlace => operation
                    .forward_inference_masked_in_place(&mut y, valid, m, v, gamma, beta, rows),
                Io::Uninit => operation
                    .forward_inference_masked_uninit(
                        x,
                        valid,
                        m,
                        v,
                        gamma,
                        beta,
                        rows,
                        uninit(&mut y),
                    )
                    .map(drop),
            };
            let got = Written::default().f32(&y);
            compare(
                right,
                inferred.as_ref().ok(),
                result,
                &before,
                &got,
                format_args!("inference, {what}"),
            );
        }
    }

    /// The rows as positions of samples, so many each.
    fn check_instance_norm(
        &self,
        backend: Backend,
        x: &[f32],
        (channels, positions): (usize, usize),
        (valid, is_valid): (ValidRows<'_>, &[bool]),
        right: bool,
    ) {
        let (eps, batch) = (self.eps.value(1e-5), is_valid.len() / positions);
        let shape = |batch, positions| match self.channels_first {
            true => Channels::first(batch, channels, positions).expect("a small shape"),
            false => Channels::last(batch, positions, channels).expect("a small shape"),
        };
        // Where a channel of position p, of so many of a sample, is in the sample.
        let at = |c: usize, p: usize, of: usize| match self.channels_first {
            true => c * of + p,
            false => p * channels + c,
        };
        let affine = Affine::new(&self.affine.0, &self.affine.1, channels);
        let (gamma, beta) = (affine.gamma(), affine.beta());
        let plain = InstanceNorm::new().with_eps(eps).with_backend(backend);
        let operation = plain.with_parallelism(self.threads.into()).with_stores(self.stores.into());

        let sample = positions * channels;
        let (mut laid, mut expected_y) = (vec![0.0; x.len()], vec![0.0; x.len()]);
        let (mut expected_mean, mut expected_rstd) = (Vec::new(), Vec::new());
        for n in 0..batch {
            let kept: Vec<usize> = (0..positions).filter(|p| is_valid[n * positions + p]).collect();
            let mut compact = vec![0.0; kept.len() * channels];
            let (laid, y) = (&mut laid[n * sample..][..sample], &mut expected_y[n * sample..]);
            for c in 0..channels {
                for p in 0..positions {
                    laid[at(c, p, positions)] = x[n * sample + p * channels + c];
                }
                for (i, &p) in kept.iter().enumerate() {
                    compact[at(c, i, kept.len())] = laid[at(c, p, positions)];
                }
            }
            let (mut mean, mut rstd) = (vec![0.0; channels], vec![0.0; channels]);
            if !kept.is_empty() && eps_is_valid(eps) {
                let one = shape(1, kept.len());
                plain
                    .forward_in_place_with_stats(
                        &mut compact,
                        gamma,
                        beta,
                        one,
                        &mut mean,
                        &mut rstd,
                    )
                    .expect("valid");
            }
            expected_mean.extend(mean);
            expected_rstd.extend(rstd);
            for c in 0..channels {
                for (i, &p) in kept.iter().enumerate() {
                    y[at(c, p, positions)] = compact[at(c, i, kept.len())];
                }
            }
        }
        let statistics =
            |y: &[f32], mean: &[f64], rstd: &[f64]| Written::default().f32(y).f64(mean).f64(rstd);
        let valid_eps = eps_is_valid(eps);
        let with_stats = valid_eps.then(|| statistics(&expected_y, &expected_mean, &expected_rstd));
        let without = valid_eps.then(|| Written::default().f32(&expected_y));

        let shape = shape(batch, positions);
        let thorough = self.thorough.is(backend);
        for &io in if thorough { &Io::ALL[..] } else { &Io::ALL[..1] } {
            let what = format_args!("InstanceNorm, {io:?}, {backend}, {shape:?}, eps {eps:e}");
            let (mut xy, mut y) =
                (Buffer::of(&laid, x.len(), 0), Buffer::new(x.len(), self.shifts[2]));
            let [mut mean, mut rstd] = [0; 2].map(|_| Buffer::<f64>::new(expected_mean.len(), 0));
            let before = match io {
                Io::InPlace => Written::default().f32(&xy),
                Io::TwoBuffers => statistics(&y, &mean, &rstd),
                Io::Uninit => Written::default().f32(&y),
            };
            let result = match io {
                Io::TwoBuffers => operation.forward_masked_with_stats(
                    &xy, valid, gamma, beta, shape, &mut y, &mut mean, &mut rstd,
                ),
                Io::InPlace => {
                    operation.forward_masked_in_place(&mut xy, valid, gamma, beta, shape)
                }
                Io::Uninit => operation
                    .forward_masked_uninit(&xy, valid, gamma, beta, shape, uninit(&mut y))
                    .map(drop),
            };
            let (expected, got) = match io {
                Io::InPlace => (&without, Written::default().f32(&xy)),
                Io::TwoBuffers => (&with_stats, statistics(&y, &mean, &rstd)),
                Io::Uninit => (&without, Written::default().f32(&y)),
            };
            compare(right, expected.as_ref(), result, &before, &got, what);
        }
    }

    /// The same matrix as rows whose first elements are valid.
    fn check_prefixes(&self, x: &[f32], rows: Rows) {
        let mut random = Random(x.len() as u64);
        let lengths: Vec<usize> =
            (0..rows.rows()).map(|_| (random.bits() % (rows.cols() as u64 + 1)) as usize).collect();
        for backend in Backend::available() {
            let operation =
                RowMoments::new().with_backend(backend).with_parallelism(self.threads.into());
            let mut got = Buffer::<Moments>::new(rows.rows(), self.shifts[1]);
            let result = operation.compute_prefixes(x, &lengths, rows, &mut got);
            assert_eq!(result.is_ok(), rows.cols() > 0 || rows.rows() == 0, "{rows:?}");
            if result.is_err() {
                continue;
            }
            for (r, &length) in lengths.iter().enumerate() {
                let mut own = [Moments::new()];
                if length > 0 {
                    let row = &x[r * rows.cols()..][..length];
                    let shape = Rows::new(1, length).expect("a part of a row");
                    operation.compute(row, shape, &mut own).expect("a row");
                }
                let bits = |m: &Moments| (m.count, bits64(m.mean), bits64(m.m2));
                assert_eq!(bits(&got[r]), bits(&own[0]), "{backend}, row {r}, {length}");
            }
        }
    }
}

/// Asserts that a masked call did what the same call did without the padding.
fn compare(
    right: bool,
    expected: Option<&Written>,
    result: Result<(), Error>,
    before: &Written,
    got: &Written,
    what: std::fmt::Arguments<'_>,
) {
    match expected {
        Some(expected) if right => {
            assert_eq!(result, Ok(()), "{what}");
            expected.assert_same(got, what);
        }
        _ => {
            assert!(result.is_err(), "{what}");
            before.assert_same(got, what);
        }
    }
}
