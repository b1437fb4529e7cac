//! What C can get wrong in a buffer, in any buffer of any operation: a status that says so, a message that names the member, and
//! nothing written.

use std::ptr::null_mut;

use evenkeel::capi::*;

use crate::arguments::{ABSENT, Call, Given, Owned, is_backward_norm};
use crate::calls::{CALLS, Row};
use crate::registry::{Memory, OPERATIONS, Takes};
use crate::*;

/// A right call of an operation, to be made wrong.
struct Right {
    operation: &'static Operation,
    row: &'static Row,
    setting: Setting,
    owned: Owned,
    given: Vec<Given>,
    what: String,
}

impl Right {
    fn new(row: usize, options: &[&'static str], place: Place) -> Self {
        let (operation, values) = (&OPERATIONS[row], values((17, 9)));
        let setting = setting(values.rows);
        let memory = Memory::new(operation, &values, place, options);
        let mut owned = Owned::new(operation, &memory);
        let given = owned.given(operation, &memory);
        let what = format!("{}, {options:?}, {place:?}", operation.name);
        Self { operation, row: &CALLS[row], setting, owned, given, what }
    }

    /// Calls with other buffers, and finds this status, a message that names one of these members, and nothing written.
    fn returns(&self, what: &str, wrong: &[Given], status: evenkeel_status, members: &[&str]) {
        let before = self.owned.clone();
        let got = (self.row.call)(&Call::new(&self.setting, wrong));
        let what = format!("{}: {what}: {}", self.what, message());
        assert_eq!(got, status, "{what}");
        let named = |member: &&str| message().contains(&format!("`{member}"));
        assert!(members.iter().any(named), "{what}: names none of {members:?}");
        for (own, before) in self.owned.0.iter().zip(&before.0) {
            assert!(own.words == before.words, "{what}: {} is written", own.name);
        }
    }

    /// The same with one buffer made wrong.
    fn one_wrong(&self, i: usize, what: &str, status: evenkeel_status, wrong: fn(&mut Given)) {
        let mut given = self.given.clone();
        wrong(&mut given[i]);
        let member = given[i].member(self.operation);
        self.returns(&format!("{member} {what}"), &given, status, &[member]);
    }

    /// Whether C passes a structure with this buffer: `evenkeel_moments_extend` takes its output by a pointer.
    fn is_pointer(&self, given: &Given) -> bool {
        self.operation.takes == Takes::Nothing && given.member(self.operation) == "into"
    }
}

/// Every operation, with no option and with most, out of place and at pitches where it has them.
fn every_right_call(test: impl Fn(&Right)) {
    for (row, operation) in OPERATIONS.iter().enumerate() {
        for options in option_sets(operation) {
            test(&Right::new(row, &options, Place::New));
        }
        if operation.takes == Takes::Rows {
            test(&Right::new(row, &most_options(operation), Place::Strided));
        }
    }
}

#[test]
fn a_buffer_that_cannot_be_one() {
    every_right_call(|right| {
        for (i, given) in right.given.iter().enumerate() {
            let empty = given.buffer.len == 0;
            if !empty {
                right.one_wrong(i, "is NULL", EVENKEEL_NULL_POINTER, |wrong| {
                    wrong.buffer.data = null_mut();
                });
            }
            if right.is_pointer(given) {
                continue;
            }
            if given.size > 1 {
                right.one_wrong(i, "is misaligned", EVENKEEL_MISALIGNED, |wrong| {
                    wrong.buffer.data = wrong.buffer.data.wrapping_byte_add(1);
                });
            }
            right.one_wrong(i, "is too long", EVENKEEL_SHAPE_OVERFLOW, |wrong| {
                wrong.buffer.len = usize::MAX / wrong.size;
            });
            right.one_wrong(i, "ends beyond memory", EVENKEEL_SHAPE_OVERFLOW, |wrong| {
                wrong.buffer.len = isize::MAX as usize / wrong.size;
                wrong.buffer.data = wrong.buffer.data.with_addr(usize::MAX - 63);
            });
            right.one_wrong(i, "has no dtype", EVENKEEL_TYPE, |wrong| wrong.buffer.dtype = 0);
            right.one_wrong(i, "has an unknown dtype", EVENKEEL_TYPE, |wrong| {
                wrong.buffer.dtype = 77
            });
            right
                .one_wrong(i, "has a dtype to come", EVENKEEL_TYPE, |wrong| wrong.buffer.dtype = 5);
            right.one_wrong(i, "has another's dtype", EVENKEEL_TYPE, |wrong| {
                let is_moments = wrong.buffer.dtype == EVENKEEL_MOMENTS;
                wrong.buffer.dtype = if is_moments { EVENKEEL_F32 } else { EVENKEEL_MOMENTS };
            });
            right.one_wrong(i, "has half a stride", EVENKEEL_UNKNOWN_OPTION, |wrong| {
                wrong.buffer.outer_pitch = 1;
            });
        }
    });
}

#[test]
fn a_buffer_of_another_length() {
    every_right_call(|right| {
        for (i, given) in right.given.iter().enumerate() {
            let strided = given.buffer.pitch != 0;
            if right.is_pointer(given)
                || ["Moments::extend_from_slice", "Regularizer::penalty"]
                    .contains(&right.operation.name)
            {
                // Of any length.
                continue;
            }
            // Where x has no shape, it is y that has another length; of what is in pairs, it may be the other one.
            let member = given.member(right.operation);
            let members = [
                member,
                "y",
                "x",
                "gradient",
                "mask",
                "keep_mask",
                "data_max",
                "data_min",
                "residual",
                "sum",
                "dy",
                "dx",
                "mean",
                "parts",
            ];
            let mut shorter = right.given.clone();
            shorter[i].buffer.len -= 1;
            right.returns("one element short", &shorter, EVENKEEL_LENGTH, &members);
            if !given.at_least && !strided {
                let mut longer = right.given.clone();
                longer[i].buffer.len += 1;
                right.returns("one element long", &longer, EVENKEEL_LENGTH, &members);
            }
        }
    });
}

#[test]
fn a_pitch_that_is_none_or_has_no_place() {
    every_right_call(|right| {
        for (i, given) in right.given.iter().enumerate() {
            if right.is_pointer(given) {
                continue;
            }
            let member = given.member(right.operation);
            // The operations say themselves where rows have pitches.
            let pitched = ["x", "y", "residual", "sum", "gate", "plus"].contains(&member)
                || ["dy", "dx", "dsum", "dresidual", "dgate"].contains(&member);
            let of_rows = match right.operation.takes {
                Takes::Rows => true,
                Takes::Elements => false,
                Takes::Nothing => is_backward_norm(right.operation),
            };
            let computes = right.operation.method().ends_with("::compute");
            let of_planes = right.operation.name.ends_with("channels first");
            let by_rows = of_rows && pitched || member == "x" && computes && !of_planes;
            if by_rows {
                right.one_wrong(i, "has a pitch below a row", EVENKEEL_LENGTH, |wrong| {
                    wrong.buffer.pitch = 1
                });
                right.one_wrong(i, "has a pitch beyond memory", EVENKEEL_SHAPE_OVERFLOW, |wrong| {
                    wrong.buffer.pitch = usize::MAX;
                });
            } else {
                right.one_wrong(i, "has a pitch", EVENKEEL_UNSUPPORTED, |wrong| {
                    wrong.buffer.pitch = 99
                });
            }
        }
    });
}

#[test]
fn a_buffer_that_has_to_be_there() {
    every_right_call(|right| {
        for (i, given) in right.given.iter().enumerate() {
            if given.optional
                || ["gradient", "gate"].contains(&given.name)
                || given.member(right.operation) == "dx"
                || right.is_pointer(given)
                || given.member(right.operation) == "mask"
                || given.name == "bits"
                || given.name == "bytes"
            {
                continue;
            }
            right.one_wrong(i, "is absent", EVENKEEL_NULL_POINTER, |wrong| {
                wrong.buffer = ABSENT;
            });
        }
    });
}

/// Every output on every other buffer: shifted by an element, or exactly where only y may be x, and the sum the residual.
#[test]
fn an_output_that_overlaps() {
    every_right_call(|right| {
        for (i, output) in right.given.iter().enumerate().filter(|(_, given)| given.is_output()) {
            for (j, other) in right.given.iter().enumerate() {
                if i == j || output.buffer.len == 0 || other.buffer.len == 0 {
                    continue;
                }
                let (a, b) = (output.member(right.operation), other.member(right.operation));
                // One buffer in the structure twice.
                let is_updated = output.name == "updated" || other.name == "updated";
                let members = [a, b, "residual", "sum"];
                let members = if is_updated { &members[..] } else { &members[..2] };
                let may_be = [("y", "x"), ("sum", "residual"), ("dx", "dy")].contains(&(a, b));
                let step = output.size.max(other.size);
                for shift in [0, step] {
                    if shift == 0 && may_be
                        || shift >= other.buffer.len * other.size
                        || right.is_pointer(output) && shift > 0
                    {
                        continue;
                    }
                    let mut wrong = right.given.clone();
                    wrong[i].buffer.data = other.buffer.data.wrapping_byte_add(shift);
                    right.returns(
                        &format!("{a} on {b}, {shift}"),
                        &wrong,
                        EVENKEEL_OVERLAP,
                        members,
                    );
                }
            }
        }
    });
}

/// Exactly in place, and yet another matrix.
#[test]
fn one_buffer_with_two_pitches() {
    for (row, operation) in OPERATIONS.iter().enumerate() {
        if operation.takes != Takes::Rows {
            continue;
        }
        let right = Right::new(row, &[], Place::StridedInPlace);
        for i in [0, 1] {
            for pitch in [0, right.given[i].buffer.pitch - 1] {
                let mut wrong = right.given.clone();
                wrong[i].buffer.pitch = pitch;
                right.returns(
                    "another pitch",
                    &wrong,
                    EVENKEEL_OVERLAP,
                    &["y`: expected the pitch", "dx`: expected the pitch"],
                );
            }
        }
    }
}

/// Wrong shapes and ways to run, of every operation that has them.
#[test]
fn a_shape_or_an_execution_that_is_none() {
    type Edit = fn(&mut evenkeel_shape);
    let shapes: [(Edit, &str); 5] = [
        (|shape| shape.layout = 0, "shape.layout"),
        (|shape| shape.layout = 77, "shape.layout"),
        (|shape| shape.reserved = 1, "shape"),
        (
            |shape| {
                if shape.layout == EVENKEEL_ROWS { shape.positions = 1 } else { shape.cols = 1 }
            },
            "shape",
        ),
        (
            |shape| match shape.layout {
                EVENKEEL_ROWS => shape.rows = usize::MAX / 2,
                _ => shape.batch = usize::MAX / 2,
            },
            "shape",
        ),
    ];
    let default = evenkeel_execution::default();
    let executions = [
        (evenkeel_execution { backend: 77, ..default }, "backend"),
        (evenkeel_execution { stores: 77, ..default }, "stores"),
        (evenkeel_execution { environment: 77, ..default }, "environment"),
        (evenkeel_execution { reserved: 1, ..default }, "reserved"),
        (evenkeel_execution { pool_threads: 1, ..default }, "pool_threads"),
        (evenkeel_execution { size: 0, ..default }, "evenkeel_execution.size"),
        (evenkeel_execution { size: 57, ..default }, "evenkeel_execution"),
    ];
    for (row, operation) in OPERATIONS.iter().enumerate() {
        let right = Right::new(row, &[], Place::New);
        let check = |call: &Call<'_>, status: &[evenkeel_status], member: &str| {
            let before = right.owned.clone();
            let got = (right.row.call)(call);
            let what = format!("{}, {member}: {}", operation.name, message());
            assert!(status.contains(&got), "{what}: {got}");
            assert!(message().contains(&format!("`{member}")), "{what}");
            let same =
                right.owned.0.iter().zip(&before.0).all(|(own, before)| own.words == before.words);
            assert!(same, "{what}: written");
        };
        let new = || Call::new(&right.setting, &right.given);
        let without = ["ColumnMoments::merge", "BatchNorm::training_statistics"];
        let has_shape = !["Dropout", "Regularizer", "Moments::"]
            .iter()
            .chain(&without)
            .any(|of| operation.name.starts_with(of));
        for (edit_shape, member) in shapes.iter().filter(|_| has_shape) {
            let status = [EVENKEEL_UNKNOWN_OPTION, EVENKEEL_SHAPE_OVERFLOW];
            check(&Call { edit_shape: *edit_shape, ..new() }, &status, member);
        }
        if operation.name.starts_with("Moments::") {
            continue;
        }
        for (execution, member) in &executions {
            // Of 57 bytes, a byte more than there are is looked at.
            let mut bytes = [*execution, default];
            bytes[1].size = 1;
            let status = [EVENKEEL_UNKNOWN_OPTION, EVENKEEL_STRUCT_SIZE];
            check(&Call { execution: bytes.as_ptr(), ..new() }, &status, member);
        }
        let misaligned = (&raw const default).wrapping_byte_add(1);
        check(
            &Call { execution: misaligned, ..new() },
            &[EVENKEEL_MISALIGNED],
            "evenkeel_execution",
        );
    }
}

