//! Gradients of channels that come first, channel by channel: BatchNorm where a channel of all samples fits a cache.
//!
//! The plain algorithm, for every channel:
//!
//! ```text
//! for each sample: b += sum of dy of its plane;  e += sum of dy * x_hat
//! for each sample: dx of its plane, from the means of g and of g * x_hat
//! ```
//!
//! Up to sixteen small channels are one: their coefficients are made at once. The bits are those of sums of all planes and then dx of all (`kernels/channels/gradients.rs`), and x and dy are read from memory
//! once. Threads share the channels of one sample; the channels of several are not neighbours in memory, so that one task has all.
#![forbid(unsafe_code)]

use super::gradients::{PlaneTerms, sums_of_plane, sweep_planes};
use crate::kernels::columns::gradients::GradientColumns;
use crate::kernels::row_filter::RowFilter;
use crate::kernels::split::Split;
use crate::kernels::tuning::CHANNEL_ELEMENTS;
use crate::simd::{Kernel, LANES, RowInputs, RowSpan, Simd};

/// The gradients of every channel.
pub(crate) struct ChannelGradients<'a> {
    /// dy and dx, if it is wanted; a row is a plane.
    pub(crate) io: RowSpan<'a>,
    pub(crate) x: &'a [f32],
    pub(crate) batch: usize,
    /// One of each a channel.
    pub(crate) mean: &'a [f64],
    pub(crate) rstd: &'a [f64],
    pub(crate) gamma: Option<&'a [f32]>,
    /// Elements of a channel that count, where the statistics depend on x; `None`: they are constants.
    pub(crate) elements: Option<f64>,
    /// Which positions of the batch are data, where some are not.
    pub(crate) kept: Option<RowFilter<'a>>,
    /// The sums of dy and of `dy * x_hat` of every channel, written.
    pub(crate) sums: [&'a mut [f64]; 2],
}

impl Split for ChannelGradients<'_> {
    fn rows(&self) -> usize {
        if self.batch == 1 { self.mean.len() } else { 1 }
    }

    fn split_at(self, at: usize) -> (Self, Self) {
        let at = if self.batch == 1 { at } else { self.mean.len() * at };
        let planes = at * self.batch;
        let (x, high_x) = self.x.split_at(planes * self.io.cols());
        let (io, high_io) = self.io.split_at(planes);
        let ((mean, high_mean), (rstd, high_rstd)) =
            (self.mean.split_at(at), self.rstd.split_at(at));
        let (gamma, high_gamma) =
            (self.gamma.map(|gamma| &gamma[..at]), self.gamma.map(|gamma| &gamma[at..]));
        let [of_dy, of_x_hat] = self.sums;
        let ((of_dy, high_of_dy), (of_x_hat, high_of_x_hat)) =
            (of_dy.split_at_mut(at), of_x_hat.split_at_mut(at));
        (
            Self { io, x, mean, rstd, gamma, sums: [of_dy, of_x_hat], ..self },
            Self {
                io: high_io,
                x: high_x,
                mean: high_mean,
                rstd: high_rstd,
                gamma: high_gamma,
                sums: [high_of_dy, high_of_x_hat],
                ..self
            },
        )
    }
}

impl Kernel for ChannelGradients<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, token: S) {
        let Self { io, x, batch, mean, rstd, gamma, elements, kept, sums } = self;
        let (channels, positions, writes) = (mean.len(), io.cols(), io.writes());
        let mut inputs = RowInputs::new(io.rows(), positions);
        inputs.forward_x(x, positions);
        let mut io = io.with_inputs(&mut inputs);
        let [of_dy, of_x_hat] = sums;
        // So many that they stay in a cache, whose coefficients are made at once.
        let at_a_time = (CHANNEL_ELEMENTS / (batch * positions)).clamp(1, LANES);
        for first in (0..channels).step_by(at_a_time) {
            let run = first..channels.min(first + at_a_time);
            let (mean, rstd) = (&mean[run.clone()], &rstd[run.clone()]);
            let gamma = gamma.map(|gamma| &gamma[run.clone()]);
            let terms = PlaneTerms::new(token, mean, rstd);
            let (mut c, mut d) = ([0.0; LANES], [0.0; LANES]);
            for (lane, channel) in run.clone().enumerate() {
                let term = terms.lane(token, lane);
                let mut all = [0.0; 2];
                for n in 0..batch {
                    let start = (n * channels + channel) * positions;
                    let part = start..start + positions;
                    let (dy, x) = (&io.src()[part.clone()], &x[part]);
                    let sums = sums_of_plane(token, (dy, x), term, (kept, n * positions));
                    all = [all[0] + sums[0], all[1] + sums[1]];
                }
                (of_dy[channel], of_x_hat[channel]) = (all[0], all[1]);
                let factor = gamma.map_or(1.0, |gamma| f64::from(gamma[lane]));
                let elements = elements.unwrap_or(1.0);
                (c[lane], d[lane]) = (all[0] * factor / elements, all[1] * factor / elements);
            }
            if !writes {
                continue;
            }
            let len = run.len();
            let means = elements.map(|_| [&c[..len], &d[..len]]);
            let alone = elements == Some(1.0);
            let columns = GradientColumns { mean, rstd, gamma, means, alone };
            for n in 0..batch {
                sweep_planes(token, &mut io, n * channels + first, columns);
            }
        }
    }
}
