//! Law: results beyond 2^31 and 2^32 elements, rows, columns and bits of a mask are those of the same data at the beginning.
//!
//! A [`Vast`] is a small file, mapped again and again, so that it takes neither memory to read nor to write;
//! around the [`edges`] it has memory of its own, where each element is different from that at any index with
//! which a narrower integer would confuse it. What is written there is compared.
//!
//! Run with `--ignored` alone, since each call goes over 17 GB of addresses:
//! `cargo test --test large -- --ignored`.
#![expect(unsafe_code, reason = "memory is mapped by the operating system")]
#![expect(unreachable_pub, reason = "the modules of a test have no outside")]

#[expect(dead_code, reason = "what these tests do not need of what all share")]
#[path = "proof/common.rs"]
mod common;

// All that `common` takes from it.
mod registry {
    mod random;
    mod short;

    pub use random::Random;
    pub use short::short;
}

#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
#[test]
fn more_than_2_to_the_32_elements() {
    common::skipped("shapes of more than 2^31 elements", "the test needs 64-bit Linux");
}

#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
mod vast {
    use std::fs::File;
    use std::io::{self, Write};
    use std::ops::{Deref, DerefMut, Range};
    use std::os::fd::{AsRawFd, FromRawFd};
    use std::{ptr, slice};

    use libc::{MAP_ANONYMOUS, MAP_FIXED, MAP_NORESERVE, MAP_POPULATE, MAP_PRIVATE, MAP_SHARED};

    /// Elements of the file, those of a multiple of which all are equal but those around edges.
    pub const PERIOD: usize = 1 << 21;

    /// Elements with memory of their own on both sides of an edge, at least. They are whole pages, whatever the
    /// element is.
    const WINDOW: usize = 1 << 12;

    /// Where an index of 31 or 32 bits would end, and the ends.
    pub fn edges(len: usize) -> Vec<usize> {
        [0, 1 << 31, 1 << 32, len].into_iter().filter(|&edge| edge <= len).collect()
    }

    /// Many elements in little memory.
    pub struct Vast<T> {
        address: *mut T,
        len: usize,
        mapped: usize,
        windows: Vec<Range<usize>>,
    }

    /// Maps memory that can be read and written.
    ///
    /// # Safety
    ///
    /// With `MAP_FIXED`, nothing uses the range.
    unsafe fn map(address: *mut u8, len: usize, flags: i32, file: i32) -> *mut u8 {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: the caller's duty.
        let address = unsafe { libc::mmap(address.cast(), len, access, flags, file, 0) };
        assert!(address != libc::MAP_FAILED, "{len} bytes mapped: {}", io::Error::last_os_error());
        address.cast()
    }

    impl<T: Copy> Vast<T> {
        /// Elements 0 up to [`PERIOD`] are `pattern(i)`, and so is every period after them; around an edge,
        /// element i is `own(i)`.
        pub fn new(
            len: usize,
            edges: &[usize],
            pattern: impl Fn(usize) -> T,
            own: impl Fn(usize) -> T,
        ) -> Self {
            let pattern: Vec<T> = (0..PERIOD).map(pattern).collect();
            let period = size_of_val(&*pattern);
            // SAFETY: the elements are numbers without padding, of which any byte may be looked at.
            let bytes = unsafe { slice::from_raw_parts(pattern.as_ptr().cast(), period) };
            // SAFETY: a name that ends with 0.
            let file = unsafe { libc::memfd_create(c"vast".as_ptr(), libc::MFD_CLOEXEC) };
            assert!(file >= 0, "a file in memory: {}", io::Error::last_os_error());
            // SAFETY: a new file, which no one else closes.
            let mut file = unsafe { File::from_raw_fd(file) };
            file.write_all(bytes).expect("a file in memory");

            let mapped = len.div_ceil(PERIOD) * period;
            let own_memory = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
            // SAFETY: addresses that nothing else has.
            let start = unsafe { map(ptr::null_mut(), mapped, own_memory, -1) };
            for at in (0..mapped).step_by(period) {
                let flags = MAP_SHARED | MAP_FIXED | MAP_POPULATE;
                // SAFETY: within the range, which is no one else's.
                unsafe { map(start.add(at), period, flags, file.as_raw_fd()) };
            }
            let mut vast = Self { address: start.cast(), len, mapped, windows: Vec::new() };
            for &edge in edges {
                let first = edge.saturating_sub(WINDOW) / WINDOW * WINDOW;
                let end = (edge + WINDOW).next_multiple_of(WINDOW).min(mapped / size_of::<T>());
                let (at, bytes) = (first * size_of::<T>(), (end - first) * size_of::<T>());
                // SAFETY: whole pages within the range, as `WINDOW` elements are.
                unsafe { map(start.add(at), bytes, own_memory | MAP_FIXED, -1) };
                vast.windows.push(first..end.min(len));
            }
            vast.fill_windows(own);
            vast
        }

