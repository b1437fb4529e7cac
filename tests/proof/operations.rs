//! Every method that takes buffers, called once or more, for the laws that are about all of them.
//!
//! `listed.rs` finds a method that is left out.
#![expect(unsafe_code, reason = "as an engine hands out memory that it has not initialised")]

use std::mem::MaybeUninit;

use evenkeel::{
    Backend, BatchNorm, Channels, ColumnMoments, Dropout, Error, GroupNorm, InstanceNorm,
    LayerNorm, Mask, MaskMut, MinMaxScaler, Moments, Norm, NormalizeScaleShift, Normalizer,
    Parallelism, Regularizer, RmsNorm, RowMoments, Rows, RunningStatistics, StandardScaler, Stores,
    Stream, ValidRows,
};

use crate::common::{LANES, Random};
use crate::dropout::pack;

/// How every method is called.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    pub backend: Backend,
    pub parallelism: Parallelism,
    pub stores: Stores,
    pub rows: Rows,
    pub eps: f64,
    /// Whether there is a gamma, and a beta.
    pub affine: (bool, bool),
    pub p: f64,
    pub offset: u64,
}

/// What methods read. Statistics are one a row, or one a column.
#[derive(Debug)]
pub struct Inputs<'a> {
    pub x: &'a [f32],
    /// The rows of x at [`x_pitch`], [`PAINT`] between them.
    pub wide: &'a [f32],
    /// A residual, or a gate, of every element of x.
    pub z: &'a [f32],
    pub gamma: &'a [f32],
    pub beta: &'a [f32],
    pub running_mean: &'a [f32],
    pub running_var: &'a [f32],
    pub row_mean: &'a [f64],
    pub row_rstd: &'a [f64],
    pub col_mean: &'a [f64],
    pub col_rstd: &'a [f64],
    pub bits: &'a [u8],
    pub bytes: &'a [u8],
    /// A mask of rows, as bits and as bytes, in which row 0 is valid.
    pub row_bits: &'a [u8],
    pub row_bytes: &'a [u8],
    /// Of each row, whether it is valid, and how many of its elements are.
    pub row_lengths: &'a [usize],
    pub lengths: &'a [usize],
}

/// What methods write, as long as the input of the same kind; `xy` is worked on in place.
#[derive(Debug)]
pub struct Outputs<'a> {
    pub y: &'a mut [f32],
    pub xy: &'a mut [f32],
    /// A residual that is updated, or a sum.
    pub residual: &'a mut [f32],
    /// Rows at [`y_pitch`], and rows at [`x_pitch`] that are worked on in place. What lies between rows is to stay.
    pub wide_y: &'a mut [f32],
    pub wide_xy: &'a mut [f32],
    pub running_mean: &'a mut [f32],
    pub running_var: &'a mut [f32],
    pub row_mean: &'a mut [f64],
    pub row_rstd: &'a mut [f64],
    pub col_mean: &'a mut [f64],
    pub col_rstd: &'a mut [f64],
    pub row_moments: &'a mut [Moments],
    pub col_moments: &'a mut [Moments],
    /// As long as [`ColumnMoments::scratch_len`] has it.
    pub scratch: &'a mut [f64],
    pub bits: &'a mut [u8],
    pub bytes: &'a mut [u8],
}

/// What lies between rows at a pitch: a NaN, so that whatever is made of it is one.
pub const PAINT: f32 = f32::from_bits(0xffe5_a5a5);

/// From the beginning of a row of [`Inputs::wide`] to that of the next.
pub fn x_pitch(rows: Rows) -> usize {
    rows.cols() + 3
}

/// The same of [`Outputs::wide_y`], where rows of whole lines begin alike in their lines.
pub fn y_pitch(rows: Rows) -> usize {
    rows.cols() + LANES
}

/// The elements from the beginning of the first row to the end of the last.
pub fn reach(rows: Rows, pitch: usize) -> usize {
    rows.rows().checked_sub(1).map_or(0, |before| before * pitch + rows.cols())
}

