//! When every call returns an error, what the error says, and that nothing has been written.
//!
//! The tests go through the registry of operations with one argument wrong at a time, and with any number of them, and compare
//! all buffers bit for bit with what was there before the call.
//!
//! The table lists input that has broken this or another library, the answer, and the test. Tests that are not in this file
//! are in `tests/proof/` or `tests/large.rs`.
//!
//! | input | answer | test |
//! |---|---|---|
//! | no rows, empty rows, an empty slice for dropout | nothing to do | `proof::empty`, `the_largest_empty_shapes` |
//! | a statistic of empty rows or columns | 0 | `proof::empty` |
//! | one column; a batch of one row | beta | `hard_data::constant_rows_equal_beta`, `columns::constant_columns_equal_beta` |
//! | rows * cols that overflows | error | `a_shape_that_no_slice_can_have`, `any_two_numbers_are_a_shape_...` |
//! | rows at a pitch that overlap, or that the slice or memory does not have | error | `a_pitch_that_does_not_fit` |
//! | an argument, or a pitch, that the operation does not take | error | `an_argument_that_the_operation_does_not_take` |
//! | batch * channels * positions that overflows, or any two of them | error | `any_three_numbers_are_a_shape_...` |
//! | no groups, more groups than channels, groups that do not divide them | error | `groups_that_do_not_divide_the_channels` |
//! | shapes over 2^31 and 2^32 elements | the bits of small ones | `large.rs` |
//! | a length that is right in 31 or 32 of its bits | error | `any_call_succeeds_or_says_...`, `large::a_length_...` |
//! | gamma or beta too short or too long; running statistics, outputs or scratch too short or empty | error | `a_length_that_is_not_the_shapes` |
//! | gamma without beta, beta without gamma | the formula | the same, `hard_data` |
//! | inference without running statistics | the types rule it out | |
//! | a running variance below 0 | error | `a_running_variance_that_is_negative` |
//! | running statistics of NaN or infinity | NaN in their channel; beta | `edges::running_statistics_that_are_poisoned`, `edges::no_variance_...` |
//! | constant rows and columns, of any magnitude, with eps or without | beta | `hard_data::constant_rows_equal_beta` |
//! | variance 0 and eps 0 | beta | the same, `edges::no_variance_and_no_eps_give_beta` |
//! | eps below 0, NaN, infinite | error | `an_eps_that_is_negative_or_not_finite` |
//! | eps beyond f32, small or large | added in f64 | `edges::an_eps_that_f32_cannot_hold` |
//! | a NaN or an infinity in a row or column | its own is NaN, no other bit changes | `hard_data::non_finite_values_stay_in_their_row`, `columns::non_finite_values_...` |
//! | both infinities | NaN | `edges::infinities_that_cancel` |
//! | squares that overflow f32; f32::MAX; neighbours that f32 cannot tell apart; subnormals | within the bound | `hard_data`, `edges::rows_that_were_bugs_elsewhere` |
//! | rows of -0.0 | beta | `hard_data::constant_rows_equal_beta`, `edges::no_variance_...` |
//! | one row whose running variance is to be unbiased | error | `a_batch_of_one_row_whose_variance_is_to_be_unbiased` |
//! | momentum below 0, above 1, NaN | error | `a_momentum_that_is_not_from_0_to_1` |
//! | a factor of a penalty, a rate or a step below 0, NaN, infinite | error | `a_factor_or_a_rate_that_is_negative_or_not_finite` |
//! | a mask or lengths that are not those of the rows; a length above what there is | error | `a_length_that_is_not_the_shapes`, `a_length_of_a_sample_...`, `samples_and_steps_...` |
//! | no valid row | padding is zeroed, statistics stay | `padding::a_batch_without_a_valid_row_...` |
//! | NaN in padding | not read | `padding` |
//! | p below 0, above 1, NaN | error | `a_probability_that_is_not_from_0_to_1` |
//! | p of 0 and 1, whatever x is | a copy; +0.0 | `dropout::the_ends_of_p` |
//! | p next to 1 | finite | `edges::a_probability_next_to_1` |
//! | a stream that ends; seeds and offsets next to 2^64 | error beyond the end; the bits of the definition | `a_range_that_ends_beyond_the_stream`, `edges::the_end_of_the_last_stream` |
//! | in place | the bits of out of place | `hard_data`, `columns`, `dropout` |
//! | null, misaligned or overlapping buffers, negative sizes | the types rule it out; a status in C | `tests/capi/bad_input.rs` |
//! | no tasks, a million, the most there are | the same bits | `edges::any_number_of_tasks` |
//! | calls within a pool's tasks, from several threads at once | the same bits | `edges::calls_within_tasks_and_from_many_threads` |
//! | a call after a fork | the same bits, serially | `edges::calls_in_a_forked_process` |
//! | a scaler that has seen nothing | error | `a_scaler_that_has_seen_no_number` |
//! | samples of more or fewer features than were fitted | error | `samples_of_other_features_than_the_scalers` |
//! | a range whose lower end is not the lower one, NaN, infinite | error | `a_feature_range_that_is_none` |
//! | statistics that no data have | error | `statistics_that_no_samples_have` |
//! | NaN, infinities and constants among the features | ignored; NaN; scale 1 | `scalers::non_finite_values_...`, `scalers::constant_features` |
//! | a backend that the CPU lacks, or that no one knows | error | `a_name_that_no_backend_has_or_whose_backend_this_cpu_lacks` |
//! | moments of nothing, merged | nothing changes | `moments::an_empty_set_merges_as_nothing`, `places::empty_parts_change_nothing` |
//! | moments of parts that are not one set a column; channels of several counts | error | `places::parts_that_do_not_fit`, `places::statistics_that_do_not_fit` |
//! | bytes that are not the state of a scaler | error | `state::bytes_that_are_no_state_are_errors` |
//! | counts over 2^24, 2^53, 2^64 | exact up to the last, where they stop | `edges::counts_of_any_size` |

#[path = "registry/mod.rs"]
#[expect(dead_code, unreachable_pub, unused_imports, reason = "each test uses a part of it")]
mod registry;

use evenkeel::preprocess::{MinMaxScaler, StandardScaler};
use evenkeel::{
    Backend, BatchNorm, Channels, ColumnMoments, Dropout, DropoutArgs, Error, GradArgs, GroupNorm,
    InOut, InstanceNorm, LayerNorm, Mask, MaskMut, MomentArgs, Moments, NormArgs,
    NormalizeScaleShift, Parallelism, RmsNorm, RowMoments, Rows, Statistics, Stream, TrainArgs,
    ValidRows,
};
use proptest::prelude::*;

use registry::{
    AFFINE, Buffer, Memory, OPERATIONS, Operation, Place, Random, Role, Setting, Stored, Takes,
    Values, short,
};

const SHAPES: [(usize, usize); 7] = [(1, 1), (2, 3), (3, 16), (5, 17), (4, 67), (9, 33), (70, 5)];

fn rows((rows, cols): (usize, usize)) -> Rows {
    Rows::new(rows, cols).expect("a small shape")
}

/// What an operation says of itself by its name.
impl Operation {
    fn is(&self, of: &str) -> bool {
        self.name.starts_with(of)
    }
    fn takes_eps(&self) -> bool {
        ["LayerNorm", "RmsNorm", "GroupNorm", "InstanceNorm", "BatchNorm"]
            .iter()
            .any(|norm| self.is(norm))
    }
    fn trains(&self) -> bool {
        self.is("BatchNorm::forward_training")
    }
    fn takes_p(&self) -> bool {
        self.is("Dropout::")
    }
    fn draws(&self) -> bool {
        let none = ["given", "inference", "whole channels"];
        self.takes_p() && !none.iter().any(|of| self.name.contains(of))
    }
    /// How many numbers of the stream it draws for a row of so many elements.
    fn drawn_for_a_row(&self, cols: usize) -> usize {
        if self.name.contains("whole rows") { cols.min(1) } else { cols }
    }
    /// The name of the rate that a penalty takes.
    fn rate(&self) -> Option<&'static str> {
        let rates = [("Regularizer::decay", "learning_rate"), ("Regularizer::proximal", "step")];
        rates.into_iter().find(|(of, _)| self.is(of)).map(|(_, rate)| rate)
    }
    /// Whether x or w itself has the shape of the call.
    fn has_no_shape(&self) -> bool {
        let of = ["Dropout::", "Regularizer::"];
        of.iter().any(|of| self.is(of)) && !self.is("Dropout::mask") && !self.name.contains("whole")
    }
    /// Whether its state or its output is no buffer of the call's, or its lengths are measured by each other and not by a shape.
    /// `scalers_...` are about these, and `proof::places`.
    fn has_state(&self) -> bool {
        let measures_itself = ["ColumnMoments::merge", "BatchNorm::training_statistics"];
        self.name.contains("Scaler::")
            || self.is("Moments::")
            || measures_itself.contains(&self.name)
    }
    /// What errors call x and y, and their pitches.
    fn io_names(&self) -> [[&'static str; 2]; 2] {
        match !self.takes_p() && self.name.contains("::backward") {
            true => [["dy", "dx"], ["dy_pitch", "dx_pitch"]],
            false => [["x", "y"], ["x_pitch", "y_pitch"]],
        }
    }
    /// The valid rows of channels that come first are positions of each of several samples.
    fn has_planes(&self) -> bool {
        self.name.contains("first") || self.name.contains("planes")
    }
}

