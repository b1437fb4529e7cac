//! Backward passes over rows, beside the definition in f64, with any options; with gates, beside other backends.
#![forbid(unsafe_code)]
#![no_main]

use arbitrary::Arbitrary;
use evenkeel::reference::{self, RowGradients};
use evenkeel::{
    Backend, Error, GateFunction, GatePlace, GradArgs, InOut, LayerNorm, NormArgs, Parallelism,
    RmsNorm, Rows, Stores,
};
use evenkeel_fuzz::*;
use libfuzzer_sys::fuzz_target;

/// The errors that are promised: of dx, as a part of `rstd * max|g| * (1 + |x_hat|)`; of dgamma, of the sum of
/// `|dy| * max(1, |x_hat|)`; of dbeta, of the sum of `|dy|`.
const DX: f64 = 7e-6;
const DGAMMA: f64 = 4e-6;
const DBETA: f64 = 1e-6;

#[derive(Arbitrary, Debug)]
struct Input {
    is_layer_norm: bool,
    matrix: Matrix,
    dy: Source,
    gamma: Option<Source>,
    dsum: Option<Source>,
    gate: Option<Gate>,
    eps: Parameter,
    /// Whether statistics are those that the forward pass wrote.
    saved: bool,
    /// Whether dgamma and dbeta are wanted, and dx.
    wants: [bool; 2],
    thorough: Thorough,
    threads: Threads,
    stores: StoresAre,
    shifts: [u8; 6],
    wrong: Wrong,
    between: [u8; 3],
    stored: StoredAs,
}

/// A gate, whose gradients are those of every backend, and have no bound here.
#[derive(Arbitrary, Debug)]
struct Gate {
    z: Source,
    by_sigmoid: bool,
    before_norm: bool,
}

fuzz_target!(|input: Continued<Input>| input.0.check());

/// How an operation is to run.
#[derive(Clone, Copy)]
struct Call {
    is_layer_norm: bool,
    backend: Backend,
    threads: Parallelism,
    stores: Stores,
    eps: f64,
    rows: Rows,
    gate: (GateFunction, GatePlace),
}

impl Call {
    fn backward<'a, T: Stored>(
        &self,
        io: InOut<'_, 'a, T>,
        x: &[T],
        args: GradArgs<'_>,
    ) -> Result<&'a mut [T], Error> {
        let Self { is_layer_norm, backend, threads, stores, eps, rows, gate: (function, place) } =
            *self;
        if is_layer_norm {
            let norm = LayerNorm::new().with_eps(eps).with_gate(function, place);
            let norm = norm.with_backend(backend).with_parallelism(threads);
            return norm.with_stores(stores).backward(io, x, rows, args);
        }
        let norm = RmsNorm::new().with_eps(eps).with_gate(function, place).with_backend(backend);
        norm.with_parallelism(threads).with_stores(stores).backward(io, x, rows, args)
    }
}

/// Gradients in f64, and what their errors are measured in.
struct Exact {
    dx: Vec<f64>,
    dx_scale: Vec<f64>,
    rstd: Vec<f64>,
    dgamma: Vec<f64>,
    dgamma_scale: Vec<f64>,
    dbeta: Vec<f64>,
    dbeta_scale: Vec<f64>,
    /// Whether all numbers are in the range of f32.
    in_range: bool,
}