/// The values of inputs.
pub struct Values {
    pub x: Vec<f32>,
    pub wide: Vec<f32>,
    pub z: Vec<f32>,
    pub gamma: Vec<f32>,
    pub beta: Vec<f32>,
    pub running_mean: Vec<f32>,
    pub running_var: Vec<f32>,
    pub row_mean: Vec<f64>,
    pub row_rstd: Vec<f64>,
    pub col_mean: Vec<f64>,
    pub col_rstd: Vec<f64>,
    pub bits: Vec<u8>,
    pub bytes: Vec<u8>,
    pub row_bits: Vec<u8>,
    pub row_bytes: Vec<u8>,
    pub row_lengths: Vec<usize>,
    pub lengths: Vec<usize>,
}

impl Values {
    /// For an x whose elements are about as large as `scale`.
    pub fn new(rows: Rows, x: Vec<f32>, scale: f32, random: &mut Random) -> Self {
        let (count, cols) = (rows.rows(), rows.cols());
        let mut means = |len| (0..len).map(|_| random.normal() * f64::from(scale)).collect();
        let (row_mean, col_mean) = (means(count), means(cols));
        let mut rstds = |len| (0..len).map(|_| random.uniform() / f64::from(scale)).collect();
        let (row_rstd, col_rstd) = (rstds(count), rstds(cols));
        let mut bytes = |len| (0..len).map(|_| random.bits() as u8).collect();
        let (bits, bytes) = (bytes(x.len().div_ceil(8)), bytes(x.len()));
        let valid: Vec<bool> = (0..count).map(|r| r == 0 || random.below(3) > 0).collect();
        let row_bytes: Vec<u8> = valid.iter().map(|&valid| u8::from(valid)).collect();
        let lengths = (0..count).map(|_| random.below(cols + 1)).collect();
        let mut wide = vec![PAINT; reach(rows, x_pitch(rows))];
        for (r, wide) in wide.chunks_mut(x_pitch(rows)).enumerate() {
            wide[..cols].copy_from_slice(&x[r * cols..][..cols]);
        }
        Self {
            wide,
            z: random.normals(x.len()).iter().map(|z| z * scale).collect(),
            gamma: random.normals(cols),
            beta: random.normals(cols),
            running_mean: random.normals(cols).iter().map(|mean| mean * scale).collect(),
            running_var: random.normals(cols).iter().map(|std| std.abs() * scale).collect(),
            x,
            row_mean,
            row_rstd,
            col_mean,
            col_rstd,
            bits,
            bytes,
            row_bits: pack(&row_bytes),
            row_bytes,
            row_lengths: valid.into_iter().map(usize::from).collect(),
            lengths,
        }
    }

    pub fn view(&self) -> Inputs<'_> {
        Inputs {
            x: &self.x,
            wide: &self.wide,
            z: &self.z,
            gamma: &self.gamma,
            beta: &self.beta,
            running_mean: &self.running_mean,
            running_var: &self.running_var,
            row_mean: &self.row_mean,
            row_rstd: &self.row_rstd,
            col_mean: &self.col_mean,
            col_rstd: &self.col_rstd,
            bits: &self.bits,
            bytes: &self.bytes,
            row_bits: &self.row_bits,
            row_bytes: &self.row_bytes,
            row_lengths: &self.row_lengths,
            lengths: &self.lengths,
        }
    }
}

/// Memory for outputs, where it does not matter where they lie.
pub struct Buffers {
    pub y: Vec<f32>,
    pub xy: Vec<f32>,
    pub residual: Vec<f32>,
    pub wide_y: Vec<f32>,
    pub wide_xy: Vec<f32>,
    pub running_mean: Vec<f32>,
    pub running_var: Vec<f32>,
    pub row_mean: Vec<f64>,
    pub row_rstd: Vec<f64>,
    pub col_mean: Vec<f64>,
    pub col_rstd: Vec<f64>,
    pub row_moments: Vec<Moments>,
    pub col_moments: Vec<Moments>,
    pub scratch: Vec<f64>,
    pub bits: Vec<u8>,
    pub bytes: Vec<u8>,
}

