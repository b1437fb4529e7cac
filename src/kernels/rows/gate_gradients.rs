//! The gradients of rows with a gate, and of groups of a row, which have statistics of their own.
//!
//! The plain algorithm. With a gate after the norm, `y = n * f(z)` and `n = gamma * x_hat + beta`:
//!
//! ```text
//! dz = dy * n * f'(z);  then what `kernels/rows/backward.rs` does, with dy * f(z) in place of dy
//! ```
//!
//! With a gate before it, `y = norm(u)` and `u = x * f(z)`:
//!
//! ```text
//! du, dgamma, dbeta = what `kernels/rows/backward.rs` does, with u in place of x
//! dx = du * f(z) + dsum;  dz = du * x * f'(z)
//! ```
//!
//! * **One part at a time**: a row, or a group of it. What takes the place of dy or x, and du, are two rows of scratch. All
//!   that a part needs is in L1 when it is read again: memory is read and written once.
//! * **Dropout of dx**, and the sums of it, come last, of a part that is in L1.
//! * **u has the bits of the forward pass**, and so have the statistics that are made of it.
//! * **f and f' share an exponential and a division** (`kernels/rows/gate.rs`). No difference cancels in f'.
#![forbid(unsafe_code)]

use core::ops::Range;

use super::backward::{BackwardRows, GradientRows, GradientSource, Part};
use super::column_sums::{ChunkWork, ColumnSums, DbiasSums};
use super::dropped::{DroppedRows, dropped_rows, in_parts};
use super::gate::{gate, gate_and_slope};
use super::gradient_sweeps::{EXTRA, Gamma, largest_factor};
use super::reduce::Cascades;
use super::source::{MeanVariance, RowSource, RowStatistics};
use super::sweep::Standardize;
use crate::gate::{Gate, GateFunction, GatePlace};
use crate::kernels::elementwise::choices::REACH;
use crate::kernels::split::Split;
use crate::pitch::PitchedRows;
use crate::simd::{Float, Group, Kernel, LANES, RowInputs, RowSpan, Simd, Span, halves};

/// The gradients of rows part by part. Rows of the work are chunks, whose scratch has room for two rows of f32.
pub(crate) struct BackwardParts<'a, T> {
    /// dy and dx have no inputs beside them.
    pub(crate) rows: BackwardRows<'a, T>,
    /// Parts of a row.
    pub(crate) parts: usize,
    pub(crate) x: PitchedRows<'a>,
    pub(crate) dsum: Option<PitchedRows<'a>>,
    pub(crate) beta: Option<&'a [f32]>,
    pub(crate) gate: Option<GateGradient<'a>>,
}

/// A gate, and where its gradient is written, or added to what is there.
pub(crate) struct GateGradient<'a> {
    pub(crate) gate: Gate,
    pub(crate) z: PitchedRows<'a>,
    pub(crate) dz: Option<RowSpan<'a>>,
    pub(crate) adds: bool,
}

impl<T: RowSource> Split for BackwardParts<'_, T> {
    fn rows(&self) -> usize {
        self.rows.rows()
    }

    fn split_at(self, at: usize) -> (Self, Self) {
        let row = (at * self.rows.blocks.chunk).min(self.rows.io.rows());
        let (rows, high_rows) = self.rows.split_at(at);
        let (x, high_x) = self.x.split_at(row);
        let (dsum, high_dsum) = self.dsum.map(|dsum| dsum.split_at(row)).unzip();
        let (gate, high_gate) = self.gate.map(|gate| gate.split_at(row)).unzip();
        (
            Self { rows, x, dsum, gate, ..self },
            Self { rows: high_rows, x: high_x, dsum: high_dsum, gate: high_gate, ..self },
        )
    }
}

impl GateGradient<'_> {
    fn split_at(self, row: usize) -> (Self, Self) {
        let (z, high_z) = self.z.split_at(row);
        let (dz, high_dz) = self.dz.map(|dz| dz.split_at(row)).unzip();
        (Self { z, dz, ..self }, Self { z: high_z, dz: high_dz, ..self })
    }
}

impl<T: RowSource> Kernel for BackwardParts<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, token: S) {
        token.vectorize(Parts(self));
    }
}

/// The same as a function of its own. Both sums of each column are made, whether they are wanted or not: another case would cost
/// more to compile than they cost beside a gate.
struct Parts<'a, T>(BackwardParts<'a, T>);

