//! Where an operation reads and writes, and rows at a pitch.
#![forbid(unsafe_code)]

use std::fmt::Arguments;

use evenkeel::{Error, InOut, Rows};

use crate::{Stored, lines, same_bytes, uninit};

/// Where an operation reads and writes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Io {
    TwoBuffers,
    InPlace,
    Uninit,
    Strided,
    StridedInPlace,
    StridedUninit,
}

impl Io {
    /// Without pitches.
    pub const CONTIGUOUS: [Self; 3] = [Self::TwoBuffers, Self::InPlace, Self::Uninit];

    pub const ALL: [Self; 6] = [
        Self::TwoBuffers,
        Self::InPlace,
        Self::Uninit,
        Self::Strided,
        Self::StridedInPlace,
        Self::StridedUninit,
    ];

    /// Whether y is x.
    pub fn in_place(self) -> bool {
        matches!(self, Self::InPlace | Self::StridedInPlace)
    }

    /// How the rows of x and of y lie, at these pitches where there are any.
    pub fn layouts(self, rows: Rows, [x_pitch, y_pitch]: [usize; 2]) -> [Layout; 2] {
        let [x, y] = match self {
            Self::TwoBuffers | Self::InPlace | Self::Uninit => [None; 2],
            Self::Strided => [Some(x_pitch), Some(y_pitch)],
            Self::StridedInPlace => [Some(x_pitch); 2],
            Self::StridedUninit => [Some(x_pitch), None],
        };
        [Layout { rows, pitch: x }, Layout { rows, pitch: y }]
    }

    /// Calls an operation with x and y, at these pitches where there are any. Asserts that what it returns is what it wrote.
    pub fn call<T: Stored>(
        self,
        x: &mut [T],
        y: &mut [T],
        [x_pitch, y_pitch]: [usize; 2],
        operation: impl for<'a> FnOnce(InOut<'_, 'a, T>) -> Result<&'a mut [T], Error>,
    ) -> Result<(), Error> {
        let written = if self.in_place() { x.as_ptr_range() } else { y.as_ptr_range() };
        let returned = operation(match self {
            Self::TwoBuffers => InOut::new(x, y),
            Self::InPlace => InOut::in_place(x),
            Self::Uninit => InOut::uninit(x, uninit(y)),
            Self::Strided => InOut::strided(x, x_pitch, y, y_pitch),
            Self::StridedInPlace => InOut::strided_in_place(x, x_pitch),
            Self::StridedUninit => InOut::strided_uninit(x, x_pitch, uninit(y)),
        })?;
        assert_eq!(returned.as_ptr_range(), written, "{self:?}: another slice than y is returned");
        Ok(())
    }

    /// The same without pitches.
    pub fn call_contiguous<T: Stored>(
        self,
        x: &mut [T],
        y: &mut [T],
        operation: impl for<'a> FnOnce(InOut<'_, 'a, T>) -> Result<&'a mut [T], Error>,
    ) -> Result<(), Error> {
        assert!(Self::CONTIGUOUS.contains(&self), "{self:?} has pitches");
        self.call(x, y, [0; 2], operation)
    }

    /// The rows of y after a call, if it succeeded. Asserts that nothing but them has changed, in x and y before and after it.
    #[track_caller]
    pub fn written(
        self,
        succeeded: bool,
        [of_x, of_y]: [Layout; 2],
        x: [&[f32]; 2],
        y: [&[f32]; 2],
        what: Arguments<'_>,
    ) -> Option<Vec<f32>> {
        let may_change = |is_output: bool| succeeded && is_output;
        assert!(may_change(self.in_place()) || same_bytes(x[0], x[1]), "{what}: x has changed");
        assert!(may_change(!self.in_place()) || same_bytes(y[0], y[1]), "{what}: y has changed");
        let (layout, [before, after]) = if self.in_place() { (of_x, x) } else { (of_y, y) };
        succeeded.then(|| {
            let rows = layout.take(after);
            if layout.pitch.is_some() {
                let mut expected = before.to_vec();
                layout.put(&rows, &mut expected);
                assert!(same_bytes(&expected, after), "{what}: what is between rows has changed");
            }
            rows
        })
    }
}

/// Pitches of rows that are so far apart; one in 64 is shorter than a row, if it can be.
pub fn pitches<const N: usize>(rows: Rows, between: [u8; N]) -> [usize; N] {
    between.map(|between| match rows.cols().checked_sub(1) {
        Some(short) if between >= 252 => short,
        _ => rows.cols() + usize::from(between % 40),
    })
}

/// How rows lie in a buffer: at a pitch, or one behind the other.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    pub rows: Rows,
    pub pitch: Option<usize>,
}

impl Layout {
    fn pitch(self) -> usize {
        self.pitch.unwrap_or(self.rows.cols())
    }

    /// Elements from the first to the last.
    pub fn reach(self) -> usize {
        match self.rows.rows() {
            0 => 0,
            count => (count - 1) * self.pitch() + self.rows.cols(),
        }
    }

    /// Whether the operations accept a buffer of so many elements.
    pub fn fits(self, len: usize) -> bool {
        match self.pitch {
            Some(pitch) => pitch >= self.rows.cols() && len >= self.reach(),
            None => len == self.rows.elements(),
        }
    }

    /// Puts rows where they lie, as far as there is room. What is between them stays.
    pub fn put(self, values: &[f32], buffer: &mut [f32]) {
        for (r, row) in lines(values, self.rows).enumerate() {
            let at = r * self.pitch();
            if let Some(place) = buffer.get_mut(at..at + row.len()) {
                place.copy_from_slice(row);
            }
        }
    }

    /// The rows one behind the other, of a buffer that holds them.
    pub fn take(self, buffer: &[f32]) -> Vec<f32> {
        let row = |r: usize| &buffer[r * self.pitch()..][..self.rows.cols()];
        (0..self.rows.rows()).flat_map(row).copied().collect()
    }

    /// A buffer that holds the rows. Between them are numbers and NaN.
    pub fn spread(self, values: &[f32]) -> Vec<f32> {
        let between = [7.5, f32::NAN, -0.25].into_iter().cycle();
        let mut buffer: Vec<f32> = between.take(self.reach()).collect();
        self.put(values, &mut buffer);
        buffer
    }
}
