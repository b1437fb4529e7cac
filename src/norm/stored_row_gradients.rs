//! The driver of backward passes over rows that are not stored as f32: dy, x and the other inputs are widened into tiles that stay in a cache,
//! and the gradients narrowed from there.
//!
//! Gradients of parameters are sums over all rows. Those of a tile are made as of f32. The tiles of a segment are added in f64 one after
//! another, and then the segments. Both are cut by the shape alone, so that the sums have the same bits for every number of threads.
#![forbid(unsafe_code)]

use core::ops::Range;

use crate::args::dropout::DropoutArgs;
use crate::args::grad::{Accumulated, GradArgs};
use crate::args::norm::unsupported;
use crate::args::valid_rows::kept_rows;
use crate::element::{Elements, ElementsMut, WideMut};
use crate::error::Error;
use crate::kernels::elementwise::storage::{LoadRows, StoreRows};
use crate::kernels::row_filter::RowFilter;
use crate::kernels::rows::source::RowSource;
use crate::kernels::split::Split;
use crate::mask::{Mask, ValidRows};
use crate::memory;
use crate::norm::row_gradients::{self, scratch_len};
use crate::norm::rows::RowNorm;
use crate::norm::stored_rows::{read, split, tile_rows};
use crate::pitch::{Pitch, check_rows};
use crate::run::execution::Call;
use crate::run::stored::{half_format, widened, widened_lens};
use crate::run::tile::{Rooms, Tile};
use crate::shape::{Rows, check_at_least};
use crate::simd::{InOut, Io, StoredRows};

/// How many f32 of dy, and of x, are widened at a time: 128 KiB of each, in L2. Chosen, not measured. It decides the order in which dgamma and dbeta are added.
const TILE_ELEMENTS: usize = 32768;

/// The most rows of a tile.
const MOST_ROWS: usize = 1024;

/// The most segments: tasks have a segment each.
const SEGMENTS: usize = 16;

/// Makes the gradients of rows that are normalised with the statistics of `norm`, or with those that the forward pass kept.
pub(crate) fn backward<T: RowSource>(
    call: Call<'_>,
    io: Io<'_>,
    x: Elements<'_>,
    rows: Rows,
    norm: RowNorm<T>,
    args: &mut GradArgs<'_>,
) -> Result<(), Error> {
    match half_format(args.storages(&io, x))? {
        None => row_gradients::backward(call, io, x.single("x")?, rows, norm, &mut args.reborrow()),
        Some(_) => backward_stored(call, io, x, rows, norm, args),
    }
}

