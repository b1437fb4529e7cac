//! Calls on what is not stored as f32: x is widened as a whole, and y narrowed.
//!
//! A copy of x as f32 costs its memory, and a sweep over it each way. Rows do without it (`norm/stored_rows.rs`).
#![forbid(unsafe_code)]

use crate::element::{Elements, Half, Storage};
use crate::error::Error;
use crate::kernels::elementwise::storage::{NarrowAll, WidenAll};
use crate::pitch::Pitch;
use crate::run::execution::Call;
use crate::run::tile::{Rooms, Tile};
use crate::shape::Rows;
use crate::simd::{InOut, Io, StoredRows, Widen};

/// The format of what is not stored as f32: `None` if everything is. A call has one such format.
#[inline]
pub(crate) fn half_format(
    arguments: impl IntoIterator<Item = (&'static str, Option<Storage>)>,
) -> Result<Option<Half>, Error> {
    let mut format = None;
    for (arg, storage) in arguments {
        if let Some(Storage::Half(half)) = storage
            && half != *format.get_or_insert(half)
        {
            return Err(Error::Type { arg });
        }
    }
    Ok(format)
}

/// The elements of each of these that [`widened`] needs memory for.
pub(crate) fn widened_lens(elements: &[Option<Elements<'_>>]) -> impl Iterator<Item = usize> {
    let half = |elements: &&Elements<'_>| elements.storage() != Storage::F32;
    elements.iter().flatten().filter(half).map(Elements::len)
}

/// Parameters as f32: as they are, or widened into room for them.
pub(crate) fn widened<'s, const N: usize>(
    call: Call<'_>,
    elements: [Option<Elements<'s>>; N],
    rooms: &mut Rooms<'s>,
) -> [Option<&'s [f32]>; N] {
    elements.map(|elements| match elements? {
        Elements::F32(elements) => Some(elements),
        Elements::Half(half, bits) => {
            let out = rooms.next(bits.len());
            call.run_serial(Widen { half, bits, out: &mut *out });
            Some(&*out)
        }
    })
}

/// Calls `run` with x and y as f32.
pub(crate) fn in_f32(
    call: Call<'_>,
    mut io: Io<'_>,
    rows: Rows,
    run: impl FnOnce(Io<'_>) -> Result<(), Error>,
) -> Result<(), Error> {
    if half_format(io.storages())?.is_none() {
        return run(io);
    }
    let ([x_len, y_len], [x_pitch, y_pitch]) = (io.lengths(), io.pitches());
    let mut x = Tile::new(x_len)?;
    widen_all(call, io.reading(), rows, &mut x);
    let done = |result: Result<&mut [f32], Error>| result.map(|_| ());
    let pitch = |pitch: Option<Pitch>| pitch.unwrap_or(rows.cols().into());
    if io.reads_only() {
        let io = match x_pitch {
            None => InOut::read_only(&x),
            Some(pitch) => InOut::strided_read_only(&x, pitch),
        };
        return done(io.write_whole(run));
    }
    if x_len == y_len && x_pitch == y_pitch {
        let in_f32 = match x_pitch {
            None => InOut::in_place(&mut x),
            Some(pitch) => InOut::strided_in_place(&mut x, pitch),
        };
        done(in_f32.write_whole(run))?;
        return narrow_all(call, io, rows, &x, pitch(y_pitch));
    }
    let mut y = Tile::new(y_len)?;
    done(InOut::at_pitches(&x, &mut y, [x_pitch, y_pitch]).write_whole(run))?;
    narrow_all(call, io, rows, &y, pitch(y_pitch))
}

/// Calls `run` with elements as f32.
pub(crate) fn read_in_f32<T>(
    call: Call<'_>,
    x: Elements<'_>,
    run: impl FnOnce(&[f32]) -> Result<T, Error>,
) -> Result<T, Error> {
    match x {
        Elements::F32(x) => run(x),
        Elements::Half(..) => run(x_in_f32(call, x, &mut Tile::new(x.len())?)),
    }
}

/// Elements as f32: as they are, or widened into `memory`.
pub(crate) fn x_in_f32<'s>(call: Call<'_>, x: Elements<'s>, memory: &'s mut [f32]) -> &'s [f32] {
    match x {
        Elements::F32(x) => x,
        Elements::Half(..) => {
            let io = StoredRows::reading(x, x.len().into(), (1, x.len()));
            widen_all(call, io, Rows::one(x.len()), memory);
            memory
        }
    }
}

/// Widens all of x, which is one row; on several threads if it has the elements of `rows`.
fn widen_all(call: Call<'_>, io: StoredRows<'_>, rows: Rows, out: &mut [f32]) {
    let elements = io.cols();
    let is_all = elements > 0 && rows.elements() == elements;
    let io = if is_all { io.cut(rows.cols()) } else { io };
    call.run_parallel(WidenAll { io, out }, elements);
}

/// Narrows rows at a pitch of `from` into those of y.
fn narrow_all(
    call: Call<'_>,
    io: Io<'_>,
    rows: Rows,
    from: &[f32],
    pitch: Pitch,
) -> Result<(), Error> {
    let mut io = io.stored_rows(rows)?;
    if pitch.is_contiguous(rows.cols()) {
        // Beyond the rows there may be more elements, where there is a pitch.
        let from = &from[..rows.elements()];
        call.run_parallel(NarrowAll { io, from }, rows.elements());
        return Ok(());
    }
    for r in 0..rows.rows() {
        let (row, rest) = io.split_at(1);
        let from = &from[pitch.offset(r)..][..rows.cols()];
        call.run_serial(NarrowAll { io: row, from });
        io = rest;
    }
    Ok(())
}