/// A call of an operation.
struct Call {
    operation: &'static Operation,
    options: Vec<&'static str>,
    memory: Memory,
    setting: Setting,
}

impl Call {
    /// One with nothing wrong, all rows valid.
    fn right(
        operation: &'static Operation,
        options: &[&'static str],
        place: Place,
        shape: (usize, usize),
    ) -> Self {
        let (rows, mut random) = (rows(shape), Random::new(9));
        let values = Values::new(rows, random.normals(shape.0 * shape.1), 1.0, &mut random);
        let mut memory = Memory::new(operation, &values, place, options);
        for (buffer, stored) in &mut memory.others {
            match (buffer.value, stored) {
                ("row_bits" | "row_bytes", Stored::U8(valid)) => valid.fill(u8::MAX),
                ("row_lengths", Stored::Usize(lengths)) => lengths.fill(1),
                _ => {}
            }
        }
        let setting = Setting::new(Backend::detect(), rows);
        Self { operation, options: options.to_vec(), memory, setting }
    }

    fn what(&self) -> String {
        let Self { operation, options, memory, .. } = self;
        format!("{}, {options:?}, {:?}, {:?}", operation.name, memory.place, self.setting.rows)
    }

    fn call(&mut self) -> Result<(), Error> {
        self.memory.call(self.operation, &self.setting)
    }

    fn accepts(mut self) {
        assert_eq!(self.call(), Ok(()), "{}", self.what());
    }

    /// Calls. Asserts that the call returns this error and leaves every buffer as it was.
    fn returns_error(mut self, expected: &Error) {
        let before = self.memory.raw();
        let error = self.call().expect_err(&self.what());
        // As text, since an error that holds a NaN equals no other.
        assert_eq!(format!("{error:?}"), format!("{expected:?}"), "{}", self.what());
        assert!(self.memory.raw() == before, "{}: {error}, and yet written", self.what());
    }

    /// Whether it has a buffer.
    fn has(&self, name: &str) -> bool {
        self.memory.others.iter().any(|(buffer, _)| buffer.name == name)
    }

    fn stored(&mut self, name: &str) -> &mut Stored {
        let mut others = self.memory.others.iter_mut();
        let named = others.find(|(buffer, _)| buffer.name == name).expect("a buffer's name");
        &mut named.1
    }

    fn f32s(&mut self, name: &str) -> &mut [f32] {
        match self.stored(name) {
            Stored::F32(numbers) => numbers,
            _ => panic!("{name} is not f32"),
        }
    }
}

/// Every operation with every set of its options, gamma and beta among them, of these shapes.
fn every_right_call(shapes: &[(usize, usize)], mut test: impl FnMut(&dyn Fn(Place) -> Call)) {
    for operation in OPERATIONS {
        for options in operation.option_sets() {
            let options: Vec<&str> = options.into_iter().chain(AFFINE).collect();
            for &shape in shapes {
                test(&|place| Call::right(operation, &options, place, shape));
            }
        }
    }
}

/// Every operation with all that it takes at once, of which a test makes one thing wrong.
fn every_operation(which: impl Fn(&Operation) -> bool) -> impl Iterator<Item = &'static Operation> {
    OPERATIONS.iter().filter(move |operation| which(operation))
}

/// With the last set of options, which has the most.
fn full(operation: &'static Operation, shape: (usize, usize)) -> Call {
    let set = operation.option_sets().pop().unwrap_or_default();
    let options: Vec<&str> = set.into_iter().chain(AFFINE).collect();
    Call::right(operation, &options, Place::New, shape)
}

/// With this option and no other.
fn with(operation: &'static Operation, option: &'static str, shape: (usize, usize)) -> Call {
    Call::right(operation, &[option], Place::New, shape)
}

/// Otherwise an error would prove nothing.
#[test]
fn right_arguments_are_accepted_and_every_output_is_written() {
    every_right_call(&SHAPES, |right| {
        for &place in right(Place::New).operation.places() {
            let mut call = right(place);
            let before = call.memory.raw();
            assert_eq!(call.call(), Ok(()), "{}", call.what());
            let (after, what) = (call.memory.raw(), call.what());
            if !place.in_place() {
                assert_eq!(after[0], before[0], "{what}: x is only read");
            }
            // That nothing is written between rows, too.
            call.memory.written(&what);
            let (pitch, cols) = (place.pitches(call.memory.rows)[1], call.memory.rows.cols());
            let written = call.memory.y.chunks(pitch).flat_map(|row| &row[..cols.min(row.len())]);
            assert!(!{ written }.any(|&y| registry::is_painted(y)), "{what}: y is not written");
            for (i, (buffer, stored)) in call.memory.others.iter().enumerate() {
                let (before, after) = (&before[2 + i], &after[2 + i]);
                let what = format!("{what}: {}", buffer.name);
                match buffer.role {
                    Role::Read => assert_eq!(after, before, "{what} is only read"),
                    // A mask may be the paint, and what scratch holds is its own.
                    Role::Write if !["mask", "mask_bytes", "scratch"].contains(&buffer.name) => {
                        let paint = Stored::painted(stored.kind(), 1).raw()[0];
                        assert!(!after.contains(&paint), "{what} is not written whole");
                    }
                    Role::Write | Role::Update => {}
                }
            }
        }
    });
}

/// The error of a buffer that is too short or, but for scratch, too long.
fn wrong_length(buffer: &Buffer, expected: usize, got: usize) -> Option<Error> {
    let arg = buffer.arg;
    match buffer.at_least {
        true => (got < expected).then_some(Error::TooShort { arg, expected, got }),
        false => (got != expected).then_some(Error::Length { arg, expected, got }),
    }
}

/// Whether there may be any number of samples: they have no steps.
fn has_any_length(buffer: &Buffer, shape: Rows) -> bool {
    buffer.option == "valid" && ["lengths", "half"].contains(&buffer.value) && shape.cols() == 0
}

#[test]
fn a_length_that_is_not_the_shapes() {
    // Empty ones as well: lengths are checked before it is asked whether there is anything to do.
    let shapes = [(1, 1), (3, 16), (5, 17), (70, 5), (0, 5), (5, 0), (0, 0)];
    every_right_call(&shapes, |right| {
        let call = right(Place::New);
        let (operation, rows) = (call.operation, call.memory.rows);
        if operation.has_state() {
            return;
        }
        for (i, (buffer, stored)) in call.memory.others.iter().enumerate() {
            let measures = operation.has_no_shape() && buffer.name == "w";
            if measures || has_any_length(buffer, rows) {
                continue;
            }
            let expected = stored.len();
            for got in [expected.saturating_sub(1), expected + 1, 0, 2 * expected] {
                let mut call = right(Place::New);
                call.memory.others[i].1.resize(got);
                match wrong_length(buffer, expected, got) {
                    Some(error) => call.returns_error(&error),
                    None => call.accepts(),
                }
            }
        }
        if operation.takes == Takes::Nothing {
            return;
        }
        let expected = rows.elements();
        for got in [expected.saturating_sub(1), expected + 1, 0, 2 * expected] {
            if got == expected {
                continue;
            }
            let [[x, y], _] = operation.io_names();
            for (arg, place) in [(x, Place::New), (x, Place::InPlace), (y, Place::Uninit)] {
                let mut call = right(place);
                let is_x = arg == x && !place.in_place();
                if is_x { &mut call.memory.x } else { &mut call.memory.y }.resize(got, 0.5);
                // An x of any length is right where it has the shape of the call.
                if !operation.has_no_shape() || arg == y {
                    call.returns_error(&Error::Length { arg, expected, got });
                }
            }
        }
    });
}

