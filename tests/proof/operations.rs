//! Every method that takes buffers, called once: for the laws that are about all of them.
#![expect(unsafe_code, reason = "as an engine hands out memory that it has not initialised")]

use std::mem::MaybeUninit;

use evenkeel::{
    Backend, BatchNorm, Channels, ColumnMoments, Dropout, Error, GroupNorm, InstanceNorm,
    LayerNorm, Mask, MaskMut, MinMaxScaler, Moments, Norm, NormalizeScaleShift, Normalizer,
    Parallelism, Regularizer, RmsNorm, RowMoments, Rows, RunningStatistics, StandardScaler, Stores,
    Stream, ValidRows,
};

use crate::common::Random;
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

/// The values of inputs.
pub struct Values {
    pub x: Vec<f32>,
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
        Self {
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

fn uninit(y: &mut [f32]) -> &mut [MaybeUninit<f32>] {
    let y: *mut [f32] = y;
    // SAFETY: the layout is the same, and the operations write nothing but numbers to it.
    unsafe { &mut *(y as *mut [MaybeUninit<f32>]) }
}

impl Call {
    /// Scalers that have been fitted, whatever x is.
    fn scalers(&self, inputs: &Inputs<'_>) -> (StandardScaler, MinMaxScaler) {
        let columns = inputs.col_mean.iter().zip(inputs.col_rstd);
        let moments: Vec<Moments> = columns
            .map(|(&mean, &m2)| Moments { count: 9, mean, mean_low: 0.0, m2: m2.abs() })
            .collect();
        let spread = inputs.running_mean.iter().zip(inputs.running_var);
        let max: Vec<f32> = spread.map(|(mean, var)| mean + var).collect();
        let standard = StandardScaler::from_moments(&moments).expect("moments of some values");
        let min_max = MinMaxScaler::from_ranges(inputs.running_mean, &max);
        (standard, min_max.expect("ranges of some values"))
    }

    /// Hands every method to `around`, which is to call it: its text, and the call. Those that write a statistic of
    /// every row or column refuse empty ones.
    pub fn every_method(
        &self,
        inputs: &Inputs<'_>,
        outputs: &mut Outputs<'_>,
        mut around: impl FnMut(&'static str, &mut dyn FnMut() -> Result<(), Error>),
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
        let (mut standard, mut min_max) = self.scalers(inputs);
        (standard, min_max) = (configured!(standard), configured!(min_max));
        let clipping = min_max.clone().with_clip(true);
        let (mut new_standard, mut new_min_max) = (standard.clone(), min_max.clone());

        let (rows, stream) = (self.rows, Stream { seed: 5, offset: self.offset });
        let Inputs { x, row_mean, row_rstd, col_mean, col_rstd, bits, bytes, .. } = *inputs;
        let bit_mask = ValidRows::Mask(Mask::Packed(inputs.row_bits));
        let byte_mask = ValidRows::Mask(Mask::Bytes(inputs.row_bytes));
        let lengths = ValidRows::Lengths { lengths: inputs.row_lengths, steps: 1 };
        let (m, v) = (inputs.running_mean, inputs.running_var);
        let gamma = self.affine.0.then_some(inputs.gamma);
        let beta = self.affine.1.then_some(inputs.beta);
        let Outputs { y, running_mean, running_var, scratch, .. } = outputs;
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
        // There are as many as there are columns.
        let [gamma_n, beta_n] = [gamma, beta].map(|of| of.and_then(|of| of.get(..count)));

        // What is worked on in place begins with the input's values.
        macro_rules! xy {
            () => {{
                outputs.xy.copy_from_slice(x);
                &mut *outputs.xy
            }};
        }
        macro_rules! running {
            () => {{
                running_mean.copy_from_slice(m);
                running_var.copy_from_slice(v);
                Some(RunningStatistics { mean: running_mean, var: running_var })
            }};
        }
        macro_rules! call {
            ($($method:expr;)+) => {
                $(around(stringify!($method), &mut || $method.map(drop));)+
            };
        }
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
            layer_norm.forward_residual(x, x, gamma, beta, rows, y, None);
            layer_norm.forward_update_residual_in_place(xy!(), y, gamma, beta, rows);
            layer_norm.forward_strided(x, rows.cols(), gamma, beta, rows, y, rows.cols());
            layer_norm.forward_strided_in_place(xy!(), rows.cols(), gamma, beta, rows);
            rms_norm.forward_residual(x, x, gamma, beta, rows, y, Some(&mut *outputs.xy));
            rms_norm.forward_update_residual(x, xy!(), gamma, beta, rows, y);
            rms_norm.forward_residual_with_stats(x, x, gamma, beta, rows, y, None, of_rows);
            rms_norm.forward_update_residual_with_stats(x, xy!(), gamma, beta, rows, y, of_rows);
            layer_norm.forward_update_residual_in_place_with_stats(
                xy!(), y, gamma, beta, rows, of_rows, and_rows);
            rms_norm.forward_gated(x, x, gamma, rows, y);
            rms_norm.forward_gated_in_place(xy!(), x, gamma, rows);
            rms_norm.forward_gated_uninit(x, x, gamma, rows, uninit(y));
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
            group_norm.forward_uninit(x, gamma_n, beta_n, first, uninit(y));
            group_norm.forward(x, gamma, beta, last, y);
            group_norm.forward_in_place(xy!(), gamma, beta, last);
            instance_norm.forward(x, gamma_n, beta_n, first, y);
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
            new_standard.fit(x, rows);
            new_standard.partial_fit(x, rows);
            standard.transform(x, rows, y);
            standard.transform_in_place(xy!(), rows);
            standard.transform_uninit(x, rows, uninit(y));
            standard.inverse_transform(x, rows, y);
            standard.inverse_transform_in_place(xy!(), rows);
            standard.inverse_transform_uninit(x, rows, uninit(y));
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
                Moments::new().extend_from_slice(x);
                Ok::<_, Error>(())
            };
        }
    }
}