impl Buffers {
    pub fn new(rows: Rows) -> Self {
        let (count, cols, len) = (rows.rows(), rows.cols(), rows.elements());
        Self {
            y: vec![0.0; len],
            xy: vec![0.0; len],
            residual: vec![0.0; len],
            wide_y: vec![0.0; reach(rows, y_pitch(rows))],
            wide_xy: vec![0.0; reach(rows, x_pitch(rows))],
            running_mean: vec![0.0; cols],
            running_var: vec![0.0; cols],
            row_mean: vec![0.0; count],
            row_rstd: vec![0.0; count],
            col_mean: vec![0.0; cols],
            col_rstd: vec![0.0; cols],
            row_moments: vec![Moments::new(); count],
            col_moments: vec![Moments::new(); cols],
            scratch: vec![0.0; ColumnMoments::new().scratch_len(rows)],
            bits: vec![0; len.div_ceil(8)],
            bytes: vec![0; len],
        }
    }

    pub fn view(&mut self) -> Outputs<'_> {
        Outputs {
            y: &mut self.y,
            xy: &mut self.xy,
            residual: &mut self.residual,
            wide_y: &mut self.wide_y,
            wide_xy: &mut self.wide_xy,
            running_mean: &mut self.running_mean,
            running_var: &mut self.running_var,
            row_mean: &mut self.row_mean,
            row_rstd: &mut self.row_rstd,
            col_mean: &mut self.col_mean,
            col_rstd: &mut self.col_rstd,
            row_moments: &mut self.row_moments,
            col_moments: &mut self.col_moments,
            scratch: &mut self.scratch,
            bits: &mut self.bits,
            bytes: &mut self.bytes,
        }
    }
}

fn uninit(y: &mut [f32]) -> &mut [MaybeUninit<f32>] {
    let y: *mut [f32] = y;
    // SAFETY: the layout is the same, and the operations write nothing but numbers to it.
    unsafe { &mut *(y as *mut [MaybeUninit<f32>]) }
}