impl Exact {
    fn new(call: Call, x: &[f32], dy: &[f32], gamma: Option<&[f32]>) -> Self {
        let cols = call.rows.cols();
        let columns = || vec![0.0; cols];
        let mut all = Self {
            dx: vec![0.0; x.len()],
            dx_scale: vec![0.0; x.len()],
            rstd: vec![0.0; x.len()],
            dgamma: columns(),
            dgamma_scale: columns(),
            dbeta: columns(),
            dbeta_scale: columns(),
            in_range: is_finite(x) && is_finite(dy) && gamma.is_none_or(is_finite),
        };
        for r in 0..if all.in_range { call.rows.rows() } else { 0 } {
            let row = r * cols..(r + 1) * cols;
            let (x, dy) = (&x[row.clone()], &dy[row.clone()]);
            let (mean, rstd) = if call.is_layer_norm {
                let (mean, var) = reference::mean_variance(x);
                (mean, reference::rstd(var, call.eps))
            } else {
                (0.0, reference::rstd(reference::mean_square(x), call.eps))
            };
            let gradients = &mut RowGradients {
                dx: &mut all.dx[row.clone()],
                dgamma: &mut all.dgamma,
                dbeta: &mut all.dbeta,
            };
            if call.is_layer_norm {
                reference::layer_norm_backward(dy, x, gamma, call.eps, gradients);
            } else {
                reference::rms_norm_backward(dy, x, gamma, call.eps, gradients);
            }
            let g = |c: usize| f64::from(dy[c]) * gamma.map_or(1.0, |gamma| f64::from(gamma[c]));
            let most = (0..cols).fold(0.0, |most: f64, c| most.max(g(c).abs()));
            for c in 0..cols {
                let (i, x_hat) = (row.start + c, (f64::from(x[c]) - mean) * rstd);
                let dy = f64::from(dy[c]).abs();
                all.dx_scale[i] = rstd * most * (1.0 + x_hat.abs());
                all.rstd[i] = rstd;
                all.dgamma_scale[c] += dy * x_hat.abs().max(1.0);
                all.dbeta_scale[c] += dy;
                let numbers =
                    [all.dx_scale[i], all.dgamma_scale[c], all.dbeta_scale[c], most, x_hat];
                // A mean / std that f64 does not hold has no bound.
                all.in_range &=
                    numbers.iter().all(|n| n.abs() < LARGEST) && (mean * rstd).abs() < 1e9;
            }
        }
        all
    }
}

/// The numbers of a backward pass.
struct Numbers<'a> {
    dy: &'a [f32],
    x: &'a [f32],
    gamma: Option<&'a [f32]>,
    dsum: Option<&'a [f32]>,
    z: Option<&'a [f32]>,
}

impl Numbers<'_> {
    /// What a backward pass of x and others of one type, and gamma of another, writes: dx and dgate rounded to R, and dgamma with dbeta
    /// after it. The numbers are first rounded to R, and gamma to Q.
    fn written<T: Stored, P: Stored, R: Stored, Q: Stored>(
        &self,
        call: Call,
        io: Io,
    ) -> Result<(Written, Vec<f64>), Error> {
        let as_stored = |x: &[f32]| narrowed::<T>(&rounded::<R>(x));
        let (mut dy, x) = (as_stored(self.dy), as_stored(self.x));
        let (dsum, z) = (self.dsum.map(as_stored), self.z.map(as_stored));
        let gamma = self.gamma.map(|gamma| narrowed::<P>(&rounded::<Q>(gamma)));
        let cols = call.rows.cols();
        let (mut dx, mut dz) = (vec![T::BEFORE; x.len()], vec![T::BEFORE; x.len()]);
        let (mut dgamma, mut dbeta) = (vec![0.0; cols], vec![0.0; cols]);
        let mut args = GradArgs::new().maybe_gamma(gamma.as_deref());
        args = args.dgamma(&mut dgamma).dbeta(&mut dbeta);
        if let Some(dsum) = &dsum {
            args = args.dsum(dsum);
        }
        if let Some(z) = &z {
            args = args.gate(z).dgate(&mut dz);
        }
        io.call_contiguous(&mut dy, &mut dx, |io| call.backward(io, &x, args))?;
        let dx = if io.in_place() { dy } else { dx };
        let written = Written::default().f32(&rounded::<R>(&widened(&dx)));
        let written = if z.is_some() { written.f32(&rounded::<R>(&widened(&dz))) } else { written };
        Ok((written, [dgamma, dbeta].concat()))
    }

    /// Elements of another type give what f32 gives for their numbers, rounded once. Gradients of parameters are those of f32 but for
    /// roundings: other blocks of rows are added.
    fn check_stored<T: Stored, P: Stored>(&self, call: Call, io: Io) {
        let half = self.written::<T, P, T, P>(call, io);
        let single = self.written::<f32, f32, T, P>(call, io);
        assert_eq!(half.is_ok(), single.is_ok());
        if let (Ok((half, half_sums)), Ok((single, single_sums))) = (half, single) {
            let name = std::any::type_name::<(T, P)>();
            let Call { is_layer_norm, backend, rows, eps, .. } = call;
            let what = format_args!(
                "{name}, {io:?}, {backend}, {rows:?}, eps {eps:e}, LayerNorm {is_layer_norm}"
            );
            single.assert_same(&half, what);
            let gate = |i: usize| self.z.map_or(1.0, |z| f64::from(z[i].abs()).max(1.0));
            let of_dy: f64 =
                self.dy.iter().enumerate().map(|(i, dy)| f64::from(dy.abs()) * gate(i)).sum();
            // No x_hat is larger than the root of its row's length. Rounding to R adds at most an eighth.
            let most = 1e-5 * of_dy * (rows.cols() as f64).sqrt() + 1e-40 * rows.rows() as f64;
            let in_range = most < 1e30;
            for (single, half) in single_sums.iter().zip(&half_sums) {
                let same = (single - half).abs() <= most || bits64(*single) == bits64(*half);
                assert!(!in_range || same, "{what}: {single:e}, of 16 bits {half:e}");
            }
        }
    }
}