        /// The indices of elements that have memory of their own.
        pub fn windows(&self) -> Vec<Range<usize>> {
            self.windows.clone()
        }

        pub fn fill_windows(&mut self, own: impl Fn(usize) -> T) {
            for window in self.windows() {
                for i in window {
                    self[i] = own(i);
                }
            }
        }
    }

    impl<T> Deref for Vast<T> {
        type Target = [T];
        fn deref(&self) -> &[T] {
            // SAFETY: the range is mapped and holds elements. That it has some of its memory several times is not seen
            // while it is only read; what is written is looked at only where it is not so.
            unsafe { slice::from_raw_parts(self.address, self.len) }
        }
    }

    impl<T> DerefMut for Vast<T> {
        fn deref_mut(&mut self) -> &mut [T] {
            // SAFETY: as above.
            unsafe { slice::from_raw_parts_mut(self.address, self.len) }
        }
    }

    impl<T> Drop for Vast<T> {
        fn drop(&mut self) {
            // SAFETY: the range was mapped by `new`, and no reference to it is left.
            let unmapped = unsafe { libc::munmap(self.address.cast(), self.mapped) };
            assert_eq!(unmapped, 0, "a range that was mapped");
        }
    }
}

#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
mod tests {
    use std::ops::Range;

    use evenkeel::{
        BatchNorm, Channels, ColumnMoments, Dropout, DropoutArgs, Error, GroupNorm, InOut,
        InstanceNorm, LayerNorm, Mask, MaskMut, MomentArgs, Moments, NormArgs, NormalizeScaleShift,
        Parallelism, RmsNorm, RowMoments, Statistics, Stream, TrainArgs, reference,
    };

    use crate::common::*;
    use crate::vast::{PERIOD, Vast, edges};

    /// More than 2^32, and no multiple of anything.
    const FAR: usize = (1 << 32) + (1 << 20) + 13;

    /// What an output holds that has yet to be written.
    const PAINT: f32 = -12345.0;