/// The same where something is not stored as f32.
#[inline(never)]
fn backward_stored<T: RowSource>(
    call: Call<'_>,
    io: Io<'_>,
    x: Elements<'_>,
    rows: Rows,
    norm: RowNorm<T>,
    args: &mut GradArgs<'_>,
) -> Result<(), Error> {
    let parts = norm.source.parts();
    let mut io = io.stored_gradient_rows(rows)?;
    args.check(rows, parts)?;
    let (kept, count) = kept_rows(args.valid, rows.rows())?;
    let kept = (count < rows.rows()).then_some(kept);
    let x = read("x", Some(x), ("x_pitch", args.x_pitch), rows)?;
    let dsum = read("dsum", args.dsum, ("dsum_pitch", args.dsum_pitch), rows)?;
    let gate = read("gate", args.gate, ("gate_pitch", args.gate_pitch), rows)?;
    let dresidual = ("dresidual", args.dresidual.take());
    let dresidual = written(dresidual, ("dresidual_pitch", args.dresidual_pitch), rows)?;
    let dgate = written(("dgate", args.dgate.take()), ("dgate_pitch", args.dgate_pitch), rows)?;
    let keeps_mask = matches!(&args.dropout, Some((_, dropout)) if dropout.mask.is_some());
    unsupported([
        ("keep_mask", keeps_mask),
        ("dbias", args.dbias.is_some() && !io.writes()),
        ("gate", gate.is_some() && !T::TAKES_INPUTS),
        ("dgate", dgate.is_some() && gate.is_none()),
        ("dsum", dsum.is_some() && !io.writes()),
        ("dresidual", dresidual.is_some() && !io.writes()),
    ])?;
    if let Some(scratch) = &args.scratch {
        check_at_least("scratch", scratch.len(), scratch_len(rows))?;
    }
    let wants = [args.dgamma.is_some(), args.dbeta.is_some()];
    // The stream of dropout, and the blocks of dbias, go through all rows.
    let whole = args.dropout.is_some() || args.dbias.is_some();
    let segments = if whole { Segments::whole(rows) } else { Segments::new(rows) };
    let sums_len = if wants == [false; 2] { 0 } else { segments.count * 2 * rows.cols() };
    let mut sums = memory::filled(0.0, sums_len)?;
    let parameters = [args.gamma, args.beta];
    let mut widened_memory = Tile::rooms(widened_lens(&parameters))?;
    // No check comes after this line.

    let [gamma, beta] = widened(call, parameters, &mut Rooms::of(&mut widened_memory));
    let has_work = rows.elements() > 0 && (io.writes() || wants != [false; 2] || dgate.is_some());
    if let (true, Some(x)) = (has_work, x) {
        let work = Work {
            io: io.reborrow(),
            x,
            source: norm.source,
            mean: args.mean,
            rstd: args.rstd,
            gate,
            dsum,
            dresidual,
            dgate,
            parts,
            segments,
            sums: &mut sums,
            first: 0,
            dropout: args.dropout.take(),
            dbias: args.dbias.take(),
        };
        let task = Task {
            call,
            norm: RowNorm { source: (), gamma_offset: norm.gamma_offset, gate: norm.gate },
            gamma,
            beta,
            kept,
            wants,
            whole,
            adds_dresidual: args.adds_dresidual,
            adds_dgate: args.adds_dgate,
        };
        let elements = rows.elements().saturating_mul(2);
        if whole {
            task.run(work)?;
        } else {
            call.share(work, elements, |part| task.run(part), Result::and)?;
        }
    }
    if let Some(Accumulated { out, adds: false }) = args.dbias.take() {
        out.clear();
    }
    let cols = rows.cols();
    for (half, out) in [args.dgamma.take(), args.dbeta.take()].into_iter().enumerate() {
        if let Some(Accumulated { out, adds }) = out {
            write_sums(&sums, (half, cols), out, adds);
        }
    }
    Ok(())
}

/// Rows of an output that is there, which may be read too.
fn written<'a>(
    (arg, elements): (&'static str, Option<ElementsMut<'a>>),
    pitch: (&'static str, Option<Pitch>),
    rows: Rows,
) -> Result<Option<StoredRows<'a>>, Error> {
    let Some(elements) = elements else { return Ok(None) };
    let pitch = check_rows(rows, (arg, elements.len()), pitch)?;
    Ok(Some(StoredRows::in_place(elements, pitch, (rows.rows(), rows.cols()))))
}

/// Adds the sums of all segments in order, and writes them, or adds them to what is there.
fn write_sums(sums: &[f64], (half, cols): (usize, usize), out: WideMut<'_>, adds: bool) {
    let total = |c: usize| -> f64 {
        sums.chunks_exact(2 * cols).fold(0.0, |sum, segment| sum + segment[half * cols + c])
    };
    match out {
        WideMut::Single(out) => {
            for (c, out) in out.iter_mut().enumerate() {
                let before = if adds { f64::from(*out) } else { 0.0 };
                *out = (before + total(c)) as f32;
            }
        }
        WideMut::Double(out) => {
            for (c, out) in out.iter_mut().enumerate() {
                let before = if adds { *out } else { 0.0 };
                *out = before + total(c);
            }
        }
    }
}

/// How rows are cut: by the shape alone.
#[derive(Clone, Copy)]
struct Segments {
    count: usize,
    /// Rows of a segment, whole tiles.
    rows: usize,
    /// Rows of a tile.
    tile: usize,
}

impl Segments {
    /// All rows as one tile.
    fn whole(rows: Rows) -> Self {
        let rows = rows.rows().max(1);
        Self { count: 1, rows, tile: rows }
    }

    fn new(rows: Rows) -> Self {
        let tile = tile_rows(rows.cols(), TILE_ELEMENTS).min(MOST_ROWS);
        let of_segment = rows.rows().div_ceil(SEGMENTS).max(1).next_multiple_of(tile);
        Self { count: rows.rows().div_ceil(of_segment), rows: of_segment, tile }
    }
}

