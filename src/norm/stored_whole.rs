//! Operations on columns and channels that are not stored as f32, with their arguments: x is widened as a whole, and y narrowed.
//!
//! The sums of a column go through all rows before the first y. Blocks of rows in a cache would be widened twice, once a sweep.
#![forbid(unsafe_code)]

use crate::args::grad::GradArgs;
use crate::args::norm::NormArgs;
use crate::element::Elements;
use crate::error::Error;
use crate::run::execution::Call;
use crate::run::stored::{half_format, in_f32, widened, widened_lens, x_in_f32};
use crate::run::tile::{Rooms, Tile};
use crate::shape::Rows;
use crate::simd::Io;

/// Calls `run` with x, y and the arguments as f32. `rows` is the shape as a matrix.
pub(crate) fn normalize_whole<'a>(
    call: Call<'_>,
    io: Io<'_>,
    rows: Rows,
    args: NormArgs<'a>,
    run: impl for<'r> FnOnce(Io<'_>, NormArgs<'r>) -> Result<(), Error>,
) -> Result<(), Error> {
    if half_format(args.storages(&io))?.is_none() {
        return run(io, args);
    }
    let parameters = [args.gamma, args.beta];
    let mut memory = Tile::rooms(widened_lens(&parameters))?;
    in_f32(call, io, rows, |io| {
        let rooms = &mut Rooms::of(&mut memory);
        let [gamma, beta] = widened(call, parameters, rooms).map(|p| p.map(Elements::F32));
        run(io, NormArgs { gamma, beta, ..args })
    })
}

/// Calls `run` with dy, dx, x and the arguments as f32.
pub(crate) fn gradients_whole<'a>(
    call: Call<'_>,
    io: Io<'_>,
    (x, rows): (Elements<'a>, Rows),
    args: GradArgs<'a>,
    run: impl for<'r> FnOnce(Io<'_>, &'r [f32], GradArgs<'r>) -> Result<(), Error>,
) -> Result<(), Error> {
    if half_format(args.storages(&io, x))?.is_none() {
        return run(io, x.single("x")?, args);
    }
    let parameters = [args.gamma, args.beta];
    let mut memory = Tile::rooms(widened_lens(&[Some(x), args.gamma, args.beta]))?;
    in_f32(call, io, rows, |io| {
        let rooms = &mut Rooms::of(&mut memory);
        let x = match x {
            Elements::F32(x) => x,
            Elements::Half(..) => x_in_f32(call, x, rooms.next(x.len())),
        };
        let [gamma, beta] = widened(call, parameters, rooms).map(|p| p.map(Elements::F32));
        run(io, x, GradArgs { gamma, beta, ..args })
    })
}
