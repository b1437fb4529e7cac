//! Padding: operations on rows, columns and channels of which some are padding, beside the same without the padding.
#![forbid(unsafe_code)]
#![no_main]

use std::fmt::Arguments;

use arbitrary::Arbitrary;
use evenkeel::{
    Backend, BatchNorm, Channels, ColumnMoments, Error, GroupNorm, InOut, InstanceNorm, LayerNorm,
    MomentArgs, Moments, NormArgs, NormalizeScaleShift, RmsNorm, RowMoments, Rows, Statistics,
    TrainArgs, reference,
};
use evenkeel_fuzz::*;
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input {
    what: What,
    matrix: Matrix,
    padding: Source,
    valid: Valid,
    valid_is: ValidIs,
    affine: (Option<Source>, Option<Source>),
    eps: Parameter,
    unbiased: bool,
    thorough: Thorough,
    threads: Threads,
    host: Option<HostPool>,
    stores: StoresAre,
    shifts: [u8; 3],
    wrong: Wrong,
    /// Chooses a divisor of the rows, where they are positions of samples.
    positions: u8,
    channels_first: bool,
    /// Chooses a divisor of the channels.
    groups: u8,
    /// Elements between rows of x and of y.
    between: [u8; 2],
    one_in_256_is_large: u8,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum What {
    ColumnMoments,
    BatchNorm,
    /// The rows are rows of their own.
    Rows(RowNorm),
    /// The rows are positions of samples.
    Groups(GroupsAre),
    Channels(OfChannels),
    /// The first elements of every row are valid.
    Prefixes,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum GroupsAre {
    GroupNorm,
    InstanceNorm,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum OfChannels {
    LayerNorm,
    /// `NormalizeScaleShift` by statistics of channels.
    Given,
    Inference,
    Training,
}

fuzz_target!(|input: Continued<Input>| input.0.check());

/// A matrix with padding, and the same without.
struct Padded {
    x: Vec<f32>,
    rows: Rows,
    compact: Vec<f32>,
    small: Rows,
    filter: Filter,
    passed: PassedFilter,
    /// Whether as many bytes or lengths are passed as there have to be.
    right: bool,
    affine: Affine,
    eps: f64,
}

impl Padded {
    fn new(input: &Input) -> Self {
        let (mut x, mut rows) = input.matrix.make(Lines::Columns);
        if input.one_in_256_is_large == u8::MAX {
            (x, rows) = repeated(x, rows);
        }
        let steps = input.valid_is.steps(rows.rows());
        rows = whole_samples(&mut x, rows, steps);
        let cols = rows.cols();
        let filter = input.valid.of(input.valid_is, rows.rows(), steps);
        let padding = input.padding.values(x.len(), 5);
        let mut compact = Vec::new();
        for (r, valid) in filter.valid.iter().enumerate() {
            let row = r * cols..(r + 1) * cols;
            match valid {
                true => compact.extend_from_slice(&x[row]),
                false => x[row.clone()].copy_from_slice(&padding[row]),
            }
        }
        let n = filter.valid.iter().filter(|valid| **valid).count();
        let [len] = lengths([filter.right_len()], input.wrong);
        Self {
            small: Rows::new(n, cols).expect("fewer rows"),
            passed: filter.resized(len, input.shifts[0]),
            right: len == filter.right_len(),
            affine: Affine::new(&input.affine.0, &input.affine.1, cols),
            eps: input.eps.value(1e-5),
            x,
            rows,
            compact,
            filter,
        }
    }

    /// The rows of the matrix without padding where they are with it, `+0.0` in the padding.
    fn spread(&self, compact: &[f32]) -> Vec<f32> {
        let cols = self.rows.cols();
        let mut valid = lines(compact, self.small);
        let mut y = vec![0.0; self.x.len()];
        for (r, _) in self.filter.valid.iter().enumerate().filter(|(_, valid)| **valid) {
            y[r * cols..(r + 1) * cols].copy_from_slice(valid.next().expect("a valid row"));
        }
        y
    }

    fn args(&self) -> NormArgs<'_> {
        NormArgs::new().maybe_gamma(self.affine.gamma()).maybe_beta(self.affine.beta())
    }
}

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

    /// What a training leaves here.
    fn args<'a>(&'a mut self, affine: &'a Affine) -> TrainArgs<'a> {
        let Self { mean, rstd, running_mean, running_var } = self;
        let args = TrainArgs::new().maybe_gamma(affine.gamma()).maybe_beta(affine.beta());
        args.stats(mean, rstd).running(running_mean, running_var)
    }

    fn written(&self, y: &[f32]) -> Written {
        let written = Written::default().f32(y).f64(&self.mean).f64(&self.rstd);
        written.f32(&self.running_mean).f32(&self.running_var)
    }
}

/// Mean and rstd, of whatever there are statistics.
struct Outputs {
    mean: Buffer<f64>,
    rstd: Buffer<f64>,
}

impl Outputs {
    fn new(len: usize) -> Self {
        Self { mean: Buffer::new(len, 0), rstd: Buffer::new(len, 0) }
    }

    /// The same arguments, with these statistics of rows written.
    fn args<'a>(&'a mut self, operation: RowNorm, args: NormArgs<'a>) -> NormArgs<'a> {
        match operation {
            RowNorm::LayerNorm => args.stats(&mut self.mean, &mut self.rstd),
            RowNorm::RmsNorm => args.rstd(&mut self.rstd),
        }
    }

    fn written(&self, y: &[f32]) -> Written {
        Written::default().f32(y).f64(&self.mean).f64(&self.rstd)
    }

    /// All that a call wrote. Asserts that it is nothing if it failed.
    #[track_caller]
    fn after(&self, result: Result<Vec<f32>, Error>) -> Result<Written, Error> {
        let untouched = self.mean.is_untouched() && self.rstd.is_untouched();
        assert!(result.is_ok() || untouched, "statistics of a call that failed: {result:?}");
        result.map(|y| self.written(&y))
    }
}

/// Samples of channels, whose positions are the rows of the matrix.
#[derive(Clone, Copy)]
struct Samples {
    batch: usize,
    positions: usize,
    channels: usize,
    channels_first: bool,
}

impl Samples {
    fn shape(self) -> Channels {
        let Self { batch, positions, channels, channels_first } = self;
        match channels_first {
            true => Channels::first(batch, channels, positions),
            false => Channels::last(batch, positions, channels),
        }
        .expect("a small shape")
    }

    /// Where channel c of row r is.
    fn place(self, r: usize, c: usize) -> usize {
        match self.channels_first {
            true => (r / self.positions * self.channels + c) * self.positions + r % self.positions,
            false => r * self.channels + c,
        }
    }

    /// The elements of a matrix where they are in the samples.
    fn of_matrix(self, x: &[f32]) -> Vec<f32> {
        let mut laid = vec![0.0; x.len()];
        for r in 0..self.batch * self.positions {
            for c in 0..self.channels {
                laid[self.place(r, c)] = x[r * self.channels + c];
            }
        }
        laid
    }

    /// The way back.
    fn as_matrix(self, laid: &[f32]) -> Vec<f32> {
        let rows = 0..self.batch * self.positions;
        rows.flat_map(|r| (0..self.channels).map(move |c| laid[self.place(r, c)])).collect()
    }
}

/// An operation as the fuzzer has it.
macro_rules! configured {
    ($operation:expr, $backend:expr, $input:expr) => {
        $operation
            .with_backend($backend)
            .with_parallelism($input.threads.into())
            .with_stores($input.stores.into())
    };
}

impl Input {
    fn check(&self) {
        let padded = Padded::new(self);
        let mut known = Expected::new();
        for backend in Backend::available() {
            match self.what {
                What::ColumnMoments => self.check_moments(backend, &padded),
                What::BatchNorm => self.check_batch_norm(backend, &padded),
                What::Rows(operation) => self.check_rows(backend, operation, &padded),
                What::Groups(groups) => self.check_groups(backend, groups, &padded),
                What::Channels(OfChannels::Training) => {
                    self.check_training(backend, &padded, &mut known);
                }
                What::Channels(operation) => self.check_channels(backend, operation, &padded),
                What::Prefixes => self.check_prefixes(backend, &padded.x, padded.rows),
            }
        }
    }

    fn ios<'a>(&self, backend: Backend, all: &'a [Io]) -> &'a [Io] {
        if self.thorough.is(backend) { all } else { &all[..1] }
    }

    /// The same arguments, for the threads of the host if it has any.
    fn hosted<'a>(&'a self, args: NormArgs<'a>) -> NormArgs<'a> {
        match &self.host {
            Some(host) => args.pool(host),
            None => args,
        }
    }

    /// Calls with x in a buffer of its own, and returns the rows of y if there are any. Asserts that nothing else has changed.
    fn call(
        &self,
        io: Io,
        (x, rows): (&[f32], Rows),
        operation: impl for<'a> FnOnce(InOut<'_, 'a>) -> Result<&'a mut [f32], Error>,
        what: Arguments<'_>,
    ) -> Result<Vec<f32>, Error> {
        let pitches = pitches(rows, self.between);
        let layouts = io.layouts(rows, pitches);
        let mut x = Buffer::of(&layouts[0].spread(x), layouts[0].reach(), self.shifts[1]);
        let mut y = Buffer::new(layouts[1].reach(), self.shifts[2]);
        let (x_before, y_before) = (x.to_vec(), y.to_vec());
        let result = io.call(&mut x, &mut y, pitches, operation);
        let y = io.written(result.is_ok(), layouts, [&x_before, &x], [&y_before, &y], what);
        result.map(|()| y.expect("an operation that succeeded"))
    }

    /// Whether x and y of so many columns are accepted at their pitches.
    fn pitches_fit(&self, io: Io, rows: Rows) -> bool {
        let [of_x, of_y] = io.layouts(rows, pitches(rows, self.between));
        of_x.fits(of_x.reach()) && of_y.fits(of_y.reach())
    }

    fn check_moments(&self, backend: Backend, padded: &Padded) {
        let Padded { x, rows, compact, small, .. } = padded;
        let operation =
            ColumnMoments::new().with_backend(backend).with_parallelism(self.threads.into());
        let mut expected = vec![Moments::BEFORE; rows.cols()];
        operation
            .compute(compact, *small, &mut expected, MomentArgs::new())
            .expect("a matrix without padding");
        let written = |moments: &[Moments]| {
            moments.iter().fold(Written::default(), |written, column| {
                written.f64(&[column.count as f64, column.mean, column.m2])
            })
        };
        for pitch in [None, Some(pitches(*rows, self.between)[0])] {
            let what = format_args!("moments, {backend}, {rows:?}, {small:?}, pitch {pitch:?}");
            let layout = Layout { rows: *rows, pitch };
            let x = Buffer::of(&layout.spread(x), layout.reach(), self.shifts[2]);
            let mut got = Buffer::<Moments>::new(rows.cols(), self.shifts[1]);
            let mut scratch = vec![f64::NAN; operation.scratch_len(*rows)];
            let mut args = MomentArgs::new().valid(padded.passed.rows()).scratch(&mut scratch);
            if let Some(pitch) = pitch {
                args = args.x_pitch(pitch);
            }
            if let Some(host) = &self.host {
                args = args.pool(host);
            }
            let result = operation.compute(&x, *rows, &mut got, args);
            let valid = padded.right && layout.fits(layout.reach());
            assert_eq!(result.is_ok(), valid, "{what}: {result:?}");
            if valid {
                written(&expected).assert_same(&written(&got), what);
            } else {
                assert!(got.is_untouched(), "{what}");
            }
        }
    }

    fn batch_norm(&self, eps: f64) -> BatchNorm {
        BatchNorm::new().with_eps(eps).with_unbiased_running_var(self.unbiased)
    }

    /// Of rows whose columns are the channels.
    fn check_batch_norm(&self, backend: Backend, padded: &Padded) {
        let Padded { x, rows, compact, small, affine, eps, .. } = padded;
        let (rows, small, cols) = (*rows, *small, rows.cols());
        let operation = configured!(self.batch_norm(*eps), backend, self);
        let what = format_args!("{backend}, {rows:?}, {small:?}, eps {eps:e}");

        let (mut y, mut left) = (compact.clone(), Left::new(cols));
        let trained = operation
            .forward_training(InOut::in_place(&mut y), small, left.args(affine))
            .is_ok()
            .then(|| left.written(&padded.spread(&y)));

        let (mut y, running) = (compact.clone(), Left::new(cols));
        let (m, v) = (&running.running_mean, &running.running_var);
        let inferred = operation
            .forward_inference(InOut::in_place(&mut y), small, m, v, padded.args())
            .is_ok()
            .then(|| Written::default().f32(&padded.spread(&y)));

        for &io in self.ios(backend, &Io::ALL) {
            let right = padded.right && self.pitches_fit(io, rows);
            let what = format_args!("{io:?}, {what}");
            let mut left = Left::new(cols);
            let mut scratch = vec![f64::NAN; operation.scratch_len(rows)];
            let mut args = left.args(affine).valid(padded.passed.rows());
            if !io.in_place() {
                args = args.scratch(&mut scratch);
            }
            if let Some(host) = &self.host {
                args = args.pool(host);
            }
            let y = self.call(io, (x, rows), |io| operation.forward_training(io, rows, args), what);
            if y.is_err() {
                Left::new(cols).written(&[]).assert_same(&left.written(&[]), what);
            }
            let got = y.map(|y| left.written(&y));
            compare(right, trained.as_ref(), got, format_args!("training, {what}"));

            let args = self.hosted(padded.args().valid(padded.passed.rows()));
            let y = self.call(
                io,
                (x, rows),
                |io| operation.forward_inference(io, rows, m, v, args),
                what,
            );
            let got = y.map(|y| Written::default().f32(&y));
            compare(right, inferred.as_ref(), got, format_args!("inference, {what}"));
        }
    }

    fn forward_rows<'y>(
        &self,
        backend: Backend,
        (operation, eps): (RowNorm, f64),
        io: InOut<'_, 'y>,
        rows: Rows,
        args: NormArgs<'_>,
    ) -> Result<&'y mut [f32], Error> {
        match operation {
            RowNorm::LayerNorm => {
                configured!(LayerNorm::new().with_eps(eps), backend, self).forward(io, rows, args)
            }
            RowNorm::RmsNorm => {
                configured!(RmsNorm::new().with_eps(eps), backend, self).forward(io, rows, args)
            }
        }
    }

    /// Rows with statistics of their own.
    fn check_rows(&self, backend: Backend, operation: RowNorm, padded: &Padded) {
        let Padded { x, rows, compact, small, eps, .. } = padded;
        let (rows, small, norm) = (*rows, *small, (operation, *eps));

        let (mut y, mut outputs) = (compact.clone(), Outputs::new(small.rows()));
        let args = outputs.args(operation, padded.args());
        let plain = self.forward_rows(backend, norm, InOut::in_place(&mut y), small, args).is_ok();
        let expected = plain.then(|| {
            let mut expected = Outputs::new(rows.rows());
            let mut of_valid = outputs.mean.iter().zip(outputs.rstd.iter());
            for (r, valid) in padded.filter.valid.iter().enumerate() {
                let (mean, rstd) =
                    if *valid { of_valid.next().expect("a valid row") } else { (&0.0, &0.0) };
                expected.rstd[r] = *rstd;
                if operation == RowNorm::LayerNorm {
                    expected.mean[r] = *mean;
                }
            }
            expected.written(&padded.spread(&y))
        });

        for &io in self.ios(backend, &Io::ALL) {
            let what = format_args!("{operation:?}, {io:?}, {backend}, {rows:?}, eps {eps:e}");
            let mut outputs = Outputs::new(rows.rows());
            let args = self.hosted(padded.args().valid(padded.passed.rows()));
            let args = outputs.args(operation, args);
            let forward = self.call(
                io,
                (x, rows),
                |io| self.forward_rows(backend, norm, io, rows, args),
                what,
            );
            let right = padded.right && self.pitches_fit(io, rows);
            compare(right, expected.as_ref(), outputs.after(forward), what);
        }
    }

    /// The rows as positions of samples.
    fn samples(&self, padded: &Padded) -> Samples {
        let (count, channels) = (padded.rows.rows(), padded.rows.cols());
        let positions = match self.valid_is {
            ValidIs::Lengths(_) => self.valid_is.steps(count),
            ValidIs::Packed | ValidIs::Bytes => divisor(count, self.positions),
        };
        let batch = count / positions;
        Samples { batch, positions, channels, channels_first: self.channels_first }
    }

    fn forward_groups<'y>(
        &self,
        backend: Backend,
        (groups_are, eps): (GroupsAre, f64),
        io: InOut<'_, 'y>,
        samples: Samples,
        args: NormArgs<'_>,
    ) -> Result<&'y mut [f32], Error> {
        let (shape, groups) = (samples.shape(), self.groups(groups_are, samples.channels));
        match groups_are {
            GroupsAre::GroupNorm => {
                let operation = GroupNorm::new().with_groups(groups).with_eps(eps);
                configured!(operation, backend, self).forward(io, shape, args)
            }
            GroupsAre::InstanceNorm => {
                configured!(InstanceNorm::new().with_eps(eps), backend, self)
                    .forward(io, shape, args)
            }
        }
    }

    fn groups(&self, groups_are: GroupsAre, channels: usize) -> usize {
        match groups_are {
            GroupsAre::GroupNorm => divisor(channels, self.groups),
            GroupsAre::InstanceNorm => channels,
        }
    }

    /// Groups of channels of every sample, beside every sample alone without its padding.
    fn check_groups(&self, backend: Backend, groups_are: GroupsAre, padded: &Padded) {
        let norm = (groups_are, padded.eps);
        let (samples, cols) = (self.samples(padded), padded.rows.cols());
        let groups = self.groups(groups_are, cols);
        let sets = samples.batch * groups;
        let valid_eps = eps_is_valid(padded.eps);

        let (mut compact, mut expected) = (Vec::new(), Outputs::new(sets));
        let mut matrices = padded.compact.as_slice();
        for (n, valid) in padded.filter.valid.chunks(samples.positions).enumerate() {
            let positions = valid.iter().filter(|valid| **valid).count();
            let matrix;
            (matrix, matrices) = matrices.split_at(positions * cols);
            let alone = Samples { batch: 1, positions, ..samples };
            let (mut y, of_sample) = (alone.of_matrix(matrix), n * groups..(n + 1) * groups);
            let mean = &mut expected.mean[of_sample.clone()];
            let args = padded.args().stats(mean, &mut expected.rstd[of_sample]);
            if valid_eps {
                self.forward_groups(backend, norm, InOut::in_place(&mut y), alone, args)
                    .expect("valid");
            }
            compact.extend(alone.as_matrix(&y));
        }
        let y = samples.of_matrix(&padded.spread(&compact));
        let expected = valid_eps.then(|| expected.written(&y));

        let laid = samples.of_matrix(&padded.x);
        for &io in self.ios(backend, &Io::CONTIGUOUS) {
            let what = format_args!(
                "{groups_are:?}, {io:?}, {backend}, {:?}, {groups} groups, eps {:e}",
                samples.shape(),
                padded.eps
            );
            let mut outputs = Outputs::new(sets);
            let args = self.hosted(padded.args().valid(padded.passed.rows()));
            let args = args.stats(&mut outputs.mean, &mut outputs.rstd);
            let forward = self.call(
                io,
                (&laid, padded.rows),
                |io| self.forward_groups(backend, norm, io, samples, args),
                what,
            );
            compare(padded.right, expected.as_ref(), outputs.after(forward), what);
        }
    }

    fn forward_channels<'y>(
        &self,
        backend: Backend,
        (operation, eps): (OfChannels, f64),
        io: InOut<'_, 'y>,
        samples: Samples,
        given: &Left,
        args: NormArgs<'_>,
    ) -> Result<&'y mut [f32], Error> {
        let shape = samples.shape();
        match operation {
            OfChannels::LayerNorm => {
                configured!(LayerNorm::new().with_eps(eps), backend, self).forward(io, shape, args)
            }
            OfChannels::Given => {
                let statistics = Statistics::of_columns(&given.mean, &given.rstd);
                configured!(NormalizeScaleShift::new(), backend, self)
                    .forward(io, shape, statistics, args)
            }
            OfChannels::Inference => {
                let (mean, var) = (&given.running_mean, &given.running_var);
                configured!(self.batch_norm(eps), backend, self)
                    .forward_inference(io, shape, mean, var, args)
            }
            OfChannels::Training => unreachable!("has arguments of its own"),
        }
    }

    /// Operations whose positions have no part in each other, beside the same with padding that is zeroed afterwards.
    fn check_channels(&self, backend: Backend, operation: OfChannels, padded: &Padded) {
        let (norm, cols) = ((operation, padded.eps), padded.rows.cols());
        let (samples, given) = (self.samples(padded), Left::new(cols));
        let laid = samples.of_matrix(&padded.x);
        let sets_are_written = matches!(operation, OfChannels::LayerNorm);
        let sets = if sets_are_written { padded.rows.rows() } else { 0 };

        let (mut y, mut outputs) = (laid.clone(), Outputs::new(sets));
        let args = if sets_are_written {
            outputs.args(RowNorm::LayerNorm, padded.args())
        } else {
            padded.args()
        };
        let io = InOut::in_place(&mut y);
        let plain = self.forward_channels(backend, norm, io, samples, &given, args).is_ok();
        let expected = plain.then(|| {
            let mut matrix = samples.as_matrix(&y);
            padded.filter.zero_padding(&mut matrix, cols);
            padded.filter.zero_statistics(&mut outputs.mean, 1);
            padded.filter.zero_statistics(&mut outputs.rstd, 1);
            outputs.written(&samples.of_matrix(&matrix))
        });

        for &io in self.ios(backend, &Io::CONTIGUOUS) {
            let what = format_args!(
                "{operation:?}, {io:?}, {backend}, {:?}, eps {:e}",
                samples.shape(),
                padded.eps
            );
            let mut outputs = Outputs::new(sets);
            let args = self.hosted(padded.args().valid(padded.passed.rows()));
            let args = if sets_are_written { outputs.args(RowNorm::LayerNorm, args) } else { args };
            let forward = self.call(
                io,
                (&laid, padded.rows),
                |io| self.forward_channels(backend, norm, io, samples, &given, args),
                what,
            );
            compare(padded.right, expected.as_ref(), outputs.after(forward), what);
        }
    }

    /// Channels by the statistics of a batch, beside the definition, `NormalizeScaleShift` by the statistics that come out, and
    /// a batch without padding where there is one of the same bits.
    fn check_training(&self, backend: Backend, padded: &Padded, known: &mut Expected) {
        let Padded { rows, compact, small, filter, affine, eps, .. } = padded;
        let (cols, n, samples) = (rows.cols(), small.rows(), self.samples(padded));
        let laid = samples.of_matrix(&padded.x);
        let shape = samples.shape();
        let operation = configured!(self.batch_norm(*eps), backend, self);
        let too_few = self.unbiased && n == 1 && cols > 0;
        let valid = padded.right && eps_is_valid(*eps) && !too_few;

        // Channels that come last are rows. Samples of one length are a batch of shorter ones.
        let mut counts = filter
            .valid
            .chunks(samples.positions)
            .map(|sample| sample.iter().filter(|valid| **valid).count());
        let first = counts.next().unwrap_or(0);
        let alone = match samples.channels_first {
            false => Some(Samples { batch: 1, positions: n, ..samples }),
            true if n > 0 && counts.all(|count| count == first) => {
                Some(Samples { positions: first, ..samples })
            }
            true => None,
        };
        let of_alone = alone.filter(|_| valid).and_then(|alone| {
            let (mut y, mut left) = (alone.of_matrix(compact), Left::new(cols));
            let io = InOut::in_place(&mut y);
            match operation.forward_training(io, alone.shape(), left.args(affine)) {
                Err(Error::StatisticOverflow { .. }) => return None,
                result => result.expect("valid"),
            };
            Some(left.written(&samples.of_matrix(&padded.spread(&alone.as_matrix(&y)))))
        });

        for &io in self.ios(backend, &Io::CONTIGUOUS) {
            let what = format_args!("training, {io:?}, {backend}, {shape:?}, {n}, eps {eps:e}");
            let mut left = Left::new(cols);
            let mut scratch = vec![f64::NAN; operation.scratch_len(shape)];
            let mut args = left.args(affine).valid(padded.passed.rows());
            if !io.in_place() {
                args = args.scratch(&mut scratch);
            }
            if let Some(host) = &self.host {
                args = args.pool(host);
            }
            let result = self.call(
                io,
                (&laid, *rows),
                |io| operation.forward_training(io, shape, args),
                what,
            );
            // Whether a variance leaves f32 is for `batch_norm` to check.
            let overflows = matches!(result, Err(Error::StatisticOverflow { .. }));
            assert_eq!(result.is_ok() || overflows, valid, "{what}: {result:?}");
            let Ok(y) = result else {
                Left::new(cols).written(&[]).assert_same(&left.written(&[]), what);
                continue;
            };
            if let Some(of_alone) = &of_alone {
                of_alone.assert_same(&left.written(&y), what);
            }
            let (mut again, args) = (laid.clone(), padded.args().valid(padded.passed.rows()));
            let statistics = Statistics::of_columns(&left.mean, &left.rstd);
            configured!(NormalizeScaleShift::new(), backend, self)
                .forward(InOut::in_place(&mut again), shape, statistics, args)
                .expect("valid");
            let again = Written::default().f32(&again);
            again.assert_same(&Written::default().f32(&y), format_args!("{what}, in two steps"));
            known.check(backend, left.written(&y), what, || {
                self.check_trained(padded, &samples.as_matrix(&y), &left, what);
            });
        }
    }

    fn check_trained(&self, padded: &Padded, y: &[f32], left: &Left, what: Arguments<'_>) {
        let Padded { rows, compact, small, filter, affine, eps, .. } = padded;
        let (cols, n, before) = (rows.cols(), small.rows(), Left::new(rows.cols()));
        if n == 0 || cols == 0 {
            let zeros = Left { mean: vec![0.0; cols], rstd: vec![0.0; cols], ..before };
            let nothing = zeros.written(&vec![0.0; y.len()]);
            return nothing.assert_same(&left.written(y), what);
        }
        let (mut valid_y, momentum) = (Vec::new(), Momentum::Keep(Parameter::Usual));
        for (y, valid) in lines(y, *rows).zip(&filter.valid) {
            match valid {
                true => valid_y.extend_from_slice(y),
                false => assert!(y.iter().all(|y| y.to_bits() == 0), "{what}: padding"),
            }
        }
        let rule = Rule { momentum, unbiased: self.unbiased, rows: n };
        for c in 0..cols {
            let what = format_args!("{what}, channel {c}");
            let (x, y) =
                (reference::column(compact, cols, c), reference::column(&valid_y, cols, c));
            let (exact, affine) = (Exact::of(&x), affine.at(c));
            let trained = Trained { x: &x, y: &y, mean: left.mean[c], rstd: left.rstd[c] };
            trained.check(&exact, *eps, affine, what);
            let of = |left: &Left| (left.running_mean[c], left.running_var[c]);
            rule.check(&exact, of(&before), of(left), what);
        }
    }

    /// The same matrix as rows whose first elements are valid.
    fn check_prefixes(&self, backend: Backend, x: &[f32], rows: Rows) {
        let mut random = Random(x.len() as u64);
        let lengths: Vec<usize> =
            (0..rows.rows()).map(|_| (random.bits() % (rows.cols() as u64 + 1)) as usize).collect();
        let operation =
            RowMoments::new().with_backend(backend).with_parallelism(self.threads.into());
        for pitch in [None, Some(pitches(rows, self.between)[0])] {
            let layout = Layout { rows, pitch };
            let wide = Buffer::of(&layout.spread(x), layout.reach(), self.shifts[2]);
            let mut got = Buffer::<Moments>::new(rows.rows(), self.shifts[1]);
            let mut args = MomentArgs::new().lengths(&lengths);
            if let Some(pitch) = pitch {
                args = args.x_pitch(pitch);
            }
            if let Some(host) = &self.host {
                args = args.pool(host);
            }
            let result = operation.compute(&wide, rows, &mut got, args);
            assert_eq!(result.is_ok(), layout.fits(layout.reach()), "{rows:?}, {pitch:?}");
            if result.is_err() {
                assert!(got.is_untouched(), "{rows:?}, {pitch:?}");
                continue;
            }
            for (r, &length) in lengths.iter().enumerate() {
                let mut own = [Moments::BEFORE];
                let row = &x[r * rows.cols()..][..length];
                let shape = Rows::new(1, length).expect("a part of a row");
                operation.compute(row, shape, &mut own, MomentArgs::new()).expect("a row");
                let bits = |m: &Moments| (m.count, bits64(m.mean), bits64(m.m2));
                assert_eq!(bits(&got[r]), bits(&own[0]), "{backend}, row {r}, {length}");
            }
        }
    }
}

/// Asserts that a call with padding did what the same did without, if that succeeded and what was passed is right.
#[track_caller]
fn compare(
    right: bool,
    expected: Option<&Written>,
    got: Result<Written, Error>,
    what: Arguments<'_>,
) {
    match (expected.filter(|_| right), got) {
        (Some(expected), Ok(got)) => expected.assert_same(&got, what),
        (None, Err(_)) => {}
        (expected, got) => panic!("{what}: {}, got {:?}", expected.is_some(), got.err()),
    }
}
