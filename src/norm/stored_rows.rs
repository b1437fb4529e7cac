//! The driver of operations on rows that are not stored as f32: rows are widened into a tile that stays in L1 or L2, worked on there by the
//! same kernels, and narrowed from there.
#![forbid(unsafe_code)]

use crate::args::norm::{NormArgs, Residual};
use crate::element::{Elements, Storage, check_elements};
use crate::error::Error;
use crate::kernels::elementwise::storage::{LoadRows, LoadSum, StoreRows, SumPlace, SumRows};
use crate::kernels::row_filter::RowFilter;
use crate::kernels::rows::dropped::RowDropout;
use crate::kernels::rows::source::RowSource;
use crate::kernels::split::Split;
use crate::kernels::tuning::TILE_ELEMENTS;
use crate::norm::row_dropout::{MatrixDropout, drop_rows};
use crate::norm::rows::{self, RowNorm};
use crate::pitch::{Pitch, check_rows};
use crate::run::execution::Call;
use crate::run::stored::{half_format, widened, widened_lens};
use crate::run::tile::{Rooms, Tile};
use crate::shape::Rows;
use crate::simd::{InOut, Io, LANES, Span, StoredRows};

/// Normalises every row, with gamma, beta and the inputs of `args`, then zeroes padding. The caller has checked the outputs of
/// statistics.
pub(crate) fn normalize<T: RowSource>(
    call: Call<'_>,
    io: Io<'_>,
    rows: Rows,
    norm: RowNorm<T>,
    padding: Option<RowFilter<'_>>,
    args: &mut NormArgs<'_>,
) -> Result<(), Error> {
    let mut io = io;
    if padding.is_none()
        && let Some(affine) = args.usual_affine(rows.cols())
        && let Some(io) = io.usual_rows(rows)
    {
        rows::normalize_usual(call, io, norm, affine);
        return Ok(());
    }
    if args.is_f32(&io) {
        return rows::normalize(call, io, rows, norm, padding, args);
    }
    // One format of 16 bits.
    half_format(args.storages(&io))?;
    normalize_stored(call, io, rows, norm, padding, args)
}

/// The same where something is not stored as f32.
#[inline(never)]
fn normalize_stored<T: RowSource>(
    call: Call<'_>,
    io: Io<'_>,
    rows: Rows,
    norm: RowNorm<T>,
    padding: Option<RowFilter<'_>>,
    args: &mut NormArgs<'_>,
) -> Result<(), Error> {
    let [x_storage, _] = io.storage();
    let mut io = io.stored_rows(rows)?;
    args.check_affine(rows.cols())?;
    check_elements("x_bias", args.bias, rows.cols())?;
    args.check_sum()?;
    let drops = args.dropout.is_some();
    let dropout = MatrixDropout::check(args.dropout.take(), rows)?;
    let gate = read("gate", args.gate, ("gate_pitch", args.gate_pitch), rows)?;
    let added = read("plus", args.added, ("plus_pitch", args.added_pitch), rows)?;
    let mut storage = x_storage;
    let mut updates = false;
    let pitch = ("residual_pitch", args.residual_pitch);
    let residual = match args.residual.take() {
        None => None,
        Some(Residual::Read(residual)) => {
            storage = residual.storage();
            read("residual", Some(residual), pitch, rows)?
        }
        Some(Residual::Updated(residual)) => {
            (storage, updates) = (residual.storage(), true);
            let pitch = check_rows(rows, ("residual", residual.len()), pitch)?;
            Some(StoredRows::in_place(residual, pitch, (rows.rows(), rows.cols())))
        }
    };
    if args.sum.as_ref().is_some_and(|sum| sum.storage() != storage) {
        return Err(Error::Type { arg: "sum" });
    }
    let parameters = [args.gamma, args.beta, args.bias];
    let mut memory = Tile::rooms(widened_lens(&parameters))?;
    let work = Work { io: io.reborrow(), source: norm.source, residual, sum: None, gate, added };
    // The place of a sum is checked before it is called, so that nothing is written until then.
    let run = |work: Work<'_, T>| {
        let [gamma, beta, bias] = widened(call, parameters, &mut Rooms::of(&mut memory));
        let dropout = dropout.and_then(|dropout| dropout.keep_mask(call));
        let one_tile = dropout.is_some();
        let task = Task {
            call,
            // The stream goes through all rows.
            tile: if one_tile { rows.rows() } else { tile_rows(rows.cols(), TILE_ELEMENTS) },
            dropout,
            has_sum: bias.is_some() || drops || work.residual.is_some(),
            norm: RowNorm { source: (), gamma_offset: norm.gamma_offset, gate: norm.gate },
            gamma,
            beta,
            bias,
            storage,
            updates,
        };
        match rows.elements() {
            0 => Ok(()),
            _ if one_tile => task.run(work),
            elements => call.share(work, elements, |part| task.run(part), Result::and),
        }
    };
    match args.sum.take() {
        None => run(work)?,
        Some(sum) => {
            sum.write_stored(args.sum_pitch, rows, |sum| run(Work { sum: Some(sum), ..work }))?
        }
    }
    if let Some(kept) = padding.filter(|_| rows.elements() > 0) {
        let mut run = kept.next_padding(0);
        while !run.is_empty() {
            io.zero_rows(run.clone());
            run = kept.next_padding(run.end);
        }
    }
    Ok(())
}

/// Rows of an argument that is there.
pub(super) fn read<'a>(
    arg: &'static str,
    elements: Option<Elements<'a>>,
    pitch: (&'static str, Option<Pitch>),
    rows: Rows,
) -> Result<Option<StoredRows<'a>>, Error> {
    let Some(elements) = elements else { return Ok(None) };
    let pitch = check_rows(rows, (arg, elements.len()), pitch)?;
    Ok(Some(StoredRows::reading(elements, pitch, (rows.rows(), rows.cols()))))
}