/// Parameters outside of their domains: an error of the Rust operation, with its status.
#[test]
fn a_parameter_outside_its_domain() {
    for (row, operation) in OPERATIONS.iter().enumerate() {
        let right = Right::new(row, &[], Place::New);
        let takes = |of: &[&str]| of.iter().any(|of| operation.name.starts_with(of));
        let mut setting = right.setting;
        (setting.eps, setting.l2, setting.rate) = (f64::NAN, -1.0, -1.0);
        let call = (right.row.call)(&Call::new(&setting, &right.given));
        let takes_one = takes(&[
            "LayerNorm",
            "RmsNorm",
            "GroupNorm",
            "InstanceNorm",
            "BatchNorm",
            "Regularizer",
        ]);
        let expected = if takes_one { EVENKEEL_PARAMETER } else { EVENKEEL_OK };
        assert_eq!(call, expected, "{}: {}", operation.name, message());
    }
    let mut mask = [0_u8; 2];
    let (data, dtype) = (mask.as_mut_ptr().cast(), EVENKEEL_BITS);
    let mask = evenkeel_output { data, len: 2, pitch: 0, outer_pitch: 0, dtype, inner_rows: 0 };
    let right =
        evenkeel_dropout_mask_args { mask, count: 16, ..evenkeel_dropout_mask_args::default() };
    for (args, status) in [
        (evenkeel_dropout_mask_args { p: 1.5, ..right }, EVENKEEL_PARAMETER),
        (evenkeel_dropout_mask_args { p: f64::NAN, ..right }, EVENKEEL_PARAMETER),
        (evenkeel_dropout_mask_args { offset: u64::MAX, ..right }, EVENKEEL_STREAM_OVERFLOW),
        (right, EVENKEEL_OK),
    ] {
        assert_eq!(unsafe { evenkeel_dropout_mask(&args) }, status, "{}", message());
    }
}