/// gamma and beta are independent of each other.
#[test]
fn gamma_without_beta_and_beta_without_gamma() {
    for operation in every_operation(|operation| !operation.has_state()) {
        for options in [&["gamma"][..], &["beta"], &[]] {
            Call::right(operation, options, Place::New, (3, 17)).accepts();
        }
    }
}

/// Calls with x, or x and y, at these pitches.
fn call_at(
    operation: &Operation,
    shape: (usize, usize),
    (x, x_pitch): (&[f32], usize),
    (y, y_pitch): (&mut [f32], usize),
) -> Result<(), Error> {
    let mut call = full(operation_of(operation), shape);
    let before = call.memory.raw();
    let (_, mut bag) = call.memory.arguments(operation);
    let io = InOut::strided(x, x_pitch, y, y_pitch);
    let result = (operation.run)(&call.setting, Some(io), &mut bag);
    drop(bag);
    assert!(result.is_ok() || call.memory.raw() == before, "{}: written", operation.name);
    result
}

fn operation_of(operation: &Operation) -> &'static Operation {
    OPERATIONS.iter().find(|of| of.name == operation.name).expect("one of the registry")
}

/// Rows at a pitch: less than a row, or more than the slices have, or than memory has.
#[test]
fn a_pitch_that_does_not_fit() {
    let too_short = |arg, expected, got| Err(Error::TooShort { arg, expected, got });
    let most = usize::MAX / 2;
    let overflow = |arg| Err(Error::ShapeOverflow { arg, got: [1, 3, most] });
    for operation in every_operation(|operation| operation.takes == Takes::Rows) {
        let ([[of_x, of_y], [x_pitch, y_pitch]], mut y) = (operation.io_names(), [7.5; 40]);
        for (len, pitch, expected) in [
            (15, 4, too_short(x_pitch, 5, 4)),
            (15, 0, too_short(x_pitch, 5, 0)),
            (20, 8, too_short(of_x, 21, 20)),
            (0, 5, too_short(of_x, 15, 0)),
            (20, most, overflow(x_pitch)),
        ] {
            let result = call_at(operation, (3, 5), (&vec![1.5; len], pitch), (&mut y, 6));
            assert_eq!(result, expected, "{}", operation.name);
        }
        for (len, pitch, expected) in [
            (40, 4, too_short(y_pitch, 5, 4)),
            (16, 6, too_short(of_y, 17, 16)),
            (40, most, overflow(y_pitch)),
        ] {
            let result = call_at(operation, (3, 5), (&[1.5; 15], 5), (&mut y[..len], pitch));
            assert_eq!(result, expected, "{}", operation.name);
        }
        assert_eq!(y, [7.5; 40], "{}: written", operation.name);
    }
    for operation in every_operation(|operation| operation.takes == Takes::Elements) {
        let result = call_at(operation, (3, 5), (&[1.5; 15], 5), (&mut [7.5; 15], 5));
        let [_, [arg, _]] = operation.io_names();
        assert_eq!(result, Err(Error::Unsupported { arg }), "{}", operation.name);
    }
}

/// The same of what rows may take beside x and y.
#[test]
fn a_pitch_of_an_argument_that_does_not_fit() {
    let (x, z, rows) = ([1.5; 15], [0.5; 20], rows((3, 5)));
    let (mut y, mut sum, mut residual) = ([7.5; 15], [7.5; 20], [7.5; 20]);
    for (pitch, expected) in [(4, 5), (8, 21)] {
        let of = |pitch_arg, arg| match pitch {
            4 => Err(Error::TooShort { arg: pitch_arg, expected, got: 4 }),
            _ => Err(Error::TooShort { arg, expected, got: 20 }),
        };
        let mut check = |args: NormArgs<'_>, expected: Result<(), Error>| {
            let result = LayerNorm::new().forward(InOut::new(&x, &mut y), rows, args);
            assert_eq!(result.map(drop), expected);
            assert_eq!(y, [7.5; 15]);
        };
        let none = NormArgs::new;
        check(none().residual(&z).residual_pitch(pitch), of("residual_pitch", "residual"));
        let updated = none().update_residual(&mut residual).residual_pitch(pitch);
        check(updated, of("residual_pitch", "residual"));
        check(none().gate(&z).gate_pitch(pitch), of("gate_pitch", "gate"));
        check(none().plus(&z).plus_pitch(pitch), of("plus_pitch", "plus"));
        let summed = none().x_bias(&[1.0; 5]).sum(&mut sum).sum_pitch(pitch);
        check(summed, of("sum_pitch", "sum"));
        let mut moments = [Moments::new(); 3];
        let args = MomentArgs::new().x_pitch(pitch);
        let result = RowMoments::new().compute(&z, rows, &mut moments, args);
        assert_eq!(result, of("x_pitch", "x"));
    }
    assert_eq!((sum, residual), ([7.5; 20], [7.5; 20]));
}

#[test]
fn an_argument_that_the_operation_does_not_take() {
    let (x, z, columns) = ([1.5; 24], [0.5; 24], [0.5; 4]);
    let (channels, matrix) = (Channels::first(2, 4, 3).expect("small"), rows((6, 4)));
    let (mut y, mut out, mut stats) = ([7.5; 24], [7.5; 24], [[7.5; 24], [7.5; 24]]);
    let [mean, rstd] = &mut stats;
    let given = Statistics::of_columns(&[0.5; 4], &[0.5; 4]);
    type Args<'a> = (&'static str, NormArgs<'a>);
    // What belongs to rows alone.
    let mut of_rows = |check: &mut dyn FnMut(Args<'_>)| {
        check(("x_bias", NormArgs::new().x_bias(&columns)));
        check(("dropout", NormArgs::new().dropout(0.5, Stream { seed: 1, offset: 0 })));
        check(("residual", NormArgs::new().residual(&z)));
        check(("residual", NormArgs::new().update_residual(&mut out)));
        check(("sum", NormArgs::new().sum(&mut out)));
        check(("gate", NormArgs::new().gate(&z)));
        check(("plus", NormArgs::new().plus(&z)));
    };
    of_rows(&mut |(arg, mut args)| {
        let unsupported = Err(Error::Unsupported { arg });
        macro_rules! io {
            () => {
                InOut::new(&x, &mut y)
            };
        }
        let group_norm = GroupNorm::new().with_groups(2);
        assert_eq!(group_norm.forward(io!(), channels, args.reborrow()).map(drop), unsupported);
        let instance_norm = InstanceNorm::new();
        assert_eq!(instance_norm.forward(io!(), channels, args.reborrow()).map(drop), unsupported);
        let layer_norm = LayerNorm::new();
        assert_eq!(layer_norm.forward(io!(), channels, args.reborrow()).map(drop), unsupported);
        let normalize = NormalizeScaleShift::new();
        assert_eq!(normalize.forward(io!(), matrix, given, args.reborrow()).map(drop), unsupported);
        let batch_norm = BatchNorm::new();
        let result =
            batch_norm.forward_inference(io!(), matrix, &[0.5; 4], &[0.5; 4], args.reborrow());
        assert_eq!(result.map(drop), unsupported);
    });
    let unsupported = |arg| Err(Error::Unsupported { arg });
    macro_rules! io {
        () => {
            InOut::new(&x, &mut y)
        };
    }
    // Statistics of what has none, or is given them.
    let mut args = NormArgs::new().stats(mean, rstd);
    let normalize = NormalizeScaleShift::new();
    let result = normalize.forward(io!(), matrix, given, args.reborrow());
    assert_eq!(result.map(drop), unsupported("mean"));
    let result = RmsNorm::new().forward(io!(), matrix, args.reborrow());
    assert_eq!(result.map(drop), unsupported("mean"));
    let inference = BatchNorm::new().forward_inference(io!(), matrix, &[0.5; 4], &[0.5; 4], args);
    assert_eq!(inference.map(drop), unsupported("mean"));
    // In f32 too.
    let [mut mean, mut rstd] = [[7.5_f32; 6], [7.5; 6]];
    let mut args = NormArgs::new().stats(&mut mean, &mut rstd);
    let result = normalize.forward(io!(), matrix, given, args.reborrow());
    assert_eq!(result.map(drop), unsupported("mean"));
    let result = RmsNorm::new().forward(io!(), matrix, args.reborrow());
    assert_eq!(result.map(drop), unsupported("mean"));
    let result = BatchNorm::new().forward_inference(io!(), matrix, &[0.5; 4], &[0.5; 4], args);
    assert_eq!(result.map(drop), unsupported("mean"));
    let mut args = GradArgs::new().stats(&mean, &rstd);
    let result = normalize.backward(io!(), &x, matrix, given, args.reborrow());
    assert_eq!(result.map(drop), unsupported("mean"));
    let args = args.stats(&mean[..4], &rstd[..4]);
    let running = (&[0.5; 4][..], &[0.5; 4][..]);
    let result = BatchNorm::new().backward_inference(io!(), &x, matrix, running, args);
    assert_eq!(result.map(drop), unsupported("mean"));
    assert_eq!((mean, rstd), ([7.5; 6], [7.5; 6]));
    let given = Statistics::of_rows(&[0.5; 6], &[0.5; 6]);
    let result = normalize.forward(io!(), channels, given, NormArgs::new());
    assert_eq!(result.map(drop), unsupported("statistics"));
    // A sum of nothing, and two places for it.
    let result = LayerNorm::new().forward(io!(), matrix, NormArgs::new().sum(&mut out));
    assert_eq!(result.map(drop), unsupported("sum"));
    let mut residual = [7.5; 24];
    let args = NormArgs::new().update_residual(&mut residual).sum(&mut out);
    assert_eq!(RmsNorm::new().forward(io!(), matrix, args).map(drop), unsupported("sum"));
    // A mask that is given and to be written.
    let (mask, mut bits) = ([0; 3], [0xa5; 3]);
    let args = DropoutArgs::given(Mask::Packed(&mask)).keep_mask(MaskMut::Packed(&mut bits));
    assert_eq!(Dropout::new().forward(io!(), args).map(drop), unsupported("mask"));
    // Which columns are valid, and how much of each row of columns.
    let (mut moments, valid) = ([Moments::new(); 6], ValidRows::Mask(Mask::Bytes(&[1; 6])));
    let row_moments = RowMoments::new();
    let args = MomentArgs::new().valid(valid);
    assert_eq!(row_moments.compute(&x, matrix, &mut moments, args), unsupported("valid"));
    let args = MomentArgs::new().lengths(&[1; 6]);
    let result = ColumnMoments::new().compute(&x, matrix, &mut moments[..4], args);
    assert_eq!(result, unsupported("lengths"));
    assert_eq!((y, out, residual, bits), ([7.5; 24], [7.5; 24], [7.5; 24], [0xa5; 3]));
    assert_eq!((stats, moments), ([[7.5; 24]; 2], [Moments::new(); 6]));
}