/// What a test does around every call.
pub trait Around {
    /// Is to make the call, whose text is `method`.
    fn call(&mut self, method: &'static str, call: &mut dyn FnMut() -> Result<(), Error>);

    /// Is shown the outputs before the call.
    fn before(&mut self, _: Outputs<'_>) {}

    /// Is shown the outputs after the call.
    fn after(&mut self, _: &'static str, _: Outputs<'_>) {}
}

/// A closure makes the calls, and looks at no outputs.
impl<F: FnMut(&'static str, &mut dyn FnMut() -> Result<(), Error>)> Around for F {
    fn call(&mut self, method: &'static str, call: &mut dyn FnMut() -> Result<(), Error>) {
        self(method, call);
    }
}

/// Asserts that nothing is between rows at a pitch but paint.
fn assert_painted(method: &str, wide: &[f32], pitch: usize, cols: usize) {
    let between = wide.chunks(pitch).flat_map(|row| &row[cols..]);
    let painted = between.fold(true, |all, x| all & (x.to_bits() == PAINT.to_bits()));
    assert!(painted, "{method}: written between rows of {cols} elements");
}

impl Call {
    /// Statistics that scalers have seen, whatever x is: moments, and maxima whose minima are the running means.
    fn seen(inputs: &Inputs<'_>) -> (Vec<Moments>, Vec<f32>) {
        let columns = inputs.col_mean.iter().zip(inputs.col_rstd);
        let moments =
            columns.map(|(&mean, &m2)| Moments { count: 9, mean, mean_low: 0.0, m2: m2.abs() });
        let spread = inputs.running_mean.iter().zip(inputs.running_var);
        (moments.collect(), spread.map(|(mean, var)| mean + var).collect())
    }

    /// Hands every method to `around`. Those that write a statistic of every row or column refuse empty ones.
    pub fn every_method(
        &self,
        inputs: &Inputs<'_>,
        outputs: &mut Outputs<'_>,
        around: &mut dyn Around,
    ) {
        macro_rules! configured {
            ($operation:expr) => {
                $operation
                    .with_backend(self.backend)
                    .with_parallelism(self.parallelism)
                    .with_stores(self.stores)
            };
        }
        let layer_norm = configured!(LayerNorm::new().with_eps(self.eps));
        let rms_norm = configured!(RmsNorm::new().with_eps(self.eps));
        let normalize = configured!(NormalizeScaleShift::new());
        let batch_norm = configured!(BatchNorm::new().with_eps(self.eps));
        let group_norm = configured!(GroupNorm::new().with_groups(1).with_eps(self.eps));
        let instance_norm = configured!(InstanceNorm::new().with_eps(self.eps));
        let dropout = configured!(Dropout::new().with_p(self.p));
        let regularizer = configured!(Regularizer::new().with_l1(0.01).with_l2(self.p));
        let row_moments =
            RowMoments::new().with_backend(self.backend).with_parallelism(self.parallelism);
        let column_moments =
            ColumnMoments::new().with_backend(self.backend).with_parallelism(self.parallelism);

        let normalizer = configured!(Normalizer::new());
        let (seen, max) = Self::seen(inputs);
        let standard = StandardScaler::from_moments(&seen).expect("moments of some values");
        let min_max = MinMaxScaler::from_ranges(inputs.running_mean, &max);
        let min_max = min_max.expect("ranges of some values");
        let (standard, min_max) = (configured!(standard), configured!(min_max));
        let clipping = min_max.clone().with_clip(true);
        let (mut new_standard, mut new_min_max) = (standard.clone(), min_max.clone());
        let mut moments = Moments::new();

        let (rows, stream) = (self.rows, Stream { seed: 5, offset: self.offset });
        let Inputs { x, wide, z, row_mean, row_rstd, col_mean, col_rstd, .. } = *inputs;
        let Inputs { bits, bytes, .. } = *inputs;
        let (x_pitch, y_pitch) = (x_pitch(rows), y_pitch(rows));
        let bit_mask = ValidRows::Mask(Mask::Packed(inputs.row_bits));
        let byte_mask = ValidRows::Mask(Mask::Bytes(inputs.row_bytes));
        let lengths = ValidRows::Lengths { lengths: inputs.row_lengths, steps: 1 };
        let (m, v) = (inputs.running_mean, inputs.running_var);
        let gamma = self.affine.0.then_some(inputs.gamma);
        let beta = self.affine.1.then_some(inputs.beta);
        let (y, scratch) = (&mut *outputs.y, &mut *outputs.scratch);
        let (residual, wide_y) = (&mut *outputs.residual, &mut *outputs.wide_y);
        let (running_mean, running_var) = (&mut *outputs.running_mean, &mut *outputs.running_var);
        let (of_rows, and_rows) = (&mut *outputs.row_mean, &mut *outputs.row_rstd);
        let (of_cols, and_cols) = (&mut *outputs.col_mean, &mut *outputs.col_rstd);
        let (new_bits, new_bytes) = (&mut *outputs.bits, &mut *outputs.bytes);

        // The rows as images: each the only channel of one; each a channel of the same; each a position of the same.
        let (count, cols) = (rows.rows(), rows.cols());
        let shape = |shape: Result<Channels, Error>| shape.expect("as many elements as rows have");
        let planes = shape(Channels::first(count, cols.min(1), cols));
        let first = shape(Channels::first(1, count, cols));
        let last = shape(Channels::last(1, count, cols));
        let one = cols.min(1);
        let (gamma_1, beta_1) = (gamma.map(|of| &of[..one]), beta.map(|of| &of[..one]));
        // Their valid positions: of planes those of a mask or the first ones, of channels first the first half. Of channels
        // last they are those of rows.
        let plane_mask = ValidRows::Mask(Mask::Packed(bits));
        let prefixes = ValidRows::Lengths { lengths: inputs.lengths, steps: cols };
        let half = ValidRows::Lengths { lengths: &[cols / 2], steps: cols };
        // There are as many as there are columns.
        let [gamma_n, beta_n] = [gamma, beta].map(|of| of.and_then(|of| of.get(..count)));

        // What is worked on in place begins with the input's values.
        macro_rules! xy {
            () => {{
                outputs.xy.copy_from_slice(x);
                &mut *outputs.xy
            }};
        }
        macro_rules! wide_xy {
            () => {{
                outputs.wide_xy.copy_from_slice(wide);
                &mut *outputs.wide_xy
            }};
        }
        macro_rules! residual {
            () => {{
                residual.copy_from_slice(z);
                &mut *residual
            }};
        }
        macro_rules! running {
            () => {{
                running_mean.copy_from_slice(m);
                running_var.copy_from_slice(v);
                Some(RunningStatistics { mean: &mut *running_mean, var: &mut *running_var })
            }};
        }
        macro_rules! outputs {
            () => {
                Outputs {
                    y: &mut *y,
                    xy: &mut *outputs.xy,
                    residual: &mut *residual,
                    wide_y: &mut *wide_y,
                    wide_xy: &mut *outputs.wide_xy,
                    running_mean: &mut *running_mean,
                    running_var: &mut *running_var,
                    row_mean: &mut *of_rows,
                    row_rstd: &mut *and_rows,
                    col_mean: &mut *of_cols,
                    col_rstd: &mut *and_cols,
                    row_moments: &mut *outputs.row_moments,
                    col_moments: &mut *outputs.col_moments,
                    scratch: &mut *scratch,
                    bits: &mut *new_bits,
                    bytes: &mut *new_bytes,
                }
            };
        }
        macro_rules! call {
            ($($method:expr;)+) => {$(
                let method = stringify!($method);
                around.before(outputs!());
                around.call(method, &mut || $method.map(drop));
                // No other method is handed rows at a pitch.
                if method.contains("wide") {
                    assert_painted(method, wide_y, y_pitch, cols);
                    assert_painted(method, outputs.wide_xy, x_pitch, cols);
                }
                around.after(method, outputs!());
            )+};
        }
        wide_y.fill(PAINT);
        outputs.wide_xy.copy_from_slice(wide);
        call! {
            layer_norm.forward(x, gamma, beta, rows, y);
            layer_norm.forward_in_place(xy!(), gamma, beta, rows);
            layer_norm.forward_uninit(x, gamma, beta, rows, uninit(y));
            layer_norm.forward_with_stats(x, gamma, beta, rows, y, of_rows, and_rows);
            layer_norm.forward_in_place_with_stats(xy!(), gamma, beta, rows, of_rows, and_rows);
            layer_norm
                .forward_uninit_with_stats(x, gamma, beta, rows, uninit(y), of_rows, and_rows);
            rms_norm.forward(x, gamma, beta, rows, y);
            rms_norm.forward_in_place(xy!(), gamma, beta, rows);
            rms_norm.forward_uninit(x, gamma, beta, rows, uninit(y));
            rms_norm.forward_with_stats(x, gamma, beta, rows, y, of_rows);
            rms_norm.forward_in_place_with_stats(xy!(), gamma, beta, rows, of_rows);
            rms_norm.forward_uninit_with_stats(x, gamma, beta, rows, uninit(y), of_rows);
            layer_norm.forward_residual(x, z, gamma, beta, rows, y, None);
            layer_norm.forward_residual(x, z, gamma, beta, rows, y, Some(residual));
            layer_norm
                .forward_residual_with_stats(x, z, gamma, beta, rows, y, None, of_rows, and_rows);
            layer_norm.forward_update_residual(x, residual!(), gamma, beta, rows, y);
            layer_norm.forward_update_residual_with_stats(
                x, residual!(), gamma, beta, rows, y, of_rows, and_rows);
            layer_norm.forward_update_residual_in_place(xy!(), residual!(), gamma, beta, rows);
            layer_norm.forward_update_residual_in_place_with_stats(
                xy!(), residual!(), gamma, beta, rows, of_rows, and_rows);
            rms_norm.forward_residual(x, z, gamma, beta, rows, y, None);
            rms_norm.forward_residual(x, z, gamma, beta, rows, y, Some(residual));
            rms_norm
                .forward_residual_with_stats(x, z, gamma, beta, rows, y, Some(residual), of_rows);
            rms_norm.forward_update_residual(x, residual!(), gamma, beta, rows, y);
            rms_norm
                .forward_update_residual_with_stats(x, residual!(), gamma, beta, rows, y, of_rows);
            rms_norm.forward_update_residual_in_place(xy!(), residual!(), gamma, beta, rows);
            rms_norm.forward_update_residual_in_place_with_stats(
                xy!(), residual!(), gamma, beta, rows, of_rows);
            layer_norm.forward_strided(wide, x_pitch, gamma, beta, rows, wide_y, y_pitch);
            layer_norm.forward_strided_in_place(wide_xy!(), x_pitch, gamma, beta, rows);
            rms_norm.forward_strided(wide, x_pitch, gamma, beta, rows, wide_y, y_pitch);
            rms_norm.forward_strided_in_place(wide_xy!(), x_pitch, gamma, beta, rows);
            normalize.forward_strided(
                wide, x_pitch, row_mean, row_rstd, gamma, beta, rows, wide_y, y_pitch);
            normalize.forward_strided_in_place(
                wide_xy!(), x_pitch, row_mean, row_rstd, gamma, beta, rows);
            row_moments.compute_strided(wide, x_pitch, rows, outputs.row_moments);
            rms_norm.forward_gated(x, z, gamma, rows, y);
            rms_norm.forward_gated_in_place(xy!(), z, gamma, rows);
            rms_norm.forward_gated_uninit(x, z, gamma, rows, uninit(y));
            normalize.forward(x, row_mean, row_rstd, gamma, beta, rows, y);
            normalize.forward_in_place(xy!(), row_mean, row_rstd, gamma, beta, rows);
            normalize.forward_uninit(x, row_mean, row_rstd, gamma, beta, rows, uninit(y));
            normalize.forward_columns(x, col_mean, col_rstd, gamma, beta, rows, y);
            normalize.forward_columns_in_place(xy!(), col_mean, col_rstd, gamma, beta, rows);
            normalize.forward_columns_uninit(x, col_mean, col_rstd, gamma, beta, rows, uninit(y));
            batch_norm
                .forward_training(x, gamma, beta, rows, y, of_cols, and_cols, running!());
            batch_norm.forward_training_with_scratch(
                x, gamma, beta, rows, y, of_cols, and_cols, running!(), scratch);
            batch_norm.forward_training_in_place(
                xy!(), gamma, beta, rows, of_cols, and_cols, running!());
            batch_norm.forward_training_in_place_with_scratch(
                xy!(), gamma, beta, rows, of_cols, and_cols, running!(), scratch);
            batch_norm.forward_training_uninit(
                x, gamma, beta, rows, uninit(y), of_cols, and_cols, running!(), scratch);
            batch_norm.forward_inference(x, m, v, gamma, beta, rows, y);
            batch_norm.forward_inference_in_place(xy!(), m, v, gamma, beta, rows);
            batch_norm.forward_inference_uninit(x, m, v, gamma, beta, rows, uninit(y));
            batch_norm.forward_training_masked(
                x, bit_mask, gamma, beta, rows, y, of_cols, and_cols, running!());
            batch_norm.forward_training_masked_with_scratch(
                x, byte_mask, gamma, beta, rows, y, of_cols, and_cols, running!(), scratch);
            batch_norm.forward_training_masked_in_place(
                xy!(), lengths, gamma, beta, rows, of_cols, and_cols, running!());
            batch_norm.forward_training_masked_in_place_with_scratch(
                xy!(), bit_mask, gamma, beta, rows, of_cols, and_cols, running!(), scratch);
            batch_norm.forward_training_masked_uninit(
                x, lengths, gamma, beta, rows, uninit(y), of_cols, and_cols, running!(), scratch);
            batch_norm.forward_inference_masked(x, bit_mask, m, v, gamma, beta, rows, y);
            batch_norm.forward_inference_masked_in_place(
                xy!(), byte_mask, m, v, gamma, beta, rows);
            batch_norm.forward_inference_masked_uninit(
                x, lengths, m, v, gamma, beta, rows, uninit(y));
            group_norm.forward(x, gamma_1, beta_1, planes, y);
            group_norm
                .forward_with_stats(x, gamma_1, beta_1, planes, y, of_rows, and_rows);
            group_norm.forward_with_scratch(
                x, gamma_1, beta_1, planes, y, of_rows, and_rows, &mut []);
            group_norm.forward_in_place(xy!(), gamma_1, beta_1, planes);
            group_norm.forward_in_place_with_stats(
                xy!(), gamma_1, beta_1, planes, of_rows, and_rows);
            group_norm.forward_uninit(x, gamma_n, beta_n, first, uninit(y));
            group_norm.forward(x, gamma, beta, last, y);
            group_norm.forward_in_place(xy!(), gamma, beta, last);
            group_norm.forward_in_place_with_scratch(
                xy!(), gamma, beta, last, &mut [0.0], &mut [0.0], scratch);
            group_norm.forward_uninit_with_scratch(
                x, gamma, beta, last, uninit(y), &mut [0.0], &mut [0.0], scratch);
            instance_norm.forward(x, gamma_n, beta_n, first, y);
            instance_norm.forward_with_stats(x, gamma_n, beta_n, first, y, of_rows, and_rows);
            instance_norm.forward_in_place(xy!(), gamma_n, beta_n, first);
            instance_norm.forward_in_place(xy!(), gamma, beta, last);
            instance_norm.forward_uninit(x, gamma, beta, last, uninit(y));
            instance_norm.forward_in_place_with_stats(
                xy!(), gamma_n, beta_n, first, of_rows, and_rows);
            instance_norm.forward_uninit_with_scratch(
                x, gamma_n, beta_n, first, uninit(y), of_rows, and_rows, &mut []);
            instance_norm.forward_with_scratch(
                x, gamma, beta, last, y, of_cols, and_cols, scratch);
            instance_norm.forward_in_place_with_scratch(
                xy!(), gamma, beta, last, of_cols, and_cols, scratch);
            instance_norm.forward_uninit_with_scratch(
                x, gamma, beta, last, uninit(y), of_cols, and_cols, scratch);
            instance_norm.forward_masked(x, plane_mask, gamma_1, beta_1, planes, y);
            instance_norm.forward_masked(x, half, gamma_n, beta_n, first, y);
            instance_norm.forward_masked(x, bit_mask, gamma, beta, last, y);
            instance_norm.forward_masked_with_stats(
                x, byte_mask, gamma, beta, last, y, of_cols, and_cols);
            instance_norm.forward_masked_with_stats(
                x, half, gamma_n, beta_n, first, y, of_rows, and_rows);
            instance_norm.forward_masked_in_place(xy!(), prefixes, gamma_1, beta_1, planes);
            instance_norm.forward_masked_in_place(xy!(), lengths, gamma, beta, last);
            instance_norm.forward_masked_uninit(x, prefixes, gamma_1, beta_1, planes, uninit(y));
            instance_norm.forward_masked_uninit(x, byte_mask, gamma, beta, last, uninit(y));
            layer_norm.forward_channels(x, gamma_n, beta_n, first, y);
            layer_norm.forward_channels_in_place(xy!(), gamma_n, beta_n, first);
            layer_norm.forward_channels_uninit(x, gamma_n, beta_n, first, uninit(y));
            layer_norm
                .forward_channels_with_stats(x, gamma_n, beta_n, first, y, of_cols, and_cols);
            layer_norm.forward_channels_in_place_with_stats(
                xy!(), gamma_n, beta_n, first, of_cols, and_cols);
            layer_norm.forward_channels_uninit_with_stats(
                x, gamma, beta, last, uninit(y), of_rows, and_rows);
            batch_norm.forward_training(
                x, gamma_1, beta_1, planes, y, &mut of_cols[..one], &mut and_cols[..one], None);
            batch_norm.forward_training_in_place(
                xy!(), gamma_1, beta_1, planes, &mut of_cols[..one], &mut and_cols[..one], None);
            batch_norm
                .forward_inference(x, &m[..one], &v[..one], gamma_1, beta_1, planes, y);
            batch_norm.forward_inference_in_place(
                xy!(), &m[..one], &v[..one], gamma_1, beta_1, planes);
            dropout.mask(stream, x.len(), MaskMut::Packed(new_bits));
            dropout.mask(stream, x.len(), MaskMut::Bytes(new_bytes));
            dropout.forward(x, stream, y);
            dropout.forward_with_mask(x, stream, y, MaskMut::Packed(new_bits));
            dropout.forward_with_mask(x, stream, y, MaskMut::Bytes(new_bytes));
            dropout.forward_in_place(xy!(), stream);
            dropout.forward_in_place_with_mask(xy!(), stream, MaskMut::Packed(new_bits));
            dropout.forward_in_place_with_mask(xy!(), stream, MaskMut::Bytes(new_bytes));
            dropout.forward_uninit(x, stream, uninit(y), None);
            dropout.forward_uninit(x, stream, uninit(y), Some(MaskMut::Packed(new_bits)));
            dropout.forward_inference(x, y);
            dropout.apply(x, Mask::Packed(bits), y);
            dropout.apply(x, Mask::Bytes(bytes), y);
            dropout.apply_in_place(xy!(), Mask::Packed(bits));
            dropout.apply_in_place(xy!(), Mask::Bytes(bytes));
            dropout.apply_uninit(x, Mask::Packed(bits), uninit(y));
            dropout.apply_uninit(x, Mask::Bytes(bytes), uninit(y));
            dropout.backward(x, stream, y);
            dropout.backward_with_mask(x, Mask::Packed(bits), y);
            dropout.backward_with_mask(x, Mask::Bytes(bytes), y);
            regularizer.penalty(x);
            regularizer.add_gradient(x, xy!());
            regularizer.penalty_and_add_gradient(x, xy!());
            regularizer.decay(x, 0.1, y);
            regularizer.decay_in_place(xy!(), 0.1);
            regularizer.decay_uninit(x, 0.1, uninit(y));
            regularizer.proximal(x, 0.1, y);
            regularizer.proximal_in_place(xy!(), 0.1);
            regularizer.proximal_uninit(x, 0.1, uninit(y));
            row_moments.compute(x, rows, outputs.row_moments);
            row_moments.compute_prefixes(x, inputs.lengths, rows, outputs.row_moments);
            column_moments.compute(x, rows, outputs.col_moments);
            column_moments.compute_masked(x, bit_mask, rows, outputs.col_moments);
            column_moments
                .compute_masked_with_scratch(x, byte_mask, rows, outputs.col_moments, scratch);
            column_moments.compute_with_scratch(x, rows, outputs.col_moments, scratch);
            normalizer.with_norm(Norm::L1).forward(x, rows, y);
            normalizer.with_norm(Norm::L2).forward(x, rows, y);
            normalizer.with_norm(Norm::Max).forward(x, rows, y);
            normalizer.forward_in_place(xy!(), rows);
            normalizer.forward_uninit(x, rows, uninit(y));
            StandardScaler::from_moments(&seen);
            new_standard.fit(x, rows);
            new_standard.partial_fit(x, rows);
            standard.transform(x, rows, y);
            standard.transform_in_place(xy!(), rows);
            standard.transform_uninit(x, rows, uninit(y));
            standard.inverse_transform(x, rows, y);
            standard.inverse_transform_in_place(xy!(), rows);
            standard.inverse_transform_uninit(x, rows, uninit(y));
            MinMaxScaler::from_ranges(m, &max);
            new_min_max.fit(x, rows);
            new_min_max.partial_fit(x, rows);
            min_max.transform(x, rows, y);
            clipping.transform(x, rows, y);
            min_max.transform_in_place(xy!(), rows);
            min_max.transform_uninit(x, rows, uninit(y));
            min_max.inverse_transform(x, rows, y);
            min_max.inverse_transform_in_place(xy!(), rows);
            min_max.inverse_transform_uninit(x, rows, uninit(y));
            {
                moments.extend_from_slice(x);
                Ok::<_, Error>(())
            };
        }
    }
}