/// Options that are numbers: none is taken for another.
#[test]
fn a_number_that_is_no_option() {
    let values = values((3, 4));
    let setting = setting(values.rows);
    let call = Call::new(&setting, &[]);
    let mut y = vec![0.0_f32; 12];
    let mut moments = [evenkeel_moments { count: 3, mean: 2.0, mean_low: 0.0, m2: 6.0 }; 4];
    let buffer = |data: *mut f32, dtype, len| evenkeel_output {
        data: data.cast(),
        len,
        pitch: 0,
        outer_pitch: 0,
        dtype,
        inner_rows: 0,
    };
    let as_input = |evenkeel_output { data, len, pitch, outer_pitch, dtype, inner_rows }| {
        evenkeel_input { data, len, pitch, outer_pitch, dtype, inner_rows }
    };
    let x = as_input(buffer(values.x.as_ptr().cast_mut(), EVENKEEL_F32, 12));
    let y = buffer(y.as_mut_ptr(), EVENKEEL_F32, 12);
    let moments = as_input(buffer(moments.as_mut_ptr().cast(), EVENKEEL_MOMENTS, 4));
    let one = as_input(buffer(values.x.as_ptr().cast_mut(), EVENKEEL_F32, 4));
    let shape = call.rows();
    let rms = evenkeel_rms_norm_args { x, y, shape, ..evenkeel_rms_norm_args::default() };
    let train = evenkeel_batch_norm_training_args {
        x,
        y,
        shape,
        ..evenkeel_batch_norm_training_args::default()
    };
    let nss = evenkeel_normalize_scale_shift_args {
        x,
        y,
        shape,
        mean: one,
        rstd: one,
        ..evenkeel_normalize_scale_shift_args::default()
    };
    let norm = evenkeel_normalizer_args { x, y, shape, ..evenkeel_normalizer_args::default() };
    let standard = evenkeel_standard_scaler_transform_args {
        x,
        y,
        shape,
        moments,
        ..evenkeel_standard_scaler_transform_args::default()
    };
    let (data_min, data_max) = (one, one);
    let range = evenkeel_min_max_scaler_transform_args {
        x,
        y,
        shape,
        data_min,
        data_max,
        ..evenkeel_min_max_scaler_transform_args::default()
    };
    let statuses = unsafe {
        [
            evenkeel_rms_norm(&evenkeel_rms_norm_args { one_plus_gamma: 2, ..rms }),
            evenkeel_rms_norm(&evenkeel_rms_norm_args { reserved: 1, ..rms }),
            evenkeel_rms_norm(&evenkeel_rms_norm_args { valid_steps: 1, ..rms }),
            evenkeel_batch_norm_training(&evenkeel_batch_norm_training_args {
                momentum_rule: 0,
                ..train
            }),
            evenkeel_batch_norm_training(&evenkeel_batch_norm_training_args {
                momentum_rule: 77,
                ..train
            }),
            evenkeel_batch_norm_training(&evenkeel_batch_norm_training_args {
                unbiased_running_var: 2,
                ..train
            }),
            evenkeel_normalize_scale_shift(&nss),
            evenkeel_normalize_scale_shift(&evenkeel_normalize_scale_shift_args {
                statistics_of: 2,
                reserved: 1,
                ..nss
            }),
            evenkeel_normalizer(&evenkeel_normalizer_args { norm: 0, ..norm }),
            evenkeel_normalizer(&evenkeel_normalizer_args { reserved: 1, ..norm }),
            evenkeel_standard_scaler_transform(&evenkeel_standard_scaler_transform_args {
                with_mean: 2,
                ..standard
            }),
            evenkeel_standard_scaler_transform(&evenkeel_standard_scaler_transform_args {
                with_std: 2,
                ..standard
            }),
            evenkeel_standard_scaler_transform(&evenkeel_standard_scaler_transform_args {
                inverse: 2,
                ..standard
            }),
            evenkeel_standard_scaler_transform(&evenkeel_standard_scaler_transform_args {
                reserved: 2,
                ..standard
            }),
            evenkeel_min_max_scaler_transform(&evenkeel_min_max_scaler_transform_args {
                clip: 2,
                ..range
            }),
            evenkeel_min_max_scaler_transform(&evenkeel_min_max_scaler_transform_args {
                inverse: 2,
                ..range
            }),
        ]
    };
    assert_eq!(statuses, [EVENKEEL_UNKNOWN_OPTION; 16]);
}