/// Numbers that are no parameters, and some that are.
const WRONG: [f64; 6] = [-1e-9, -1e300, f64::NAN, -f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
const NOT_NEGATIVE: [f64; 6] = [0.0, -0.0, f64::from_bits(1), 1e-5, 1.0, f64::MAX];

/// The size divides the columns; statistics are one a group.
#[test]
fn a_group_size_that_does_not_divide_the_columns() {
    let (x, mut y) = ([1.5; 24], [7.5; 24]);
    for group_size in [0, 5, 7, 12, usize::MAX] {
        let result = RmsNorm::new().with_group_size(group_size).forward(
            InOut::new(&x, &mut y),
            rows((4, 6)),
            NormArgs::new(),
        );
        let (arg, expected) = ("group_size", "a divisor of the columns");
        let got = group_size as f64;
        assert_eq!(result.map(drop), Err(Error::Parameter { arg, expected, got }));
    }
    for (group_size, expected) in [(1, 24), (3, 8), (6, 4)] {
        let mut rstd = [7.5; 23];
        let result = RmsNorm::new().with_group_size(group_size).forward(
            InOut::new(&x, &mut y),
            rows((4, 6)),
            NormArgs::new().rstd(&mut rstd),
        );
        let error = Error::Length { arg: "rstd", expected, got: 23 };
        assert_eq!((result.map(drop), rstd), (Err(error), [7.5; 23]));
    }
    assert_eq!(y, [7.5; 24]);
}

#[test]
fn an_eps_that_is_negative_or_not_finite() {
    let expected = "a finite number of at least 0";
    for operation in every_operation(Operation::takes_eps) {
        for got in WRONG {
            for shape in SHAPES.into_iter().chain([(0, 0), (0, 5)]) {
                let mut call = full(operation, shape);
                call.setting.eps = got;
                call.returns_error(&Error::Parameter { arg: "eps", expected, got });
            }
        }
        for right in NOT_NEGATIVE {
            let mut call = full(operation, (2, 3));
            call.setting.eps = right;
            call.accepts();
        }
    }
}

#[test]
fn a_momentum_that_is_not_from_0_to_1() {
    let (expected, new) = ("a number from 0 to 1", BatchNorm::new());
    let both = |momentum| [new.with_momentum(momentum), new.with_pytorch_momentum(momentum)];
    let cumulative = [0, 1, u64::MAX].map(|batches| new.with_cumulative_average(batches));
    for operation in every_operation(Operation::trains) {
        for got in [-1e-9, 1.0 + f64::EPSILON, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            for batch_norm in both(got) {
                let mut call = full(operation, (2, 3));
                call.setting.batch_norm = batch_norm;
                call.returns_error(&Error::Parameter { arg: "momentum", expected, got });
            }
        }
        for batch_norm in [0.0, -0.0, 0.5, 1.0].into_iter().flat_map(both).chain(cumulative) {
            let mut call = full(operation, (2, 3));
            call.setting.batch_norm = batch_norm;
            call.accepts();
        }
    }
}

#[test]
fn a_running_variance_that_is_negative() {
    let (arg, expected) = ("running_var", "numbers of at least 0");
    let calls = |shape: (usize, usize)| {
        let of = every_operation(|operation| {
            let has_running = operation.buffers.iter().any(|buffer| buffer.name == arg);
            operation.is("BatchNorm::") && has_running
        });
        of.map(move |operation| with(operation, "running", shape))
    };
    for shape in [(2, 1), (2, 3), (70, 33), (0, 5)] {
        for (i, call) in calls(shape).enumerate() {
            for at in 0..call
                .memory
                .others
                .iter()
                .find(|(of, _)| of.name == arg)
                .map_or(0, |of| of.1.len())
            {
                for var in [-1.5, -f32::from_bits(1), f32::NEG_INFINITY] {
                    let mut call = calls(shape).nth(i).expect("the same call");
                    call.f32s(arg)[at] = var;
                    call.returns_error(&Error::Parameter { arg, expected, got: var.into() });
                }
            }
        }
    }
    // However many are, the least is named.
    for negative in [2, 3] {
        for mut call in calls((2, 3)).filter(|call| !call.operation.has_planes()) {
            call.f32s(arg)[..negative].copy_from_slice(&[-1.5, -2.5, -0.5][..negative]);
            call.returns_error(&Error::Parameter { arg, expected, got: -2.5 });
        }
    }
    for mut call in calls((2, 3)).filter(|call| !call.operation.has_planes()) {
        call.f32s(arg).copy_from_slice(&[0.0, -0.0, f32::MAX]);
        call.accepts();
    }
}

#[test]
fn a_probability_that_is_not_from_0_to_1() {
    let (arg, expected) = ("p", "a probability, from 0 to 1");
    for got in [-1e-9, -0.5, 1.0 + f64::EPSILON, 2.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let (dropout, error) =
            (Dropout::new().with_p(got), Error::Parameter { arg, expected, got });
        for operation in every_operation(Operation::takes_p) {
            for shape in [(1, 1), (2, 3), (3, 67), (0, 0), (5, 0)] {
                let mut call = full(operation, shape);
                call.setting.dropout = dropout;
                call.returns_error(&error);
            }
        }
        // As text, since an error that holds a NaN equals no other.
        assert_eq!(format!("{:?}", dropout.realised_p()), format!("{:?}", Err::<f64, _>(&error)));
        assert_eq!(format!("{:?}", dropout.scale()), format!("{:?}", Err::<f32, _>(&error)));
    }
    for p in [0.0, -0.0, f64::from_bits(1), 1e-300, 0.5, 1.0 - f64::EPSILON / 2.0, 1.0] {
        for operation in every_operation(|operation| operation.is("Dropout::")) {
            let mut call = full(operation, (2, 35));
            call.setting.dropout = Dropout::new().with_p(p);
            call.accepts();
        }
    }
}

#[test]
fn a_factor_or_a_rate_that_is_negative_or_not_finite() {
    let expected = "a finite number of at least 0";
    let set = |setting: &mut Setting, arg: &str, to: f64| match arg {
        "l1" => setting.l1 = to,
        "l2" => setting.l2 = to,
        _ => setting.rate = to,
    };
    for operation in every_operation(|operation| operation.is("Regularizer::")) {
        for arg in ["l1", "l2"].into_iter().chain(operation.rate()) {
            for got in WRONG {
                for shape in SHAPES.into_iter().chain([(0, 0)]) {
                    let mut call = full(operation, shape);
                    set(&mut call.setting, arg, got);
                    call.returns_error(&Error::Parameter { arg, expected, got });
                }
            }
            for right in NOT_NEGATIVE {
                let mut call = full(operation, (2, 3));
                set(&mut call.setting, arg, right);
                call.accepts();
            }
        }
    }
}

/// The stream has 2^64 elements. It makes no difference whether p needs any of them.
#[test]
fn a_range_that_ends_beyond_the_stream() {
    for operation in every_operation(Operation::draws) {
        for p in [0.0, 0.001, 0.5, 1.0] {
            for shape in SHAPES {
                let len = shape.0 * operation.drawn_for_a_row(shape.1);
                let dropout = Dropout::new().with_p(p);
                let last = u64::MAX - (len as u64 - 1);
                let at = |offset| {
                    let mut call = full(operation, shape);
                    (call.setting.dropout, call.setting.stream.offset) = (dropout, offset);
                    call
                };
                for offset in [last.saturating_add(1), u64::MAX] {
                    if offset > last {
                        at(offset).returns_error(&Error::StreamOverflow { offset, len });
                    }
                }
                at(last).accepts();
            }
            // No elements end nowhere.
            let mut call = full(operation, (0, 0));
            call.setting.stream.offset = u64::MAX;
            call.accepts();
        }
    }
}

/// One row has no unbiased variance. It matters where a running variance is to follow it.
#[test]
fn a_batch_of_one_row_whose_variance_is_to_be_unbiased() {
    let expected = Error::TooFewRows { arg: "unbiased variance", expected: 2, got: 1 };
    for operation in every_operation(|operation| operation.trains() && !operation.has_planes()) {
        for option in ["running", "stats"] {
            for (rows, unbiased) in [(1, true), (1, false), (2, true), (0, true)] {
                let mut call = with(operation, option, (rows, 3));
                call.setting.batch_norm = BatchNorm::new().with_unbiased_running_var(unbiased);
                if (rows, unbiased, option) == (1, true, "running") {
                    call.returns_error(&expected);
                } else {
                    call.accepts();
                }
            }
        }
    }
}

#[test]
fn a_length_of_a_sample_that_is_more_than_there_is() {
    for operation in OPERATIONS {
        for option in ["valid", "lengths", "valid_lengths"] {
            for (shape, sample) in [((1, 1), 0), ((5, 17), 0), ((5, 17), 4), ((70, 5), 33)] {
                let right = with(operation, option, shape);
                let lengths = right.memory.others.iter().enumerate();
                let lengths = lengths.filter(|(_, (of, _))| of.kind == registry::Kind::Usize);
                for (i, (buffer, stored)) in lengths {
                    let most = if buffer.value == "row_lengths" { 1 } else { shape.1 };
                    let sample = sample.min(stored.len() - 1);
                    for got in [most + 1, usize::MAX] {
                        let mut call = with(operation, option, shape);
                        if let Stored::Usize(lengths) = &mut call.memory.others[i].1 {
                            // The first of several is named.
                            lengths[sample] = got;
                            *lengths.last_mut().expect("a sample") = got;
                        }
                        call.returns_error(&Error::SampleLength { sample, most, got });
                    }
                }
            }
        }
    }
}

/// Samples of steps are the rows of the matrix.
#[test]
fn samples_and_steps_that_are_not_the_rows() {
    let (x, matrix) = ([1.0; 12], rows((6, 2)));
    let paint = Moments { count: 77, ..Moments::new() };
    let mut moments = [paint; 2];
    let mut compute = |lengths: &[usize], steps| {
        let args = MomentArgs::new().valid(ValidRows::Lengths { lengths, steps });
        let result = ColumnMoments::new().compute(&x, matrix, &mut moments, args);
        (result, moments.map(|moments| moments.count))
    };
    let expected = "a divisor of the number of rows";
    for steps in [0, 4, 5, 7, 12, usize::MAX] {
        let error = Error::Parameter { arg: "steps", expected, got: steps as f64 };
        assert_eq!(compute(&[1], steps), (Err(error), [77; 2]));
    }
    for (steps, lengths) in [(1, 6), (2, 3), (3, 2), (6, 1)] {
        for got in [0, lengths - 1, lengths + 1].into_iter().filter(|&got| got != lengths) {
            let error = Error::Length { arg: "lengths", expected: lengths, got };
            assert_eq!(compute(&[1; 7][..got], steps), (Err(error), [77; 2]));
        }
    }
    // Right ones; and any number of samples without steps, of which none has a step.
    assert_eq!(compute(&[2, 0, 1], 2), (Ok(()), [3; 2]));
    let train = |lengths: &[usize]| {
        let args = TrainArgs::new().valid(ValidRows::Lengths { lengths, steps: 0 });
        let io = InOut::new(&[0.0_f32; 0], &mut [0.0_f32; 0]);
        BatchNorm::new().forward_training(io, rows((0, 2)), args).map(drop)
    };
    assert_eq!(train(&[0; 3]), Ok(()));
    assert_eq!(train(&[0, 1]), Err(Error::SampleLength { sample: 1, most: 0, got: 1 }));
}

/// Where rows are empty there may be any number of them, and without rows they may have any length.
#[test]
fn the_largest_empty_shapes() {
    const MOST: usize = usize::MAX;
    for operation in every_operation(|operation| !operation.has_state()) {
        for options in operation.option_sets() {
            for (count, cols) in [(0, MOST), (MOST, 0)] {
                let mut call = Call::right(operation, &options, Place::New, (0, 0));
                call.setting.rows = Rows::new(count, cols).expect("no elements");
                match call.faults(Parameters::RIGHT) {
                    None => {}
                    Some(faults) if faults.is_empty() => call.accepts(),
                    Some(faults) => {
                        let before = call.memory.raw();
                        let error = call.call().expect_err(&call.what());
                        assert!(faults.contains(&error), "{}: {error}", call.what());
                        assert!(call.memory.raw() == before, "{}: written", call.what());
                    }
                }
            }
        }
    }
}

#[test]
fn groups_that_do_not_divide_the_channels() {
    let (x, mut y) = ([1.0; 24], [7.0; 24]);
    let forward = |groups, x: &[f32], shape, y: &mut [f32]| {
        let norm = GroupNorm::new().with_groups(groups);
        norm.forward(InOut::new(x, y), shape, NormArgs::new()).map(drop)
    };
    for shape in [Channels::first(2, 12, 1), Channels::first(1, 12, 2), Channels::last(1, 2, 12)] {
        let shape = shape.expect("a small shape");
        for got in [0, 5, 7, 8, 24, usize::MAX] {
            let expected = Err(Error::Groups { channels: 12, got });
            assert_eq!(forward(got, &x, shape, &mut y), expected, "{shape:?}");
            assert_eq!(y, [7.0; 24], "{shape:?}: written despite the error");
        }
        for groups in [1, 2, 3, 4, 6, 12] {
            assert_eq!(forward(groups, &x, shape, &mut y.clone()), Ok(()), "{shape:?}");
        }
    }
    // The groups of no channels are any number.
    let none = Channels::first(2, 0, 3).expect("no elements");
    for groups in [0, 1, 32] {
        assert_eq!(forward(groups, &[], none, &mut []), Ok(()));
    }
}

#[test]
fn a_shape_that_no_slice_can_have() {
    const MOST: usize = isize::MAX as usize / size_of::<f64>();
    const HALF: usize = 1 << (usize::BITS / 2);
    let largest = [(MOST, 1), (1, MOST), (MOST / 2, 2), (usize::MAX, 0), (0, usize::MAX), (0, 0)];
    for (rows, cols) in largest {
        let shape = Rows::new(rows, cols).expect("a shape that fits");
        assert_eq!((shape.rows(), shape.cols()), (rows, cols));
        assert_eq!(shape.elements(), rows * cols);
    }
    // HALF * HALF comes back to 0 elements and usize::MAX * usize::MAX to 1.
    let too_large = [[MOST + 1, 1], [1, MOST + 1], [MOST / 2 + 1, 2], [usize::MAX, 1]];
    for got in too_large.into_iter().chain([[usize::MAX, 2], [HALF, HALF], [usize::MAX; 2]]) {
        let [rows, cols] = got;
        assert_eq!(
            Rows::new(rows, cols),
            Err(Error::ShapeOverflow { arg: "rows", got: [1, rows, cols] })
        );
    }
}

#[test]
fn a_name_that_no_backend_has_or_whose_backend_this_cpu_lacks() {
    for name in ["sse9", "", "AVX2", " avx2", "avx2 ", "avx512f", "auto"] {
        let expected = Error::UnknownBackend { got: name.to_owned() };
        assert_eq!(Backend::by_name(name), Err(expected));
    }
    for name in Backend::NAMES {
        let available = Backend::available().find(|backend| backend.name() == name);
        let expected = available.ok_or(Error::UnavailableBackend { got: name });
        assert_eq!(Backend::by_name(name), expected);
    }
    assert_eq!(Backend::by_name("portable"), Ok(Backend::portable()));
    assert_eq!(Backend::by_name("avx2").ok(), Backend::avx2());
    assert_eq!(Backend::by_name("avx512").ok(), Backend::avx512());
}

/// Every variant names the argument, what was expected and what came.
#[test]
fn what_an_error_says() {
    macro_rules! table {
        ($($error:expr => $text:expr;)+) => { [$(($error, $text)),+] };
    }
    let (arg, expected) = ("eps", "a finite number of at least 0");
    let says = table! {
        Error::Length { arg: "gamma", expected: 768, got: 767 }
            => "`gamma`: expected 768 elements, got 767";
        Error::TooShort { arg: "scratch", expected: 768, got: 767 }
            => "`scratch`: expected at least 768 elements, got 767";
        Error::Unsupported { arg: "residual" }
            => "`residual`: expected none, since the operation does not take it here";
        Error::Type { arg: "residual" }
            => "`residual`: expected elements of a type that the operation takes";
        Error::ShapeOverflow { arg: "rows", got: [1, 12, usize::MAX] }
            => &format!("`rows`: expected at most {} elements, got 12 x {}", isize::MAX / 8, usize::MAX);
        Error::ShapeOverflow { arg: "shape", got: [2, 3, usize::MAX] }
            => &format!("`shape`: expected at most {} elements, got 2 x 3 x {}", isize::MAX / 8, usize::MAX);
        Error::Groups { channels: 48, got: 32 }
            => "`groups`: expected a divisor of the 48 channels, got 32";
        Error::Parameter { arg, expected, got: -0.5 }
            => "`eps`: expected a finite number of at least 0, got -0.5";
        Error::Parameter { arg, expected, got: f64::NAN }
            => "`eps`: expected a finite number of at least 0, got NaN";
        Error::TooFewRows { arg: "unbiased variance", expected: 2, got: 1 }
            => "`rows`: expected at least 2 rows for the unbiased variance, got 1";
        Error::StatisticOverflow { arg: "running_var", channel: 3, got: 1e49 }
            => "`running_var`: expected at most 3.4028235e38 after the update of channel 3, got 1e49";
        Error::SampleLength { sample: 2, most: 10, got: 11 }
            => "`lengths`: expected at most 10 for sample 2, got 11";
        Error::NotFitted { arg: "scaler" }
            => "`scaler`: expected one that has been fitted, got one that has seen nothing";
        Error::StreamOverflow { offset: 1 << 63, len: 70 }
            => "`offset`: expected at most 2^64 - 70 for 70 elements, got 9223372036854775808";
        Error::UnknownBackend { got: "sse9".to_owned() }
            => "`name`: expected one of [\"portable\", \"avx2\", \"avx512\"], got \"sse9\"";
        Error::UnavailableBackend { got: "avx512" }
            => "`name`: expected a backend that this CPU has, got \"avx512\"";
    };
    for (error, text) in says {
        assert_eq!(error.to_string(), text);
        let boxed: Box<dyn std::error::Error + Send + Sync> = Box::new(error);
        assert_eq!(boxed.to_string(), text);
    }
}

/// Lengths and shapes that have broken kernels: small ones, those around powers of two at which a narrower integer
/// wraps or turns negative, those next to the largest, and any.
fn size() -> impl Strategy<Value = usize> {
    let around = |bit: u32| (-3..=3_i64).prop_map(move |by| (1_u64 << bit).wrapping_add_signed(by));
    prop_oneof![
        4 => 0..6_u64,
        2 => 0..70_u64,
        1 => prop::sample::select(vec![15, 16, 31, 32, 33, 60, 61, 62, 63]).prop_flat_map(around),
        1 => u64::MAX - 3..=u64::MAX,
        1 => any::<u64>(),
    ]
    .prop_map(|size| size as usize)
}

/// `right` fifteen times of seventeen, or any of `wrongs`, with some that are right after all.
fn mostly(right: f64, wrongs: Vec<f64>) -> impl Strategy<Value = f64> {
    prop_oneof![15 => Just(right), 1 => prop::sample::select(wrongs), 1 => any::<f64>()]
}

/// What a call is given besides its buffers.
#[derive(Clone, Copy, Debug)]
struct Parameters {
    eps: f64,
    momentum: f64,
    unbiased: bool,
    p: f64,
    offset: u64,
    l1: f64,
    l2: f64,
    rate: f64,
}

impl Parameters {
    const RIGHT: Self = Self {
        eps: 1e-5,
        momentum: 0.9,
        unbiased: false,
        p: 0.5,
        offset: 3,
        l1: 0.1,
        l2: 0.2,
        rate: 0.3,
    };
}

fn parameters() -> impl Strategy<Value = Parameters> {
    let numbers = vec![0.0, -0.0, 1.0, -1e-300, 1.0 + f64::EPSILON, f64::INFINITY, f64::NAN];
    let offset = prop_oneof![8 => Just(3), 1 => u64::MAX - 300..=u64::MAX, 1 => any::<u64>()];
    let [eps, momentum, p, l1, l2, rate] =
        [1e-5, 0.9, 0.5, 0.1, 0.2, 0.3].map(|right| mostly(right, numbers.clone()));
    (eps, momentum, any::<bool>(), p, offset, (l1, l2, rate)).prop_map(
        |(eps, momentum, unbiased, p, offset, (l1, l2, rate))| Parameters {
            eps,
            momentum,
            unbiased,
            p,
            offset,
            l1,
            l2,
            rate,
        },
    )
}

impl Call {
    /// All that is wrong with a call, by the docs. A call may say any of it. `None` if the shape has no such buffers.
    fn faults(&self, parameters: Parameters) -> Option<Vec<Error>> {
        let Parameters { momentum, unbiased, p, .. } = parameters;
        let Self { operation, memory, setting, .. } = self;
        let (mut faults, own) = (Vec::new(), memory.x.len());
        let x_len = if memory.place.in_place() { memory.y.len() } else { own };
        let shape = match memory.others.iter().find(|(buffer, _)| buffer.name == "w") {
            Some((_, w)) => Rows::new(1, w.len()).expect("the length of a buffer"),
            None if operation.has_no_shape() => {
                Rows::new(1, x_len).expect("the length of a buffer")
            }
            None => setting.rows,
        };
        if operation.takes != Takes::Nothing {
            for (arg, got) in operation.io_names()[0].into_iter().zip([x_len, memory.y.len()]) {
                let expected = shape.elements();
                if got != expected {
                    faults.push(Error::Length { arg, expected, got });
                }
            }
        }
        let batch = if operation.has_planes() { shape.elements() } else { shape.rows() };
        let mut valid = batch;
        for (buffer, stored) in &memory.others {
            let expected = (buffer.len)(shape)?;
            match stored {
                Stored::Usize(_) if has_any_length(buffer, shape) => {}
                _ if operation.has_no_shape() && buffer.name == "w" => {}
                _ => faults.extend(wrong_length(buffer, expected, stored.len())),
            }
            let fits = stored.len() == expected;
            match (buffer.value, stored) {
                ("running_var", Stored::F32(var)) if operation.is("BatchNorm") => {
                    let got = f64::from(var.iter().copied().fold(0.0, f32::min));
                    let expected = "numbers of at least 0";
                    if got < 0.0 {
                        faults.push(Error::Parameter { arg: "running_var", expected, got });
                    }
                }
                (of, Stored::Usize(lengths)) => {
                    let most = if of == "row_lengths" { 1 } else { shape.cols() };
                    if let Some(sample) = lengths.iter().position(|&length| length > most) {
                        faults.push(Error::SampleLength { sample, most, got: lengths[sample] });
                    }
                    valid = lengths.iter().fold(0, |sum, &length| sum.saturating_add(length));
                }
                ("row_bits", Stored::U8(bits)) if fits => {
                    valid = (0..batch).filter(|&r| bits[r / 8] >> (r % 8) & 1 == 1).count();
                }
                ("row_bytes", Stored::U8(bytes)) if fits => {
                    valid = bytes.iter().filter(|&&byte| byte != 0).count();
                }
                _ => {}
            }
        }
        let mut demand = |right: bool, arg, expected, got| {
            if !right {
                faults.push(Error::Parameter { arg, expected, got });
            }
        };
        let not_negative = |number: f64| (0.0..f64::INFINITY).contains(&number);
        let unit = |number: f64| (0.0..=1.0).contains(&number);
        let at_least_0 = "a finite number of at least 0";
        if operation.takes_eps() {
            demand(not_negative(setting.eps), "eps", at_least_0, setting.eps);
        }
        if operation.trains() {
            demand(unit(momentum), "momentum", "a number from 0 to 1", momentum);
        }
        if operation.takes_p() {
            demand(unit(p), "p", "a probability, from 0 to 1", p);
        }
        if operation.is("Regularizer::") {
            let rate = operation.rate().map(|arg| (arg, setting.rate));
            for (arg, number) in [("l1", setting.l1), ("l2", setting.l2)].into_iter().chain(rate) {
                demand(not_negative(number), arg, at_least_0, number);
            }
        }
        let len = shape.rows() * operation.drawn_for_a_row(shape.cols());
        let offset = setting.stream.offset;
        if operation.draws() && (1 << 64) - u128::from(offset) < len as u128 {
            faults.push(Error::StreamOverflow { offset, len });
        }
        let unbiased = operation.trains() && unbiased;
        if unbiased && self.has("running_var") && valid == 1 && shape.cols() > 0 {
            faults.push(Error::TooFewRows { arg: "unbiased variance", expected: 2, got: 1 });
        }
        Some(faults)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if short() { 400 } else { 4000 }))]

    #[test]
    fn any_two_numbers_are_a_shape_that_a_slice_can_have_or_an_error(rows in size(), cols in size()) {
        let shape = Rows::new(rows, cols);
        let elements = rows as u128 * cols as u128;
        if elements <= isize::MAX as u128 / 8 {
            let shape = shape.unwrap();
            prop_assert_eq!((shape.rows(), shape.cols()), (rows, cols));
            prop_assert_eq!(shape.elements() as u128, elements);
            // What scratch such a shape needs is asked before there is an x.
            for parallelism in [Parallelism::Serial, Parallelism::Auto] {
                let len = ColumnMoments::new().with_parallelism(parallelism).scratch_len(shape);
                prop_assert!(len >= 2 * cols.min(usize::MAX / 2));
                let batch_norm = BatchNorm::new().with_parallelism(parallelism);
                prop_assert_eq!(batch_norm.scratch_len(shape), len);
            }
        } else {
            prop_assert_eq!(shape, Err(Error::ShapeOverflow { arg: "rows", got: [1, rows, cols] }));
        }
    }

    /// Of any two of the three, too: no product of dimensions is checked again.
    #[test]
    fn any_three_numbers_are_a_shape_that_a_slice_can_have_or_an_error(
        batch in size(), channels in size(), positions in size(),
    ) {
        let product = |a: usize, b: usize| a as u128 * b as u128;
        let pairs = [(batch, channels), (batch, positions), (channels, positions)];
        let elements = product(batch, channels).checked_mul(positions as u128);
        let fits = elements.is_some_and(|elements| elements <= isize::MAX as u128 / 8)
            && pairs.iter().all(|&(a, b)| product(a, b) <= usize::MAX as u128);
        let (first, last) = ([batch, channels, positions], [batch, positions, channels]);
        for (is_last, got) in [(false, first), (true, last)] {
            let [a, b, c] = got;
            let shape = if is_last { Channels::last(a, b, c) } else { Channels::first(a, b, c) };
            if !fits {
                prop_assert_eq!(shape, Err(Error::ShapeOverflow { arg: "shape", got }));
                continue;
            }
            let shape = shape.unwrap();
            let dimensions = (shape.batch(), shape.channels(), shape.positions(), shape.is_last());
            prop_assert_eq!(dimensions, (batch, channels, positions, is_last));
            prop_assert_eq!(Some(shape.elements() as u128), elements);
            // What scratch such a shape needs is asked before there is an x.
            for parallelism in [Parallelism::Serial, Parallelism::Auto] {
                let group_norm = GroupNorm::new().with_groups(1).with_parallelism(parallelism).scratch_len(shape);
                let instance_norm = InstanceNorm::new().with_parallelism(parallelism).scratch_len(shape);
                prop_assert_eq!(group_norm, instance_norm);
                let batch_norm = BatchNorm::new().with_parallelism(parallelism).scratch_len(shape);
                prop_assert!(batch == 0 || batch_norm >= channels.min(usize::MAX / 2));
            }
        }
    }

    /// Any number of things wrong: the call says one of them, and has written nothing. Nothing wrong: it succeeds.
    #[test]
    fn any_call_succeeds_or_says_what_is_wrong_and_writes_nothing(
        operation in any::<prop::sample::Index>(),
        options in any::<prop::sample::Index>(),
        place in any::<prop::sample::Index>(),
        right in (0..5_usize, 0..40_usize),
        told in prop_oneof![2 => Just(None), 1 => (size(), size()).prop_map(Some)],
        wraps in prop_oneof![3 => Just((0, 0)), 1 => (0..4_u64, 0..4_u64)],
        resized in prop::collection::vec((any::<prop::sample::Index>(), 0..200_usize), 0..2),
        parameters in parameters(),
        running_var in mostly(0.25, vec![0.0, -0.0, -1e-30, -1.0]),
    ) {
        let operations: Vec<_> = every_operation(|operation| !operation.has_state()).collect();
        let operation = *operation.get(&operations);
        let sets = operation.option_sets();
        let options: Vec<&str> = options.get(&sets).iter().copied().chain(AFFINE).collect();
        let places = [Place::New, Place::InPlace, Place::Uninit];
        let place = if operation.takes == Takes::Nothing { Place::New } else { *place.get(&places) };
        let mut call = Call::right(operation, &options, place, right);

        // Buffers of a small shape, and a shape that is the same in 31 or 32 bits, or another.
        let (rows, cols) = told.unwrap_or(right);
        let widened = |size: usize, times: u64| size.wrapping_add((times << 31) as usize);
        let Ok(told) = Rows::new(widened(rows, wraps.0), widened(cols, wraps.1)) else {
            return Ok(());
        };
        call.setting.rows = told;
        for (index, len) in resized {
            // x, y, and the others.
            let memory = &mut call.memory;
            match index.index(2 + memory.others.len()) {
                0 if operation.takes != Takes::Nothing => memory.x.resize(len, 0.5),
                1 if operation.takes != Takes::Nothing => memory.y.resize(len, 0.5),
                0 | 1 => {}
                i => memory.others[i - 2].1.resize(len),
            }
        }
        if call.has("running_var") && let Some(var) = call.f32s("running_var").last_mut() {
            *var = running_var as f32;
        }
        let Parameters { eps, momentum, unbiased, p, offset, l1, l2, rate } = parameters;
        let setting = &mut call.setting;
        setting.batch_norm =
            BatchNorm::new().with_momentum(momentum).with_unbiased_running_var(unbiased);
        (setting.eps, setting.l1, setting.l2, setting.rate) = (eps, l1, l2, rate);
        (setting.dropout, setting.stream.offset) = (Dropout::new().with_p(p), offset);

        let Some(faults) = call.faults(parameters) else { return Ok(()) };
        let (before, what) = (call.memory.raw(), call.what());
        match call.call() {
            Ok(()) => prop_assert!(faults.is_empty(), "{}: {:?}", what, faults),
            Err(error) => {
                // As text, since an error that holds a NaN equals no other.
                let said = format!("{error:?}");
                let known = faults.iter().any(|fault| format!("{fault:?}") == said);
                prop_assert!(known, "{}: {:?}, expected one of {:?}", what, error, faults);
                prop_assert!(call.memory.raw() == before, "{}: {}", what, error);
            }
        }
    }
}

