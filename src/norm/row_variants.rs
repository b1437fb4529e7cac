//! What the row operations that take their statistics from x have in common beside [`forward`](crate::LayerNorm::forward):
//! the sum with a residual, and rows with a pitch.
#![forbid(unsafe_code)]

/// The methods, for an operation with `run_rows` and these statistics, which it takes as this type.
macro_rules! row_variants {
    ($($stat:ident),+: $stats:ty) => {
        /// Normalises `x + residual`, and writes that sum too if there is a `sum`.
        ///
        /// `y = forward(x + residual)`, bit for bit, where the sum is rounded to f32 once: a block of a transformer before
        /// its normalisation. Reads `x` and `residual` from memory once, writes `y` and `sum` once.
        ///
        /// # Errors
        ///
        /// As [`forward`](Self::forward); [`Error::Length`] if `residual` or `sum` is not `rows.elements()` long.
        #[expect(clippy::too_many_arguments, reason = "each buffer is an argument of its own")]
        pub fn forward_residual(
            &self,
            x: &[f32],
            residual: &[f32],
            gamma: Option<&[f32]>,
            beta: Option<&[f32]>,
            rows: Rows,
            y: &mut [f32],
            sum: Option<&mut [f32]>,
        ) -> Result<(), Error> {
            rows.check_io(x.len(), y.len())?;
            let residual = Residual::Added(residual, sum);
            self.run_residual(Span::new(x, y), residual, gamma, beta, rows, None)
        }

        /// As [`forward_residual`](Self::forward_residual), and writes the statistics of the sum, as
        /// [`forward_with_stats`](Self::forward_with_stats) does those of x.
        ///
        /// # Errors
        ///
        /// As [`forward_residual`](Self::forward_residual) and [`forward_with_stats`](Self::forward_with_stats).
        #[expect(clippy::too_many_arguments, reason = "each buffer is an argument of its own")]
        pub fn forward_residual_with_stats(
            &self,
            x: &[f32],
            residual: &[f32],
            gamma: Option<&[f32]>,
            beta: Option<&[f32]>,
            rows: Rows,
            y: &mut [f32],
            sum: Option<&mut [f32]>,
            $($stat: &mut [f64],)+
        ) -> Result<(), Error> {
            rows.check_io(x.len(), y.len())?;
            let (residual, stats) = (Residual::Added(residual, sum), ($($stat),+));
            self.run_residual(Span::new(x, y), residual, gamma, beta, rows, Some(stats))
        }

        /// As [`forward_residual`](Self::forward_residual), and `residual` becomes the sum: `residual += x`,
        /// `y = forward(residual)`.
        ///
        /// # Errors
        ///
        /// As [`forward_residual`](Self::forward_residual).
        pub fn forward_update_residual(
            &self,
            x: &[f32],
            residual: &mut [f32],
            gamma: Option<&[f32]>,
            beta: Option<&[f32]>,
            rows: Rows,
            y: &mut [f32],
        ) -> Result<(), Error> {
            rows.check_io(x.len(), y.len())?;
            let residual = Residual::Updated(residual);
            self.run_residual(Span::new(x, y), residual, gamma, beta, rows, None)
        }

        /// As [`forward_update_residual`](Self::forward_update_residual), and writes the statistics of the sum, as
        /// [`forward_with_stats`](Self::forward_with_stats) does those of x.
        ///
        /// # Errors
        ///
        /// As [`forward_residual_with_stats`](Self::forward_residual_with_stats).
        #[expect(clippy::too_many_arguments, reason = "each buffer is an argument of its own")]
        pub fn forward_update_residual_with_stats(
            &self,
            x: &[f32],
            residual: &mut [f32],
            gamma: Option<&[f32]>,
            beta: Option<&[f32]>,
            rows: Rows,
            y: &mut [f32],
            $($stat: &mut [f64],)+
        ) -> Result<(), Error> {
            rows.check_io(x.len(), y.len())?;
            let (residual, stats) = (Residual::Updated(residual), ($($stat),+));
            self.run_residual(Span::new(x, y), residual, gamma, beta, rows, Some(stats))
        }

        /// As [`forward_update_residual`](Self::forward_update_residual), and `x` becomes y: `residual += x`,
        /// `x = forward(residual)`.
        ///
        /// # Errors
        ///
        /// As [`forward_residual`](Self::forward_residual).
        pub fn forward_update_residual_in_place(
            &self,
            x: &mut [f32],
            residual: &mut [f32],
            gamma: Option<&[f32]>,
            beta: Option<&[f32]>,
            rows: Rows,
        ) -> Result<(), Error> {
            check_length("x", x.len(), rows.elements())?;
            let residual = Residual::Updated(residual);
            self.run_residual(Span::in_place(x), residual, gamma, beta, rows, None)
        }

        /// As [`forward_update_residual_in_place`](Self::forward_update_residual_in_place), and writes the statistics of the
        /// sum, as [`forward_with_stats`](Self::forward_with_stats) does those of x.
        ///
        /// # Errors
        ///
        /// As [`forward_residual_with_stats`](Self::forward_residual_with_stats).
        #[expect(clippy::allow_attributes, reason = "of one operation they are seven, of the other eight")]
        #[allow(clippy::too_many_arguments, reason = "each buffer is an argument of its own")]
        pub fn forward_update_residual_in_place_with_stats(
            &self,
            x: &mut [f32],
            residual: &mut [f32],
            gamma: Option<&[f32]>,
            beta: Option<&[f32]>,
            rows: Rows,
            $($stat: &mut [f64],)+
        ) -> Result<(), Error> {
            check_length("x", x.len(), rows.elements())?;
            let (residual, stats) = (Residual::Updated(residual), ($($stat),+));
            self.run_residual(Span::in_place(x), residual, gamma, beta, rows, Some(stats))
        }

        /// `io` has the shape `rows`.
        pub(crate) fn run_residual<'a>(
            &self,
            io: Span<'a>,
            residual: Residual<'a>,
            gamma: Option<&[f32]>,
            beta: Option<&[f32]>,
            rows: Rows,
            stats: Option<$stats>,
        ) -> Result<(), Error> {
            self.run_rows(residual.add_to(io, rows)?, gamma, beta, rows, stats)
        }

        /// As [`forward`](Self::forward) for rows that begin every `x_pitch` elements of `x` and every `y_pitch` of `y`, as
        /// the parts of a wider matrix do. What lies between two rows of `y` is not touched.
        ///
        /// # Errors
        ///
        /// [`Error::Parameter`] if eps is negative or not finite; [`Error::Length`] if a pitch is less than `rows.cols()`,
        /// `x` or `y` shorter than `(rows.rows() - 1) * pitch + rows.cols()`, or `gamma` or `beta` not `rows.cols()` long;
        /// [`Error::ShapeOverflow`] if that is more than memory has addresses. Nothing is written then.
        #[expect(clippy::too_many_arguments, reason = "each buffer is an argument of its own")]
        pub fn forward_strided(
            &self,
            x: &[f32],
            x_pitch: usize,
            gamma: Option<&[f32]>,
            beta: Option<&[f32]>,
            rows: Rows,
            y: &mut [f32],
            y_pitch: usize,
        ) -> Result<(), Error> {
            self.run_rows(strided(rows, x, x_pitch, y, y_pitch)?, gamma, beta, rows, None)
        }

        /// As [`forward_strided`](Self::forward_strided); reads and writes `x`.
        ///
        /// # Errors
        ///
        /// As [`forward_strided`](Self::forward_strided).
        pub fn forward_strided_in_place(
            &self,
            x: &mut [f32],
            x_pitch: usize,
            gamma: Option<&[f32]>,
            beta: Option<&[f32]>,
            rows: Rows,
        ) -> Result<(), Error> {
            self.run_rows(strided_in_place(rows, x, x_pitch)?, gamma, beta, rows, None)
        }
    };
}

pub(crate) use row_variants;