/// Segments that a task works on.
struct Work<'a, T> {
    io: StoredRows<'a>,
    x: StoredRows<'a>,
    source: T,
    mean: Option<&'a [f64]>,
    rstd: Option<&'a [f64]>,
    gate: Option<StoredRows<'a>>,
    dsum: Option<StoredRows<'a>>,
    dresidual: Option<StoredRows<'a>>,
    dgate: Option<StoredRows<'a>>,
    /// Statistics of a row.
    parts: usize,
    segments: Segments,
    /// Those of dgamma, then of dbeta, a segment. None if they are not wanted.
    sums: &'a mut [f64],
    /// The row that row 0 is of all.
    first: usize,
    /// Where all rows are one tile.
    dropout: Option<(f64, DropoutArgs<'a>)>,
    dbias: Option<Accumulated<'a>>,
}

impl<'a, T: RowSource> Work<'a, T> {
    /// The rows before `at`, and the others. `sums` says how many of the sums belong to the former.
    fn cut(self, at: usize, sums: usize) -> (Self, Self) {
        let Self {
            io, x, source, mean, rstd, gate, dsum, dresidual, dgate, parts, segments, ..
        } = self;
        let (io, high_io) = io.split_at(at);
        let (x, high_x) = x.split_at(at);
        let (source, high_source) = source.split_at(at);
        let statistics = |of: Option<&'a [f64]>| of.map(|of| of.split_at(at * parts)).unzip();
        let ((mean, high_mean), (rstd, high_rstd)) = (statistics(mean), statistics(rstd));
        let (gate, high_gate) = split(gate, at);
        let (dsum, high_dsum) = split(dsum, at);
        let (dresidual, high_dresidual) = split(dresidual, at);
        let (dgate, high_dgate) = split(dgate, at);
        let (sums, high_sums) = self.sums.split_at_mut(sums);
        let (first, dropout, dbias) = (self.first, self.dropout, self.dbias);
        (
            Self {
                io,
                x,
                source,
                mean,
                rstd,
                gate,
                dsum,
                dresidual,
                dgate,
                parts,
                segments,
                sums,
                first,
                dropout,
                dbias,
            },
            Self {
                io: high_io,
                x: high_x,
                source: high_source,
                mean: high_mean,
                rstd: high_rstd,
                gate: high_gate,
                dsum: high_dsum,
                dresidual: high_dresidual,
                dgate: high_dgate,
                parts,
                segments,
                sums: high_sums,
                first: first + at,
                dropout: None,
                dbias: None,
            },
        )
    }
}

/// A row of the work is a segment.
impl<T: RowSource> Split for Work<'_, T> {
    fn rows(&self) -> usize {
        self.io.rows().div_ceil(self.segments.rows)
    }

    fn split_at(self, at: usize) -> (Self, Self) {
        let rows = at.saturating_mul(self.segments.rows).min(self.io.rows());
        let sums = if self.sums.is_empty() { 0 } else { at * 2 * self.io.cols() };
        self.cut(rows, sums)
    }
}

/// What all tasks share.
struct Task<'a> {
    call: Call<'a>,
    norm: RowNorm<()>,
    gamma: Option<&'a [f32]>,
    beta: Option<&'a [f32]>,
    kept: Option<RowFilter<'a>>,
    /// Whether dgamma and dbeta are wanted.
    wants: [bool; 2],
    /// Whether all rows are one tile.
    whole: bool,
    adds_dresidual: bool,
    adds_dgate: bool,
}