/// A fitted scaler of so many features.
fn standard(features: usize) -> StandardScaler {
    let moments = Moments { count: 3, mean: 1.5, mean_low: 0.0, m2: 7.0 };
    StandardScaler::from_moments(&vec![moments; features]).expect("moments of some values")
}

/// The same.
fn min_max(features: usize) -> MinMaxScaler {
    let (min, max) = (vec![0.5; features], vec![9.0; features]);
    MinMaxScaler::from_ranges(&min, &max).expect("ranges of some values")
}

/// What can be seen of a scaler.
fn state(standard: &StandardScaler, min_max: &MinMaxScaler) -> String {
    // As text: infinities and NaN are among it.
    let moments = (standard.moments(), standard.mean(), standard.scale());
    format!("{moments:?} {:?} {:?}", min_max.data_min(), min_max.data_max())
}

/// What the scalers say of samples, whose results go to y.
fn transforms(
    (standard, min_max): (&StandardScaler, &MinMaxScaler),
    x: &[f32],
    rows: Rows,
    y: &mut [f32],
) -> [Result<(), Error>; 4] {
    [
        standard.transform(InOut::new(x, y), rows).map(drop),
        standard.inverse_transform(InOut::new(x, y), rows).map(drop),
        min_max.transform(InOut::new(x, y), rows).map(drop),
        min_max.inverse_transform(InOut::new(x, y), rows).map(drop),
    ]
}