    /// gamma and beta.
    type Affine<'a> = [Option<&'a [f32]>; 2];

    fn hash(i: usize) -> u64 {
        let x = (i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (x ^ x >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 32
    }

    /// Small integers, so that sums are known exactly; no two neighbours are equal, so that short rows are not constant.
    fn pattern(i: usize) -> f32 {
        (hash(i) % 8 * 2 + i as u64 % 2) as f32 - 8.0
    }

    /// Larger ones: in 33 thousand of 4 billion elements they make a fifth of the variance.
    fn own(i: usize) -> f32 {
        (hash(i) % 4001) as f32 - 2000.0
    }

    fn input(len: usize) -> Vast<f32> {
        Vast::new(len, &edges(len), pattern, own)
    }

    fn output(len: usize) -> Vast<f32> {
        Vast::new(len, &edges(len), |_| PAINT, |_| PAINT)
    }

    /// Mean, variance and mean square of every `stride`th element from `first` on, computed in integers.
    fn exact(x: &Vast<f32>, first: usize, stride: usize) -> (f64, f64, f64) {
        assert!(PERIOD.is_multiple_of(stride), "the columns of every period are alike");
        let sums = |elements: &mut dyn Iterator<Item = f32>| {
            elements.fold((0_i128, 0_i128, 0_i128), |(n, s, q), x| {
                let x = x as i128;
                (n + 1, s + x, q + x * x)
            })
        };
        let whole = sums(&mut (first..PERIOD).step_by(stride).map(pattern));
        let rest = sums(&mut (first..x.len() % PERIOD).step_by(stride).map(pattern));
        let periods = (x.len() / PERIOD) as i128;
        let n = periods * whole.0 + rest.0;
        let (mut s, mut q) = (periods * whole.1 + rest.1, periods * whole.2 + rest.2);
        let mut seen = 0;
        for window in x.windows() {
            let new = window.start.max(seen)..window.end;
            for i in new.filter(|i| i % stride == first) {
                let (is, was) = (x[i] as i128, pattern(i % PERIOD) as i128);
                (s, q) = (s + is - was, q + is * is - was * was);
            }
            seen = seen.max(window.end);
        }
        let n2 = (n * n) as f64;
        (s as f64 / n as f64, (n * q - s * s) as f64 / n2, q as f64 / n as f64)
    }

    #[track_caller]
    fn assert_near(what: &str, got: f64, expected: f64, relative: f64) {
        let near = approx::relative_eq!(got, expected, epsilon = 0.0, max_relative = relative);
        assert!(near, "{what}: expected {expected:e}, got {got:e}");
    }

    /// Finds that a test has taken no more memory than it takes care to.
    fn assert_little_memory() {
        let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("a line");
        let kib: usize = line.trim().trim_end_matches(" kB").parse().expect("a number");
        assert!(kib < 512 << 10, "{} MiB of memory", kib >> 10);
    }

    /// Runs a check on one thread, and on two.
    fn serial_and_parallel(check: impl Fn(Parallelism) + Sync) {
        check(Parallelism::Serial);
        in_parallel(check);
    }

    fn in_parallel(check: impl Fn(Parallelism) + Sync) {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().expect("two threads");
        pool.install(|| check(Parallelism::AtMost(2)));
    }

    /// Mean and variance count beyond 32 bits, and no element is another's.
    #[test]
    #[ignore = "goes over 140 GB of addresses"]
    fn one_row() {
        let (x, gamma) = (input(FAR), Vast::new(FAR, &edges(FAR), |_| 0.5, own));
        let beta = Vast::new(FAR, &edges(FAR), |_| -1.5, |i| own(i + 1));
        let (mean, var, mean_square) = exact(&x, 0, 1);
        let shape = rows(1, FAR);

        let mut moments = [Moments::new()];
        RowMoments::new().compute(&x, shape, &mut moments, MomentArgs::new()).unwrap();
        let mut of_slice = Moments::new();
        of_slice.extend_from_slice(&x);
        assert_eq!(moments, [of_slice]);
        assert_eq!(of_slice.count, FAR as u64);
        assert_near("variance", of_slice.population_variance().unwrap(), var, VARIANCE);
        approx::assert_abs_diff_eq!(of_slice.mean, mean, epsilon = VARIANCE * var.sqrt());

        let mut y = output(FAR);
        let (gamma, beta) = (&gamma[..], &beta[..]);
        let compare = |what: &str, y: &mut Vast<f32>, (mean, rstd), affine: Affine<'_>| {
            for window in y.windows() {
                let [gamma, beta] = affine.map(|all| all.map(|all| &all[window.clone()]));
                let (x, mut x_hat) = (&x[window.clone()], vec![0.0; window.len()]);
                let mut expected = x_hat.clone();
                reference::normalize_scale_shift(x, mean, rstd, None, None, &mut x_hat);
                reference::normalize_scale_shift(x, mean, rstd, gamma, beta, &mut expected);
                let what = format!("{what}, {window:?}");
                assert_output(&what, &y[window], &x_hat, &expected, gamma, beta);
            }
            y.fill_windows(|_| PAINT);
        };
        let (mut got_mean, mut got_rstd) = ([0.0], [0.0]);
        let layer_norm = LayerNorm::new().with_eps(0.0);
        let (g, b) = (Some(gamma), Some(beta));
        let args = NormArgs::new().affine(gamma, beta).stats(&mut got_mean, &mut got_rstd);
        layer_norm.forward(InOut::new(&x, &mut y), shape, args).unwrap();
        assert_eq!(got_mean, [of_slice.mean]);
        assert_near("rstd", got_rstd[0], 1.0 / var.sqrt(), VARIANCE);
        compare("LayerNorm", &mut y, (mean, 1.0 / var.sqrt()), [g, b]);
        let normalize = NormalizeScaleShift::new();
        let (statistics, args) = ([mean], NormArgs::new().gamma(gamma));
        let statistics = Statistics::of_rows(&statistics, &[0.125]);
        normalize.forward(InOut::new(&x, &mut y), shape, statistics, args).unwrap();
        compare("NormalizeScaleShift", &mut y, (mean, 0.125), [g, None]);
        let rms_norm = RmsNorm::new().with_eps(0.0);
        let args = NormArgs::new().rstd(&mut got_rstd);
        rms_norm.forward(InOut::new(&x, &mut y), shape, args).unwrap();
        assert_near("rstd", got_rstd[0], 1.0 / mean_square.sqrt(), VARIANCE);
        compare("RmsNorm", &mut y, (0.0, 1.0 / mean_square.sqrt()), [None; 2]);
        drop(y);
        let mut xy = input(FAR);
        let args = NormArgs::new().beta(beta);
        layer_norm.forward(InOut::in_place(&mut xy), shape, args).unwrap();
        compare("LayerNorm in place", &mut xy, (mean, 1.0 / var.sqrt()), [None, b]);
        assert_little_memory();
    }

    /// The rows that have memory of their own whole.
    fn whole_rows(x: &Vast<f32>, cols: usize) -> Vec<Range<usize>> {
        let whole = |window: Range<usize>| window.start.div_ceil(cols)..window.end / cols;
        let rows: Vec<_> = x.windows().into_iter().map(whole).collect();
        assert!(rows.iter().all(|rows| rows.len() > 2), "rows on both sides of every edge");
        rows
    }

    /// Law: a row has the bits, and the statistics, that it has without four billion elements before it.
    fn rows_are_what_they_are_alone(count: usize, cols: usize, parallelism: Parallelism) {
        let (shape, random) = (rows(count, cols), &mut Random::new(cols as u64));
        let (gamma, beta) = (random.normals(cols), random.normals(cols));
        let affine = || NormArgs::new().affine(&gamma, &beta);
        let (x, mut y) = (input(shape.elements()), output(shape.elements()));
        let by_row: Vec<_> = edges(shape.elements()).into_iter().map(|edge| edge / cols).collect();
        let statistic = || Vast::new(count, &by_row, |_| 0.25, |_| f64::NAN);
        let (mut mean, mut rstd) = (statistic(), statistic());
        let what = format!("{count} x {cols}, {parallelism:?}");

        let layer_norm = LayerNorm::new().with_parallelism(parallelism);
        let args = affine().stats(&mut mean, &mut rstd);
        layer_norm.forward(InOut::new(&x, &mut y), shape, args).unwrap();
        // Of each range of rows, what is written and the statistics.
        let alone = |part: Range<usize>| {
            let (x, n) = (&x[part.start * cols..part.end * cols], part.len());
            let (mut y, mut mean, mut rstd) = (vec![PAINT; x.len()], vec![0.0; n], vec![0.0; n]);
            let args = affine().stats(&mut mean, &mut rstd);
            LayerNorm::new().forward(InOut::new(x, &mut y), rows(n, cols), args).unwrap();
            (y, mean, rstd)
        };
        let compare = |what: &str, y: &mut Vast<f32>| {
            for part in whole_rows(y, cols) {
                let elements = part.start * cols..part.end * cols;
                assert_same(what, &alone(part).0, &y[elements]);
            }
            y.fill_windows(|_| PAINT);
        };
        for part in whole_rows(&y, cols) {
            let (_, of_mean, of_rstd) = alone(part.clone());
            assert_eq!((&mean[part.clone()], &rstd[part]), (&of_mean[..], &of_rstd[..]), "{what}");
        }
        compare(&format!("LayerNorm, {what}"), &mut y);
        if count > 1 << 31 {
            // Each of the others takes as long on two billion rows.
            return assert_little_memory();
        }
        NormalizeScaleShift::new()
            .with_parallelism(parallelism)
            .forward(InOut::new(&x, &mut y), shape, Statistics::of_rows(&mean, &rstd), affine())
            .unwrap();
        compare(&format!("NormalizeScaleShift, {what}"), &mut y);
        drop((mean, rstd));

        let own = Moments { count: 1, ..Moments::new() };
        let mut moments = Vast::new(count, &by_row, |_| Moments::new(), |_| own);
        RowMoments::new()
            .with_parallelism(parallelism)
            .compute(&x, shape, &mut moments, MomentArgs::new())
            .unwrap();
        for part in whole_rows(&y, cols) {
            let mut expected = vec![own; part.len()];
            let x = &x[part.start * cols..part.end * cols];
            RowMoments::new()
                .compute(x, rows(part.len(), cols), &mut expected, MomentArgs::new())
                .unwrap();
            assert_eq!(moments[part], expected, "{what}");
        }
        drop((moments, y));

        let mut xy = input(shape.elements());
        layer_norm.forward(InOut::in_place(&mut xy), shape, affine()).unwrap();
        compare(&format!("LayerNorm in place, {what}"), &mut xy);
        assert_little_memory();
    }

    /// Law: a sample has the bits that it has without four billion elements before it.
    #[test]
    #[ignore = "goes over 140 GB of addresses"]
    fn many_samples() {
        let (channels, positions) = (4, 49);
        let sample = channels * positions;
        let (count, random) = (FAR / sample, &mut Random::new(1));
        let (gamma, beta) = (random.normals(channels), random.normals(channels));
        let affine = || NormArgs::new().affine(&gamma, &beta);
        in_parallel(|threads| {
            let (x, mut y) = (input(count * sample), output(count * sample));
            let group_norm = GroupNorm::new().with_groups(2).with_parallelism(threads);
            let instance_norm = InstanceNorm::new().with_parallelism(threads);
            let layer_norm = LayerNorm::new().with_parallelism(threads);
            type Forward<'a> = &'a dyn Fn(InOut<'_, '_>, Channels) -> Result<(), Error>;
            let operations: [(&str, Forward<'_>); 3] = [
                ("GroupNorm", &|io, shape| group_norm.forward(io, shape, affine()).map(drop)),
                ("InstanceNorm", &|io, shape| instance_norm.forward(io, shape, affine()).map(drop)),
                ("LayerNorm", &|io, shape| layer_norm.forward(io, shape, affine()).map(drop)),
            ];
            for (what, forward) in operations {
                for last in [false, true] {
                    let shape = |count| match last {
                        true => Channels::last(count, positions, channels).unwrap(),
                        false => Channels::first(count, channels, positions).unwrap(),
                    };
                    forward(InOut::new(&x, &mut y), shape(count)).unwrap();
                    for part in whole_rows(&y, sample) {
                        let elements = part.start * sample..part.end * sample;
                        let mut alone = vec![PAINT; elements.len()];
                        let io = InOut::new(&x[elements.clone()], &mut alone);
                        forward(io, shape(part.len())).unwrap();
                        assert_same(&format!("{what}, last: {last}"), &alone, &y[elements]);
                    }
                    y.fill_windows(|_| PAINT);
                }
            }
        });
        assert_little_memory();
    }

    #[test]
    #[ignore = "goes over 200 GB of addresses"]
    fn many_rows() {
        serial_and_parallel(|threads| {
            rows_are_what_they_are_alone((1 << 22) + 1031, 1024, threads);
        });
    }

    #[test]
    #[ignore = "works on two billion rows"]
    fn more_rows_than_31_bits_count() {
        in_parallel(|threads| {
            rows_are_what_they_are_alone((1 << 31) + (1 << 20) + 7, 2, threads);
        });
    }

    /// Columns whose statistics are of all rows, and whose outputs are by formula.
    fn columns(count: usize, cols: usize, parallelism: Parallelism) {
        let (shape, random) = (rows(count, cols), &mut Random::new(cols as u64));
        let (gamma, beta) = (random.normals(cols), random.normals(cols));
        let affine = || NormArgs::new().affine(&gamma, &beta);
        let (x, mut y) = (input(shape.elements()), output(shape.elements()));
        let what = format!("{count} x {cols}, {parallelism:?}");

        let mut moments = vec![Moments::new(); cols];
        ColumnMoments::new()
            .with_parallelism(parallelism)
            .compute(&x, shape, &mut moments, MomentArgs::new())
            .unwrap();
        for (c, moments) in moments.iter().enumerate() {
            let ((mean, var, _), what) = (exact(&x, c, cols), format!("{what}, column {c}"));
            assert_eq!(moments.count, count as u64, "{what}");
            assert_near(&what, moments.population_variance().unwrap(), var, VARIANCE);
            approx::assert_abs_diff_eq!(moments.mean, mean, epsilon = VARIANCE * var.sqrt());
        }

        let batch_norm = BatchNorm::new().with_momentum(0.0).with_parallelism(parallelism);
        let train = |io: InOut<'_, '_>| {
            let (mut mean, mut rstd) = (vec![0.0; cols], vec![0.0; cols]);
            let mut running = (vec![0.0; cols], vec![0.0; cols]);
            let args = TrainArgs::new()
                .affine(&gamma, &beta)
                .stats(&mut mean, &mut rstd)
                .running(&mut running.0, &mut running.1);
            batch_norm.forward_training(io, shape, args).unwrap();
            for (c, moments) in moments.iter().enumerate() {
                let var = moments.population_variance().unwrap();
                assert_eq!((mean[c], rstd[c]), (moments.mean, reference::rstd(var, 1e-5)));
                assert_eq!((running.0[c], running.1[c]), (mean[c] as f32, var as f32));
            }
            (mean, rstd, running)
        };
        let (mean, rstd, running) = train(InOut::new(&x, &mut y));
        // A row by itself, with the statistics of all.
        let alone = |part: Range<usize>| {
            let (x, shape) = (&x[part.start * cols..part.end * cols], rows(part.len(), cols));
            let (mut y, statistics) = (vec![PAINT; x.len()], Statistics::of_columns(&mean, &rstd));
            NormalizeScaleShift::new()
                .forward(InOut::new(x, &mut y), shape, statistics, affine())
                .unwrap();
            y
        };
        let compare = |what: &str, y: &mut Vast<f32>, alone: &dyn Fn(Range<usize>) -> Vec<f32>| {
            for part in whole_rows(y, cols) {
                let elements = part.start * cols..part.end * cols;
                assert_same(what, &alone(part), &y[elements]);
            }
            y.fill_windows(|_| PAINT);
        };
        compare(&format!("training, {what}"), &mut y, &alone);

        let (m, v) = (&running.0[..], &running.1[..]);
        batch_norm.forward_inference(InOut::new(&x, &mut y), shape, m, v, affine()).unwrap();
        compare(&format!("inference, {what}"), &mut y, &|part| {
            let (x, shape) = (&x[part.start * cols..part.end * cols], rows(part.len(), cols));
            let mut y = vec![PAINT; x.len()];
            BatchNorm::new()
                .forward_inference(InOut::new(x, &mut y), shape, m, v, affine())
                .unwrap();
            y
        });
        drop(y);
        let mut xy = input(shape.elements());
        train(InOut::in_place(&mut xy));
        compare(&format!("training in place, {what}"), &mut xy, &alone);
        assert_little_memory();
    }

    #[test]
    #[ignore = "goes over 240 GB of addresses"]
    fn columns_of_many_rows() {
        serial_and_parallel(|threads| columns((1 << 22) + 1031, 1024, threads));
    }

    #[test]
    #[ignore = "goes over 130 GB of addresses"]
    fn columns_of_more_rows_than_31_bits_count() {
        in_parallel(|threads| columns((1 << 31) + (1 << 20) + 7, 2, threads));
    }

    /// Law: a column has the bits that it has without four billion columns before it.
    #[test]
    #[ignore = "goes over 100 GB of addresses"]
    fn more_columns_than_32_bits_count() {
        let (x, mut y, shape) = (input(FAR), output(FAR), rows(1, FAR));
        let at = edges(FAR);
        let mean = Vast::new(FAR, &at, |_| 0.5_f32, |i| own(i + 2));
        let var = Vast::new(FAR, &at, |_| 2.5_f32, |i| own(i + 3).abs());
        let beta = Vast::new(FAR, &at, |_| 1.5_f32, |i| own(i + 4));
        BatchNorm::new()
            .forward_inference(
                InOut::new(&x, &mut y),
                shape,
                &mean,
                &var,
                NormArgs::new().beta(&beta),
            )
            .unwrap();
        for window in y.windows() {
            let mut alone = vec![PAINT; window.len()];
            let [x, mean, var, beta] = [&x, &mean, &var, &beta].map(|all| &all[window.clone()]);
            let (io, shape) = (InOut::new(x, &mut alone), rows(1, x.len()));
            BatchNorm::new()
                .forward_inference(io, shape, mean, var, NormArgs::new().beta(beta))
                .unwrap();
            assert_same(&format!("columns {window:?}"), &alone, &y[window]);
        }
        assert_little_memory();
    }

    /// Law: an element is kept or dropped by its index, and the mask says so.
    fn dropout(p: f64, stream: Stream, parallelism: Parallelism) {
        let operation = Dropout::new().with_p(p).with_parallelism(parallelism);
        let scale = operation.scale().unwrap();
        let (x, mut y) = (input(FAR), output(FAR));
        let by_byte: Vec<_> = edges(FAR).into_iter().map(|edge| edge / 8).collect();
        let mut packed = Vast::new(FAR.div_ceil(8), &by_byte, |_| 0x5a_u8, |_| 0xa5);
        let mut bytes = Vast::new(FAR, &edges(FAR), |_| 1_u8, |_| 7);
        let what = format!("p = {p}, {stream:?}, {parallelism:?}");

        let compare = |what: &str, y: &mut Vast<f32>| {
            for window in y.windows() {
                let (seed, offset) = (stream.seed, stream.offset + window.start as u64);
                let kept = reference::dropout_mask(p, seed, offset, window.len());
                let x = x[window.clone()].iter();
                let expected: Vec<f32> =
                    x.zip(kept).map(|(x, kept)| if kept { x * scale } else { 0.0 }).collect();
                assert_same(what, &expected, &y[window]);
            }
            y.fill_windows(|_| PAINT);
        };
        let args = DropoutArgs::draw(stream).keep_mask(MaskMut::Packed(&mut packed));
        operation.forward(InOut::new(&x, &mut y), args).unwrap();
        compare(&format!("forward, {what}"), &mut y);
        operation.mask(stream, FAR, MaskMut::Bytes(&mut bytes)).unwrap();
        for window in y.windows() {
            let (seed, offset) = (stream.seed, stream.offset + window.start as u64);
            let kept = reference::dropout_mask(p, seed, offset, window.len());
            for (i, kept) in window.zip(kept) {
                let got = (packed[i / 8] >> (i % 8) & 1, bytes[i]);
                assert_eq!(got, (kept.into(), kept.into()), "{what}, element {i}");
            }
        }
        assert_eq!(packed[FAR / 8] >> (FAR % 8), 0, "bits beyond the last element");
        let realised = operation.with_p(operation.realised_p().unwrap());
        realised.forward(InOut::new(&x, &mut y), Mask::Packed(&packed)).unwrap();
        compare(&format!("apply, packed, {what}"), &mut y);
        realised.forward(InOut::new(&x, &mut y), Mask::Bytes(&bytes)).unwrap();
        compare(&format!("apply, bytes, {what}"), &mut y);
        drop((packed, bytes, y));
        let mut xy = input(FAR);
        operation.forward(InOut::in_place(&mut xy), stream).unwrap();
        compare(&format!("in place, {what}"), &mut xy);
        assert_little_memory();
    }

    #[test]
    #[ignore = "goes over 140 GB of addresses"]
    fn dropout_of_16_bits() {
        // The offset crosses 2^32 within the call, and the end of the call 2^33.
        dropout(0.1, Stream { seed: 1, offset: (1 << 32) - 12_345 }, Parallelism::Serial);
    }

    #[test]
    #[ignore = "goes over 140 GB of addresses"]
    fn dropout_of_32_bits() {
        let offset = u64::MAX - FAR as u64 + 1;
        in_parallel(|threads| dropout(0.001, Stream { seed: 2, offset }, threads));
    }

    /// A length that is right in its lower 32 bits.
    #[test]
    #[ignore = "maps 100 GB of addresses"]
    fn a_length_that_is_right_but_for_2_to_the_32() {
        let (shape, small, long) = (rows(2, 3), [1.0; 6], (1 << 32) + 6);
        let wrong = |arg| Error::Length { arg, expected: 6, got: long };
        let (x, mut y) = (input(long), output(long));
        let layer_norm = LayerNorm::new();
        let forward = |io: InOut<'_, '_>, args| layer_norm.forward(io, shape, args).unwrap_err();
        assert_eq!(forward(InOut::new(&x, &mut [0.0; 6]), NormArgs::new()), wrong("x"));
        assert_eq!(forward(InOut::new(&small, &mut y), NormArgs::new()), wrong("y"));
        let gamma = Error::Length { arg: "gamma", expected: 3, got: (1 << 32) + 3 };
        let args = NormArgs::new().gamma(&x[3..]);
        assert_eq!(forward(InOut::in_place(&mut [1.0; 6]), args), gamma);
        let stream = Stream { seed: 1, offset: 0 };
        let error = Dropout::new().forward(InOut::new(&small, &mut y), stream).unwrap_err();
        assert_eq!(error, wrong("y"));
        for window in y.windows() {
            assert!(y[window].iter().all(|&y| y == PAINT), "something is written");
        }
    }
}
