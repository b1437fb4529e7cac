//! The values of inputs, by name.
#![forbid(unsafe_code)]

use evenkeel::{Moments, Rows};

use super::{Kind, Random, Stored};

/// What calls read, for one shape.
pub struct Values {
    pub rows: Rows,
    pub x: Vec<f32>,
    z: Vec<f32>,
    gamma: Vec<f32>,
    beta: Vec<f32>,
    running_mean: Vec<f32>,
    running_var: Vec<f32>,
    row_mean: Vec<f64>,
    row_rstd: Vec<f64>,
    col_mean: Vec<f64>,
    col_rstd: Vec<f64>,
    bits: Vec<u8>,
    bytes: Vec<u8>,
    row_bits: Vec<u8>,
    row_bytes: Vec<u8>,
    row_lengths: Vec<usize>,
    lengths: Vec<usize>,
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
        // Row 0 is always valid.
        let valid: Vec<bool> = (0..count).map(|r| r == 0 || random.below(3) > 0).collect();
        let row_bytes: Vec<u8> = valid.iter().map(|&valid| u8::from(valid)).collect();
        let lengths = (0..count).map(|_| random.below(cols + 1)).collect();
        Self {
            rows,
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

    /// With infinite running variances if f32 cannot hold those of an x of this scale: that is an error where they are finite.
    pub fn that_train(mut self, scale: f32) -> Self {
        if scale * scale > f32::MAX {
            self.running_var.fill(f32::INFINITY);
        }
        self
    }

    /// Moments of nine values, one a column, of one place after another.
    fn seen(&self, len: usize) -> Vec<Moments> {
        let mut statistics = self.col_mean.iter().zip(&self.col_rstd).cycle();
        let mut next = || statistics.next().map_or((0.5, 0.25), |(&mean, &m2)| (mean, m2));
        let of = |(mean, m2): (f64, f64)| Moments { count: 9, mean, mean_low: 0.0, m2: m2.abs() };
        (0..len).map(|_| of(next())).collect()
    }

    /// The first `len` values of a name; others where there are fewer.
    pub fn stored(&self, name: &str, kind: Kind, len: usize) -> Stored {
        fn first<T: Copy>(values: &[T], len: usize, other: T) -> Vec<T> {
            let missing = len.saturating_sub(values.len());
            values.iter().copied().take(len).chain(std::iter::repeat_n(other, missing)).collect()
        }
        let x = |values: &[f32]| Stored::F32(first(values, len, 0.5));
        let statistic = |values: &[f64]| Stored::F64(first(values, len, 0.25));
        let stored = match name {
            "x" => x(&self.x),
            "z" => x(&self.z),
            "gamma" => x(&self.gamma),
            "beta" => x(&self.beta),
            "running_mean" => x(&self.running_mean),
            "running_var" => x(&self.running_var),
            "row_mean" => statistic(&self.row_mean),
            "row_rstd" => statistic(&self.row_rstd),
            "col_mean" => statistic(&self.col_mean),
            "col_rstd" => statistic(&self.col_rstd),
            "seen" => Stored::Moments(self.seen(len)),
            "bits" => Stored::U8(first(&self.bits, len, 3)),
            "bytes" => Stored::U8(first(&self.bytes, len, 1)),
            "row_bits" => Stored::U8(first(&self.row_bits, len, 3)),
            "row_bytes" => Stored::U8(first(&self.row_bytes, len, 1)),
            "row_lengths" => Stored::Usize(first(&self.row_lengths, len, 1)),
            "lengths" => Stored::Usize(first(&self.lengths, len, 0)),
            "half" => Stored::Usize(vec![self.rows.cols() / 2; len]),
            _ => panic!("there are no values called {name}"),
        };
        assert_eq!(stored.kind(), kind, "{name}");
        stored
    }
}

/// A bit for each byte that is not 0.
pub fn pack(bytes: &[u8]) -> Vec<u8> {
    let bits =
        |eight: &[u8]| eight.iter().rev().fold(0, |bits, &byte| bits << 1 | u8::from(byte != 0));
    bytes.chunks(8).map(bits).collect()
}