/// What the scalers return for samples to learn from.
fn fits(
    (standard, min_max): (&mut StandardScaler, &mut MinMaxScaler),
    x: &[f32],
    rows: Rows,
) -> [Result<(), Error>; 4] {
    [
        standard.fit(x, rows),
        standard.partial_fit(x, rows),
        min_max.fit(x, rows),
        min_max.partial_fit(x, rows),
    ]
}

#[test]
fn samples_of_other_features_than_the_scalers() {
    let (mut standard, mut min_max) = (standard(3), min_max(3));
    let before = state(&standard, &min_max);
    for features in [0, 1, 2, 4, 17] {
        let (rows, x) = (rows((2, features)), vec![1.0; 2 * features]);
        let error = || Err(Error::Length { arg: "features", expected: 3, got: features });
        let mut y = x.clone();
        for result in fits((&mut standard, &mut min_max), &x, rows) {
            assert_eq!(result, error());
        }
        for result in transforms((&standard, &min_max), &x, rows, &mut y) {
            assert_eq!(result, error());
        }
        let error = Err(Error::Length { arg: "other", expected: 3, got: features });
        assert_eq!(standard.merge(&StandardScaler::new(features).unwrap()), error);
        assert_eq!(min_max.merge(&MinMaxScaler::new(features).unwrap()), error);
        assert_eq!(y, x, "{features} features");
    }
    // A wrong length.
    let rows = rows((2, 3));
    for got in [0, 5, 7] {
        let error = |arg| Err(Error::Length { arg, expected: 6, got });
        let (x, mut right, mut y) = (vec![1.0; got], [5.0; 6], vec![5.0; got]);
        for result in fits((&mut standard, &mut min_max), &x, rows) {
            assert_eq!(result, error("x"));
        }
        for result in transforms((&standard, &min_max), &x, rows, &mut right) {
            assert_eq!(result, error("x"));
        }
        for result in transforms((&standard, &min_max), &[5.0; 6], rows, &mut y) {
            assert_eq!(result, error("y"));
        }
        assert!(right == [5.0; 6] && y.iter().all(|&y| y == 5.0));
    }
    assert_eq!(state(&standard, &min_max), before, "no call that fails changes a scaler");
}