impl Input {
    fn check(&self) {
        let (x, rows) = self.matrix.make(Lines::Rows);
        let (count, cols) = (rows.rows(), rows.cols());
        let dy = self.dy.values(x.len(), 1);
        let affine = Affine::new(&self.gamma, &None, cols);
        let dsum = self.dsum.as_ref().map(|dsum| dsum.values(x.len(), 2));
        let z = self.gate.as_ref().map(|gate| gate.z.values(x.len(), 3));
        let mut gate = (GateFunction::Silu, GatePlace::AfterNorm);
        if self.gate.as_ref().is_some_and(|gate| gate.by_sigmoid) {
            gate.0 = GateFunction::Sigmoid;
        }
        if self.gate.as_ref().is_some_and(|gate| gate.before_norm) {
            gate.1 = GatePlace::BeforeNorm;
        }
        let [wants_parameters, wants_dx] = self.wants;
        let eps = self.eps.value(1e-5);
        let pitches = pitches(rows, self.between);
        let of_forward_x = Layout { pitch: None, ..Io::TwoBuffers.layouts(rows, [cols; 2])[0] };
        let mut outputs = Expected::new();
        let mut exact = None;
        for backend in Backend::available() {
            let call = Call {
                is_layer_norm: self.is_layer_norm,
                backend,
                threads: self.threads.into(),
                stores: self.stores.into(),
                eps,
                rows,
                gate,
            };
            let numbers = Numbers {
                dy: &dy,
                x: &x,
                gamma: affine.gamma(),
                dsum: dsum.as_deref(),
                z: z.as_deref(),
            };
            for &io in if self.thorough.is(backend) { &Io::CONTIGUOUS[..] } else { &[Io::Uninit] } {
                for_stored!(self.stored, numbers.check_stored(call, io));
            }
            for &io in if self.thorough.is(backend) { &Io::ALL[..] } else { &Io::ALL[..1] } {
                let what =
                    format_args!("{io:?}, {backend}, {rows:?}, {pitches:?}, eps {eps:e}, {self:?}");
                let [of_dy, of_dx] = io.layouts(rows, [pitches[0], pitches[1]]);
                let right =
                    [of_dy.reach(), of_dx.reach(), of_forward_x.reach(), cols, x.len(), cols];
                let lengths = lengths(right, self.wrong);
                let fits = |i: usize| lengths[i] == right[i];
                let mut passed = Buffer::of(&of_dy.spread(&dy), lengths[0], self.shifts[0]);
                let mut dx = Buffer::new(lengths[1], self.shifts[1]);
                let passed_x = Buffer::of(&x, lengths[2], self.shifts[2]);
                let gamma =
                    affine.gamma().map(|gamma| Buffer::of(gamma, lengths[3], self.shifts[3]));
                let dsum = dsum.as_ref().map(|dsum| Buffer::of(dsum, lengths[4], self.shifts[4]));
                let (mut dgamma, mut dbeta) =
                    (Buffer::<f64>::new(lengths[5], 0), Buffer::<f64>::new(cols, self.shifts[5]));
                let mut args = GradArgs::new().maybe_gamma(gamma.as_deref());
                if wants_parameters {
                    args = args.dgamma(&mut dgamma).dbeta(&mut dbeta);
                }
                if let Some(dsum) = &dsum {
                    args = args.dsum(dsum);
                }
                let mut dz = Buffer::<f32>::new(x.len(), self.shifts[0]);
                if let Some(z) = &z {
                    args = args.gate(z).dgate(&mut dz);
                }
                let mut statistics = [vec![0.0; count], vec![0.0; count]];
                if self.saved && eps_is_valid(eps) {
                    let mut y = vec![0.0; x.len()];
                    let (io, [mean, rstd]) = (InOut::new(&x, &mut y), &mut statistics);
                    let args = match &z {
                        Some(z) => NormArgs::new().gate(z),
                        None => NormArgs::new(),
                    };
                    let result = if call.is_layer_norm {
                        let norm = LayerNorm::new().with_eps(eps).with_gate(gate.0, gate.1);
                        norm.with_backend(backend).forward(io, rows, args.stats(mean, rstd))
                    } else {
                        let norm = RmsNorm::new().with_eps(eps).with_gate(gate.0, gate.1);
                        norm.with_backend(backend).forward(io, rows, args.rstd(rstd))
                    };
                    result.expect("the buffers fit");
                }
                let [mean, rstd] = &statistics;
                if self.saved && eps_is_valid(eps) {
                    args =
                        if call.is_layer_norm { args.stats(mean, rstd) } else { args.rstd(rstd) };
                }
                let (dy_before, dx_before) = (passed.to_vec(), dx.to_vec());
                let valid = of_dy.fits(lengths[0])
                    && (!wants_dx || io.in_place() || of_dx.fits(lengths[1]))
                    && of_forward_x.fits(lengths[2])
                    && (gamma.is_none() || fits(3))
                    && (dsum.is_none() || wants_dx && fits(4))
                    && (!wants_parameters || fits(5))
                    && eps_is_valid(eps);
                let result = if wants_dx {
                    io.call(&mut passed, &mut dx, [pitches[0], pitches[1]], |io| {
                        call.backward(io, &passed_x, args)
                    })
                } else {
                    let io = match of_dy.pitch {
                        Some(pitch) => InOut::strided_read_only(&passed, pitch),
                        None => InOut::read_only(&passed),
                    };
                    call.backward(io, &passed_x, args).map(drop)
                };
                assert_eq!(result.is_ok(), valid, "{what}: {result:?}");
                let y = io.written(
                    valid && wants_dx,
                    [of_dy, of_dx],
                    [&dy_before, &passed],
                    [&dx_before, &dx],
                    what,
                );
                if !valid {
                    continue;
                }
                let y = y.unwrap_or_default();
                let written = Written::default().f32(&y).f32(&dz).f64(&dgamma).f64(&dbeta);
                let exact = exact.get_or_insert_with(|| Exact::new(call, &x, &dy, affine.gamma()));
                outputs.check(backend, written, what, || {
                    if !exact.in_range || z.is_some() {
                        return;
                    }
                    if dsum.is_none() {
                        for (i, &dx) in y.iter().enumerate() {
                            let bound = DX * exact.dx_scale[i] + SUBNORMAL * (1.0 + exact.rstd[i]);
                            let error = (f64::from(dx) - exact.dx[i]).abs();
                            assert!(error <= bound, "{what}: dx {i}: {error:e}, bound {bound:e}");
                        }
                    }
                    for c in 0..if wants_parameters { cols } else { 0 } {
                        let bound = DGAMMA * exact.dgamma_scale[c] + count as f64 * SUBNORMAL;
                        let error = (dgamma[c] - exact.dgamma[c]).abs();
                        assert!(error <= bound, "{what}: dgamma {c}: {error:e}, bound {bound:e}");
                        let error = (dbeta[c] - exact.dbeta[c]).abs();
                        let bound = DBETA * exact.dbeta_scale[c];
                        assert!(error <= bound, "{what}: dbeta {c}: {error:e}, bound {bound:e}");
                    }
                });
            }
        }
    }
}