/// How many rows of so many elements are widened at a time: whole groups, as kernels work on them, where several fit.
pub(super) fn tile_rows(cols: usize, tile: usize) -> usize {
    let rows = (tile / cols.max(1)).max(1);
    [LANES, 4, 2].into_iter().find(|&group| rows >= group).map_or(1, |group| rows - rows % group)
}

/// Rows that a task works on.
struct Work<'a, T> {
    io: StoredRows<'a>,
    source: T,
    residual: Option<StoredRows<'a>>,
    sum: Option<StoredRows<'a>>,
    gate: Option<StoredRows<'a>>,
    added: Option<StoredRows<'a>>,
}

impl<T: RowSource> Split for Work<'_, T> {
    fn rows(&self) -> usize {
        self.io.rows()
    }

    fn split_at(self, at: usize) -> (Self, Self) {
        let (io, high_io) = self.io.split_at(at);
        let (source, high_source) = self.source.split_at(at);
        let (residual, high_residual) = split(self.residual, at);
        let (sum, high_sum) = split(self.sum, at);
        let (gate, high_gate) = split(self.gate, at);
        let (added, high_added) = split(self.added, at);
        (
            Self { io, source, residual, sum, gate, added },
            Self {
                io: high_io,
                source: high_source,
                residual: high_residual,
                sum: high_sum,
                gate: high_gate,
                added: high_added,
            },
        )
    }
}

/// Splits rows that may be absent.
pub(super) fn split(
    rows: Option<StoredRows<'_>>,
    at: usize,
) -> (Option<StoredRows<'_>>, Option<StoredRows<'_>>) {
    rows.map(|rows| rows.split_at(at)).unzip()
}

/// What all tasks share.
struct Task<'a> {
    call: Call<'a>,
    norm: RowNorm<()>,
    gamma: Option<&'a [f32]>,
    beta: Option<&'a [f32]>,
    bias: Option<&'a [f32]>,
    dropout: Option<RowDropout<'a>>,
    /// Rows of a tile: all, where there is dropout.
    tile: usize,
    /// Whether x has addends, or is dropped.
    has_sum: bool,
    /// What the sum is rounded to.
    storage: Storage,
    /// Whether the residual becomes the sum.
    updates: bool,
}

impl Task<'_> {
    /// Works on rows, a tile at a time.
    fn run<T: RowSource>(&self, work: Work<'_, T>) -> Result<(), Error> {
        let (rows, cols) = (work.io.rows(), work.io.cols());
        let most = self.tile.min(rows);
        let rooms = [true, work.residual.is_some(), work.gate.is_some(), work.added.is_some()];
        let rooms = rooms.iter().filter(|&&is| is);
        let mut memory = Tile::rooms(rooms.map(|_| most * cols))?;
        let mut rest = work;
        while rest.io.rows() > 0 {
            let rows = most.min(rest.io.rows());
            let (part, next) = rest.split_at(rows);
            self.tile(part, Rooms::of(&mut memory))?;
            rest = next;
        }
        Ok(())
    }

    /// Works on the rows of one tile.
    fn tile<T: RowSource>(&self, mut work: Work<'_, T>, mut rooms: Rooms<'_>) -> Result<(), Error> {
        let (call, rows) = (self.call, work.io.rows());
        let call = if self.dropout.is_some() { call } else { call.serial() };
        let elements = rows * work.io.cols();
        let mut room = || rooms.next(elements);
        let x = room();
        let residual = work.residual.as_mut().map(|residual| (residual, room()));
        let place = match &mut work.sum {
            Some(sum) => SumPlace::Rows(sum),
            None if self.updates => SumPlace::Residual,
            None => SumPlace::Nowhere,
        };
        let mut sum = LoadSum { bias: self.bias, residual, storage: self.storage, place };
        if let Some(dropout) = self.dropout {
            let (residual, place) = (None, SumPlace::Nowhere);
            let first = LoadSum { bias: sum.bias.take(), residual, storage: Storage::F32, place };
            call.run_serial(LoadRows { io: &work.io, rows: 0..rows, out: x, sum: Some(first) });
            drop_rows(call, Span::in_place(x), work.io.cols(), dropout);
            call.run_serial(SumRows { rows: 0..rows, out: x, sum });
        } else {
            let sum = self.has_sum.then_some(sum);
            call.run_serial(LoadRows { io: &work.io, rows: 0..rows, out: x, sum });
        }
        let mut load = |input: &Option<StoredRows<'_>>| {
            let io = input.as_ref()?;
            let out = room();
            call.run_serial(LoadRows { io, rows: 0..rows, out: &mut *out, sum: None });
            Some(&*out)
        };
        let (gate, added) = (load(&work.gate), load(&work.added));
        let args = NormArgs {
            gamma: self.gamma.map(Elements::F32),
            beta: self.beta.map(Elements::F32),
            gate: gate.map(Elements::F32),
            added: added.map(Elements::F32),
            ..NormArgs::new()
        };
        let RowNorm { gamma_offset, gate, .. } = self.norm;
        let norm = RowNorm { source: work.source, gamma_offset, gate };
        let shape = Rows::new(rows, work.io.cols())?;
        InOut::in_place(&mut *x)
            .write_whole(|io| rows::normalize(call, io, shape, norm, None, &mut { args }))?;
        call.run_serial(StoreRows { io: &mut work.io, rows: 0..rows, from: x, room: None });
        Ok(())
    }
}
