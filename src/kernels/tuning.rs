//! Every measured constant, once. None of them changes a bit; a constant that does stands beside its algorithm.
//!
//! Machines: **Xeon** is an Intel Xeon with AVX-512, 48 KiB L1, 2 MiB L2 and a shared L3 of 260 or 480 MiB; the dates are of
//! the runs. `benches/BENCHMARKING.md` tells how they were made. "Of memcpy" is the time of memcpy over that of the kernel.
#![forbid(unsafe_code)]

use crate::simd::LANES;

/// The longest rows that are worked on several at a time.
///
/// A longer row keeps the pipeline full by itself, several of its blocks at a time, and leaves more of itself in L1 for a
/// second sweep. LayerNorm of 128x4096 in L3, of memcpy: two rows at a time 0.68, one by one 0.79 (Xeon, 2026-11-23).
pub(crate) const GROUP_COLS: usize = 2048;

/// The same where y is written with non-temporal stores: memory likes to be read in several places.
///
/// LayerNorm of 16384x4096, of the faster of memcpy and a non-temporal copy: two rows at a time 0.89, one by one 0.79
/// (Xeon, 2026-11-23).
pub(crate) const STREAMED_GROUP_COLS: usize = 4096;

/// How many elements ahead x is prefetched where nothing is written.
///
/// Row moments of 16384x4096 in memory: 22.8 ms without, 21.1 with 512 elements, 20.8 with 1024, 20.1 with 2048. The penalty of
/// as many parameters: 23 ms without, 19.9 with 2048. In L2 it costs row moments 0 to 3%. LayerNorm does without, since its
/// second sweep prefetches what comes next: it would take 4% longer there (Xeon, AVX-512, 2026-11-29).
pub(crate) const READ_AHEAD: usize = 2048;

/// How many elements ahead y is prefetched, to be written, where x is swept over once.
///
/// Of memcpy, without and with it: normalise-scale-shift of 128x768 0.84 and 0.90 (64 to 256 elements), BatchNorm inference of
/// 128x768 0.66 and 0.69, dropout of 128x768 0.69 and 0.82 to 0.87. Where another sweep comes first, as in LayerNorm, the stores
/// that wait drain meanwhile, and a prefetch of y only makes the second sweep wait: 0.73 became 0.61. Not so where the rows of
/// a group begin at different places of their cache lines: LayerNorm of 96x1000 went from 0.41 to 0.61, of 2048x1000 from 0.77
/// to 1.02 (Xeon, 2026-11-23).
pub(crate) const WRITE_AHEAD: usize = 64;

/// How many elements ahead dropout prefetches x.
///
/// Of memcpy at 2048x1024 in L3 and 16384x4096 in memory: without 0.93 and 0.80, 256 elements 0.96 and 0.83, 512 0.96 and 0.81,
/// 1024 0.95 and 0.80 (Xeon, 2026-11-23).
pub(crate) const DROPOUT_READ_AHEAD: usize = 256;

/// Columns whose sums are made at a time: three f32 of each are 24 KB of a 32 or 48 KB L1.
///
/// Longer runs of a row are easier for the prefetchers. Column moments of 4096x4096, of a plain sum: 1024 columns 0.68, 2048 0.75
/// (Xeon, 2026-11-23).
pub(crate) const COLUMN_PANEL: usize = 2048;

/// Columns whose coefficients are made at a time: three f32 of each are 12 KB of a 32 or 48 KB L1.
pub(crate) const COEFFICIENT_PANEL: usize = 1024;

/// Columns that a scaler's fit works on at a time: K in f32, S and Q in f64 are 20 KB of a 32 or 48 KB L1.
pub(crate) const FIT_PANEL: usize = 1024;

/// Vectors of such a panel.
pub(crate) const FIT_VECTORS: usize = FIT_PANEL / LANES;

/// Rows that share the loads of the coefficients of columns.
///
/// BatchNorm inference of 128x768, of memcpy, AVX-512 and AVX2: 2 rows 0.59 and 0.66, 4 rows 0.67 and 0.71, 8 rows 0.65 and 0.58
/// (Xeon, 2026-11-23).
pub(crate) const SWEEP_ROWS: usize = 4;