impl<T: RowSource> Kernel for Parts<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, token: S) {
        let BackwardParts { rows, parts, x, dsum, beta, gate } = self.0;
        let BackwardRows { io, source, gamma, dresidual, adds_dresidual, kept, first, .. } = rows;
        let BackwardRows { blocks, scratch, dropout, has_dbias, .. } = rows;
        let (count, cols) = (io.rows(), io.cols());
        let work = &mut Chunk {
            io,
            dresidual,
            adds_dresidual,
            dropped: dropped_rows(dropout, first, (count, cols)),
            first,
            has_dbias,
            dbias: None,
            parts,
            x,
            dsum,
            beta,
            gate,
            source,
            gamma,
            largest: largest_factor::<S>(token, gamma),
            sums: ColumnSums::new(&mut [], 0),
            buffers: [&mut [], &mut []],
            cascade: None,
        };
        blocks.go_through(token, count, (kept, first), scratch, work);
    }
}

/// The rows of a chunk.
struct Chunk<'a, 's, T: RowSource> {
    io: RowSpan<'a>,
    dresidual: Option<RowSpan<'a>>,
    adds_dresidual: bool,
    dropped: Option<DroppedRows<'a>>,
    first: usize,
    has_dbias: bool,
    dbias: Option<DbiasSums<'s>>,
    parts: usize,
    x: PitchedRows<'a>,
    dsum: Option<PitchedRows<'a>>,
    beta: Option<&'a [f32]>,
    gate: Option<GateGradient<'a>>,
    source: GradientSource<'a, T>,
    gamma: Gamma<'a>,
    largest: f64,
    sums: ColumnSums<'s, 2>,
    /// What takes the place of dy or of x, and du: a row each.
    buffers: [&'s mut [f32]; 2],
    cascade: Cascades<T::Block, 1>,
}

impl<'s, T: RowSource> ChunkWork<'s> for Chunk<'_, 's, T> {
    #[inline(always)]
    fn begin_chunk(&mut self, mut scratch: &'s mut [f64]) {
        let cols = self.io.cols();
        if self.has_dbias {
            let (others, dbias) = DbiasSums::new(scratch, cols);
            (scratch, self.dbias) = (others, Some(dbias));
        }
        let (sums, buffers) = scratch.split_at_mut(4 * cols);
        self.sums = ColumnSums::new(sums, cols);
        let (first, second) = halves(buffers).split_at_mut(cols);
        self.buffers = [first, second];
    }

    #[inline(always)]
    fn rows<S: Simd>(&mut self, token: S, rows: Range<usize>) {
        for row in rows {
            for part in 0..self.parts {
                self.part(token, row, part);
            }
        }
    }

    #[inline(always)]
    fn end_step(&mut self) {
        self.sums.end_step();
    }

    #[inline(always)]
    fn end_block(&mut self) {
        self.sums.end_block();
    }
}

impl<T: RowSource> Chunk<'_, '_, T> {
    #[inline(always)]
    fn part<S: Simd>(&mut self, token: S, row: usize, part: usize) {
        let len = self.io.cols() / self.parts;
        let columns @ (start, end) = (part * len, (part + 1) * len);
        let [buffer, du] = &mut self.buffers;
        let (x, dsum) = (self.x.part(row, columns), self.dsum.map(|dsum| dsum.part(row, columns)));
        let gamma = self.gamma.columns(start, end);
        let mut gate = self.gate.as_mut().map(
            #[inline(always)]
            |gate| PartGate {
                function: gate.gate.function,
                place: gate.gate.place,
                z: gate.z.part(row, columns),
                dz: gate.dz.as_mut().map(|dz| dz.part(row, columns)),
                adds: gate.adds,
            },
        );
        let mut dresidual = self.dresidual.as_mut().map(|rows| rows.part(row, columns));
        let dy = &self.io.src_row(row)[start..end];

        let place = gate.as_ref().map(|gate| gate.place);
        let product = &mut buffer[..len];
        if let Some(PartGate { function, z, place: GatePlace::BeforeNorm, .. }) = &gate {
            token.outline(Multiply { function: *function, x, z, product });
        }
        let index = row * self.parts + part;
        let normalized = if place == Some(GatePlace::BeforeNorm) { &*product } else { x };
        let [statistics] = self.source.rows(token, index, [normalized], &mut self.cascade);
        if place == Some(GatePlace::AfterNorm)
            && let Some(gate) = gate.take()
        {
            let beta = self.beta.map(|beta| &beta[start..end]);
            token.outline(AfterNorm { gate, x, dy, statistics, gamma, beta, product });
        }
        let product = &*product;
        // du has another place than dx, since dz is made of it too.
        let wants_du = self.io.writes() || gate.as_ref().is_some_and(|gate| gate.dz.is_some());
        let makes_du = wants_du && place == Some(GatePlace::BeforeNorm);
        let (io, normalized) = match place {
            Some(GatePlace::BeforeNorm) if makes_du => {
                let du = Span::in_place(&mut du[..len]);
                (RowSpan::new(du, 1, len).reading(dy), product)
            }
            Some(GatePlace::BeforeNorm) => (self.io.part(row, columns), product),
            Some(GatePlace::AfterNorm) => (self.io.part(row, columns).reading(product), x),
            None => (self.io.part(row, columns), x),
        };
        let mut inputs = RowInputs::new(1, len);
        inputs.forward_x(normalized, len);
        let (has_dsum, second) = match dsum {
            _ if makes_du => (false, None),
            Some(dsum) => {
                inputs.dsum(dsum, len);
                (true, dresidual.take())
            }
            None => (false, dresidual.take()),
        };
        let rows = GradientRows {
            io: io.with_inputs(&mut inputs),
            gamma,
            largest: self.largest,
            has_dsum,
            dresidual: second,
            adds_dresidual: self.adds_dresidual,
            dropped: None,
            first: 0,
            dbias: None,
        };
        let mut part = Part::<2, EXTRA> { rows, sums: self.sums.columns(start, end) };
        part.row::<T, S>(token, 0, statistics);
        drop(part);

        if let (true, Some(gate)) = (makes_du, gate) {
            let dx = self.io.writes().then(|| self.io.part(row, columns));
            let (du, adds) = (&du[..len], self.adds_dresidual);
            token.outline(BeforeNorm { gate, x, du, dsum, dx, dresidual, adds });
        }
        if self.io.writes() && (self.dropped.is_some() || self.dbias.is_some()) {
            token.outline(Finish {
                dx: self.io.part(row, columns).again(),
                dropped: self.dropped.as_mut(),
                row: self.first + row,
                start,
                dbias: self.dbias.as_mut().map(
                    #[inline(always)]
                    |dbias| dbias.columns(start, end),
                ),
            });
        }
    }
}

/// The gate of a part.
struct PartGate<'w> {
    function: GateFunction,
    place: GatePlace,
    z: &'w [f32],
    dz: Option<RowSpan<'w>>,
    adds: bool,
}