/// A number of features that came with a model does not end the process.
#[test]
fn a_scaler_of_more_features_than_memory_has() {
    for features in [usize::MAX, usize::MAX / 2] {
        let error = Error::OutOfMemory { bytes: usize::MAX };
        assert_eq!(StandardScaler::new(features).expect_err("no memory"), error);
        assert_eq!(MinMaxScaler::new(features).expect_err("no memory"), error);
    }
}

#[test]
fn a_scaler_that_has_seen_no_number() {
    let rows = rows((1, 2));
    let (mut standard, mut min_max) =
        (StandardScaler::new(2).unwrap(), MinMaxScaler::new(2).unwrap());
    for _ in 0..2 {
        let (error, mut y) = (Err(Error::NotFitted { arg: "scaler" }), [5.0; 2]);
        for result in transforms((&standard, &min_max), &[1.0; 2], rows, &mut y) {
            assert_eq!(result, error);
        }
        assert_eq!(y, [5.0; 2]);
        standard.partial_fit(&[f32::NAN; 2], rows).expect("a batch");
        min_max.partial_fit(&[f32::NAN; 2], rows).expect("a batch");
    }
    // No features need no fit.
    let none = (&StandardScaler::new(0).unwrap(), &MinMaxScaler::new(0).unwrap());
    let rows = Rows::new(3, 0).expect("a shape");
    assert_eq!(transforms(none, &[], rows, &mut []), [Ok(()), Ok(()), Ok(()), Ok(())]);
}