/// Elements from one of these rows to the next, or more: rows of one page, read in turns, are no stream that prefetchers
/// follow.
///
/// BatchNorm inference, of a non-temporal copy: 1000000x64 0.65 without and 0.98 with it, 250000x256 0.67 and 0.98, 20000000x3
/// 0.71 and 0.91. In the caches it is up to 6% faster or 1% slower (Xeon, AVX-512, 2026-11-25).
pub(crate) const ROWS_APART: usize = 1024;

/// Elements of a panel of positions, LayerNorm over channels, that stay in a cache: 512 KB of a L2 of 1 or 2 MB, or of a share
/// of L3.
pub(crate) const PANEL_ELEMENTS: usize = 1 << 17;

/// Elements of a channel of all samples up to which its sums and its gradients are made one after the other: x and dy, 1 MiB of them,
/// are in L2 then.
pub(crate) const CHANNEL_ELEMENTS: usize = 1 << 17;

/// Elements of 4096 bytes. Where rows are a multiple of them apart, a column of them falls into a few sets of a cache, and no
/// panel of many channels stays there, however narrow: wide ones are swept over faster.
///
/// LayerNorm over channels, narrow panels and wide ones: 512x4096 1349 and 1130 us, 1024x4096 3670 and 2780, 1280x1024 1014 and
/// 816, while 768x3136 would go from 1242 to 1390 (Xeon, AVX-512, 2026-11-29).
pub(crate) const PAGE: usize = 1024;

/// Elements that make a parallel task worth forking.
///
/// In a pool of two, one thread and two: LayerNorm of 33 thousand elements 3.2 and 3.1 us, of 131 thousand 12.4 and 8.0; BatchNorm
/// training, which forks twice, of 66 thousand 12.8 and 15.6, of 263 thousand 50 and 30 (Xeon, 2026-11-23). A caller outside of
/// the pool also waits for a worker to wake up: [`OUTSIDE_ELEMENTS`].
pub(crate) const TASK_ELEMENTS: usize = 1 << 16;

/// Elements from which a call that comes from outside of rayon's pool forks.
///
/// Its workers sleep then, and the caller sleeps until one of them has woken up and finished. LayerNorm from outside of a pool of
/// two, one thread and two, us: 512x384 55 and 86, 1024x384 97 and 138 (2 cores of a Xeon, AVX-512, 2026-11). Another run, by
/// `benches/threads.rs`: 128x1024 32 and 52, 512x384 54 and 75, 1024x384 146 and 125, 768x1024 295 and 244, 1024x1024 408 and 324,
/// 2048x1024 817 and 531 (2026-11-30). Below 2^20 elements a fork makes calls up to three fifths slower, or at most a sixth faster.
pub(crate) const OUTSIDE_ELEMENTS: usize = 1 << 20;

/// Bytes of an output from which non-temporal stores are faster.
///
/// LayerNorm of rows of 1024, GB/s with ordinary and with non-temporal stores: 8 MiB 28.7 and 26.6, 16 MiB 28.5 and 26.7, 24 MiB
/// 27.2 and 26.5, 32 MiB 21.6 and 26.4, 64 MiB 14.5 and 26.0 (Xeon whose 480 MiB of L3 are shared with other guests, 2026-11-23).
pub(crate) const STREAMED_BYTES: usize = 32 << 20;

/// Elements of a row from which non-temporal stores are worth it where rows do not fill their cache lines: the lines that
/// two rows share are written with ordinary stores.
///
/// Normalise-scale-shift of 200 MB, GB/s with ordinary and with non-temporal stores: rows of 100 14.3 and 9.1, of 500 14.2 and
/// 17.9, of 1000 15.6 and 19.9 (Xeon, 2026-11-23).
pub(crate) const STREAMED_COLS: usize = 256;

/// How many f32 the rows are that are widened, worked on and narrowed at a time: 16 KiB, so that L1 holds them beside what is
/// prefetched behind them and the elements of 16 bits.
///
/// RmsNorm of f16, 128x768, AVX-512, in multiples of the time in f32, by the rows of a tile: 4 rows 2.2, 8 rows 2.9, 16 rows 2.6 to 2.8
/// (Xeon with 48 KiB of L1, 2026-11-30).
pub(crate) const TILE_ELEMENTS: usize = 4096;