/// `x * f(z)`, rounded as in the forward pass.
struct Multiply<'w> {
    function: GateFunction,
    x: &'w [f32],
    z: &'w [f32],
    product: &'w mut [f32],
}

impl Kernel for Multiply<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, token: S) {
        let Self { function, x, z, product } = self;
        each_vector(
            x.len(),
            #[inline(always)]
            |at| {
                let product_of = load(token, x, at) * gate(token, function, load(token, z, at));
                store(token, product, at, product_of);
            },
        );
    }
}

/// `dz = dy * n * f'(z)`, and `dy * f(z)`.
struct AfterNorm<'w> {
    gate: PartGate<'w>,
    x: &'w [f32],
    dy: &'w [f32],
    statistics: RowStatistics,
    gamma: Gamma<'w>,
    beta: Option<&'w [f32]>,
    product: &'w mut [f32],
}

impl Kernel for AfterNorm<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, token: S) {
        let statistics = self.statistics;
        match Standardize::in_f32(token, &[statistics]) {
            Some([row]) => self.on::<S, S::F32>(token, row),
            None => self.on::<S, S::F64>(token, Standardize::new(token, statistics)),
        }
    }
}

impl AfterNorm<'_> {
    #[inline(always)]
    fn on<S: Simd, V: Float<Token = S>>(self, token: S, row: Standardize<V>) {
        let Self {
            gate: PartGate { function, z, mut dz, adds, .. },
            x,
            dy,
            gamma,
            beta,
            product,
            ..
        } = self;
        let mut dz = row_of(&mut dz);
        each_vector(
            x.len(),
            #[inline(always)]
            |at| {
                let (f, slope) = gate_and_slope(token, function, load(token, z, at));
                let dy = load(token, dy, at);
                store(token, product, at, dy * f);
                let Some(dz) = &mut dz else { return };
                // The mean of a norm without one is 0.
                let x_hat = row.apply::<MeanVariance<'_>>(V::of_single(load(token, x, at)));
                let factor = match at {
                    At::Vector(i) => gamma.load::<V>(token, i),
                    At::Tail => gamma.columns(x.len() - x.len() % LANES, x.len()).load_tail(token),
                };
                let n = match beta {
                    Some(beta) => x_hat.mul_add(factor, V::of_single(load(token, beta, at))),
                    None => x_hat * factor,
                };
                write(token, dz, at, adds, (V::of_single(dy * slope) * n).to_single());
            },
        );
    }
}

/// `dx = du * f(z) + dsum`, its second place, and `dz = du * x * f'(z)`.
struct BeforeNorm<'w> {
    gate: PartGate<'w>,
    x: &'w [f32],
    du: &'w [f32],
    dsum: Option<&'w [f32]>,
    dx: Option<RowSpan<'w>>,
    dresidual: Option<RowSpan<'w>>,
    /// Whether dx is added to what is in its second place.
    adds: bool,
}