#[test]
fn a_feature_range_that_is_none() {
    let rows = rows((1, 2));
    let lower = "a lower end that is finite as f32";
    let upper = "an upper end above the lower one and finite as f32";
    let (nan, infinity) = (f64::NAN, f64::INFINITY);
    for (min, max, expected, got) in [
        (1.0, 1.0, upper, 1.0),
        (1.0, 0.5, upper, 0.5),
        (0.0, -0.0, upper, -0.0),
        (0.0, nan, upper, nan),
        (0.0, infinity, upper, infinity),
        (0.0, 1e39, upper, 1e39),
        (nan, 1.0, lower, nan),
        (-infinity, 1.0, lower, -infinity),
        (-1e39, 1.0, lower, -1e39),
    ] {
        let scaler = min_max(2).with_feature_range(min, max);
        let error = Error::Parameter { arg: "feature_range", expected, got };
        let mut y = [5.0; 2];
        for clip in [false, true] {
            let scaler = scaler.clone().with_clip(clip);
            for result in [
                scaler.transform(InOut::new(&[1.0; 2], &mut y), rows).map(drop),
                scaler.inverse_transform(InOut::new(&[1.0; 2], &mut y), rows).map(drop),
            ] {
                assert_eq!(format!("{result:?}"), format!("{:?}", Err::<(), _>(&error)));
            }
        }
        assert_eq!(y, [5.0; 2]);
    }
}

#[test]
fn statistics_that_no_samples_have() {
    let negative = Moments { count: 3, m2: -1.0, ..Moments::new() };
    let expected = "sums of squared deviations of at least 0";
    let error = Error::Parameter { arg: "moments", expected, got: -1.0 };
    let got = StandardScaler::from_moments(&[Moments::new(), negative]);
    assert_eq!(got.expect_err("negative"), error);
    let message = |min: &[f32], max: &[f32]| {
        MinMaxScaler::from_ranges(min, max).expect_err("no range").to_string()
    };
    let (nan, infinity) = (f32::NAN, f32::INFINITY);
    assert_eq!(message(&[1.0; 2], &[1.0]), "`data_max`: expected 2 elements, got 1");
    let expected = "`data_min`: expected numbers, infinity where none has been seen, got NaN";
    assert_eq!(message(&[1.0, nan], &[1.0, 2.0]), expected);
    let expected = "`data_max`: expected numbers of at least the minimum, minus infinity where none has been seen, got ";
    for (max, got) in [(0.5, "0.5"), (nan, "NaN"), (-infinity, "-inf")] {
        assert_eq!(message(&[1.0], &[max]), format!("{expected}{got}"));
    }
    assert!(MinMaxScaler::from_ranges(&[infinity, 1.0], &[-infinity, 1.0]).is_ok());
}