impl Task<'_> {
    /// Works on segments, a tile at a time.
    fn run<T: RowSource>(&self, work: Work<'_, T>) -> Result<(), Error> {
        let (cols, tile) = (work.io.cols(), work.segments.tile.min(work.io.rows()));
        let rooms = [
            true,
            true,
            work.gate.is_some(),
            work.dsum.is_some(),
            work.dgate.is_some(),
            work.dresidual.is_some() && work.dropout.is_some(),
            self.adds_dresidual || self.adds_dgate,
        ];
        let rooms = rooms.iter().filter(|&&is| is);
        let mut memory = Tile::rooms(rooms.map(|_| tile * cols))?;
        let mut flags = memory::filled(0, if self.kept.is_some() { tile } else { 0 })?;
        let mut scratch = memory::filled(0.0, scratch_len(Rows::new(tile, cols)?))?;
        let mut rest = work;
        while rest.io.rows() > 0 {
            let (mut segment, next) = rest.split_at(1);
            let sums = core::mem::take(&mut segment.sums);
            while segment.io.rows() > 0 {
                let rows = tile.min(segment.io.rows());
                let (part, others) = segment.cut(rows, 0);
                let rooms = Rooms::of(&mut memory);
                self.tile(part, &mut *sums, rooms, (&mut scratch, &mut flags))?;
                segment = others;
            }
            rest = next;
        }
        Ok(())
    }

    /// Works on the rows of one tile.
    fn tile<T: RowSource>(
        &self,
        mut work: Work<'_, T>,
        sums: &mut [f64],
        mut rooms: Rooms<'_>,
        (scratch, flags): (&mut [f64], &mut [u8]),
    ) -> Result<(), Error> {
        let (call, rows) = (self.call, work.io.rows());
        let call = if self.whole { call } else { call.serial() };
        let shape = Rows::new(rows, work.io.cols())?;
        let mut room = || rooms.next(shape.elements());
        let mut load = |io: &StoredRows<'_>| {
            let out = room();
            call.run_serial(LoadRows { io, rows: 0..rows, out: &mut *out, sum: None });
            out
        };
        let (dy, x) = (load(&work.io), load(&work.x));
        let (gate, dsum) = (work.gate.as_ref().map(&mut load), work.dsum.as_ref().map(&mut load));
        let mut dgate = work.dgate.as_ref().map(|_| room());
        // Dropout makes dx another than the gradient of the residual.
        let of_residual = work.dresidual.as_ref().filter(|_| work.dropout.is_some());
        let mut of_residual = of_residual.map(|_| room());
        let args = GradArgs {
            gamma: self.gamma.map(Elements::F32),
            beta: self.beta.map(Elements::F32),
            mean: work.mean,
            rstd: work.rstd,
            gate: gate.map(|gate| Elements::F32(gate)),
            dsum: dsum.map(|dsum| Elements::F32(dsum)),
            dgate: dgate.as_deref_mut().map(ElementsMut::F32),
            dresidual: of_residual.as_deref_mut().map(ElementsMut::F32),
            valid: self.kept.map(|kept| {
                let range = work.first..work.first + rows;
                for (flag, row) in flags.iter_mut().zip(range) {
                    *flag = u8::from(kept.count(row..row + 1) == 1);
                }
                ValidRows::Mask(Mask::Bytes(&flags[..rows]))
            }),
            scratch: Some(scratch),
            dropout: work.dropout,
            dbias: work.dbias,
            ..GradArgs::new()
        };
        let (of_gamma, of_beta) = sums.split_at_mut(sums.len() / 2);
        let args = if self.wants[0] { args.add_dgamma(of_gamma) } else { args };
        let mut args = if self.wants[1] { args.add_dbeta(of_beta) } else { args };
        let RowNorm { gamma_offset, gate, .. } = self.norm;
        let norm = RowNorm { source: work.source, gamma_offset, gate };
        let run = |io: Io<'_>| row_gradients::backward(call, io, x, shape, norm, &mut args);
        let has_dx = work.io.writes();
        if has_dx {
            InOut::in_place(&mut *dy).write_whole(run)?;
        } else {
            InOut::read_only(&*dy).write_whole(run)?;
        }
        let mut add_room = (self.adds_dresidual || self.adds_dgate).then(room);
        let mut store = |io: &mut StoredRows<'_>, from: &[f32], adds: bool| {
            let Some(room) = add_room.as_deref_mut().filter(|_| adds) else {
                return call.run_serial(StoreRows { io, rows: 0..rows, from, room: None });
            };
            // What is added to keeps its padding.
            let of_tile = |rows: Range<usize>| rows.start - work.first..rows.end - work.first;
            let (end, mut run) = (work.first + rows, work.first..work.first);
            while run.end < end {
                run = match self.kept {
                    None => run.end..end,
                    Some(kept) => kept.before(end).next_run(run.end, rows),
                };
                let rows = of_tile(run.clone());
                let elements = rows.start * shape.cols()..rows.end * shape.cols();
                let (from, room) = (&from[elements.clone()], Some(&mut room[elements]));
                call.run_serial(StoreRows { io, rows, from, room });
            }
        };
        if has_dx {
            store(&mut work.io, dy, false);
        }
        if let Some(dresidual) = &mut work.dresidual {
            store(dresidual, of_residual.as_deref().unwrap_or(dy), self.adds_dresidual);
        }
        if let (Some(io), Some(dgate)) = (&mut work.dgate, &dgate) {
            store(io, dgate, self.adds_dgate);
        }
        Ok(())
    }
}