impl Kernel for BeforeNorm<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, token: S) {
        let Self { gate: PartGate { function, z, mut dz, adds: adds_dz, .. }, x, du, dsum, .. } =
            self;
        let Self { mut dx, mut dresidual, adds, .. } = self;
        let (mut dz, mut dx) = (row_of(&mut dz), row_of(&mut dx));
        let mut dresidual = row_of(&mut dresidual);
        each_vector(
            x.len(),
            #[inline(always)]
            |at| {
                let (f, slope) = gate_and_slope(token, function, load(token, z, at));
                let du = load(token, du, at);
                if let Some(dz) = &mut dz {
                    write(token, dz, at, adds_dz, du * slope * load(token, x, at));
                }
                if let Some(out) = &mut dx {
                    let mut dx = du * f;
                    if let Some(dsum) = dsum {
                        dx = load(token, dsum, at) + dx;
                    }
                    write(token, out, at, false, dx);
                    if let Some(second) = &mut dresidual {
                        write(token, second, at, adds, dx);
                    }
                }
            },
        );
    }
}

/// Dropout of dx, and its sums.
struct Finish<'w, 'd> {
    dx: RowSpan<'w>,
    dropped: Option<&'w mut DroppedRows<'d>>,
    row: usize,
    /// The first column.
    start: usize,
    dbias: Option<DbiasSums<'w>>,
}

impl Kernel for Finish<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, token: S) {
        let Self { mut dx, mut dropped, row, start: first, mut dbias } = self;
        let mut dx = dx.group::<1, 1>(0);
        for (start, end) in in_parts(0, dx.cols(), REACH) {
            let mut dx = dx.columns(start, end);
            let dropped = dropped.as_mut().map(
                #[inline(always)]
                |dropped| dropped.reach(token, row, (first + start, first + end)),
            );
            let mut dbias = dbias.as_mut().map(
                #[inline(always)]
                |dbias| dbias.columns(start, end),
            );
            for i in 0..dx.full() {
                let mut value: S::F32 = dx.load(token, 0, i);
                if let Some(dropped) = dropped {
                    value = dropped.apply(token, i, value);
                }
                dx.store::<_, false>(0, i, value);
                if let Some(dbias) = &mut dbias {
                    dbias.add(token, i, value);
                }
            }
            if dx.tail() > 0 {
                let mut value: S::F32 = dx.load_tail(token, 0, 0.0);
                if let Some(dropped) = dropped {
                    value = dropped.apply(token, dx.full(), value);
                }
                dx.store_tail(0, value);
                if let Some(dbias) = &mut dbias {
                    dbias.add_tail(token, value);
                }
            }
        }
    }
}

/// Elements of a row that are worked on together.
#[derive(Clone, Copy)]
enum At {
    Vector(usize),
    /// What is after the last full vector.
    Tail,
}

/// Calls `work` for each full vector of a row, and for its tail if there is one.
#[inline(always)]
fn each_vector(len: usize, mut work: impl FnMut(At)) {
    for i in 0..len / LANES {
        work(At::Vector(i));
    }
    if !len.is_multiple_of(LANES) {
        work(At::Tail);
    }
}

/// The elements of a row; 0 in the lanes beyond a tail.
#[inline(always)]
fn load<S: Simd>(token: S, row: &[f32], at: At) -> S::F32 {
    match at {
        At::Vector(i) => S::F32::load(token, &row.as_chunks().0[i]),
        At::Tail => S::F32::load_partial(token, row.as_chunks::<LANES>().1, 0.0),
    }
}

#[inline(always)]
fn store<S: Simd>(_: S, row: &mut [f32], at: At, elements: S::F32) {
    match at {
        At::Vector(i) => elements.store_init(&mut row.as_chunks_mut().0[i]),
        At::Tail => elements.store_partial_init(row.as_chunks_mut::<LANES>().1),
    }
}

/// The row of an output that is there. Once a row: within the loop, what it asserts would be tested where there is none.
#[inline(always)]
fn row_of<'s>(out: &'s mut Option<RowSpan<'_>>) -> Option<Group<'s, 1>> {
    out.as_mut().map(
        #[inline(always)]
        |out| out.group::<1, 1>(0),
    )
}

/// Writes elements of a row, or adds them to what is there.
#[inline(always)]
fn write<S: Simd>(token: S, row: &mut Group<'_, 1>, at: At, adds: bool, elements: S::F32) {
    match at {
        At::Vector(i) => {
            let sum = if adds { row.load::<S::F32>(token, 0, i) + elements } else { elements };
            row.store::<_, false>(0, i, sum);
        }
        At::Tail => {
            let sum =
                if adds { row.load_tail::<S::F32>(token, 0, 0.0) + elements } else { elements };
            row.store_tail(0, sum);
        }
    }
}
