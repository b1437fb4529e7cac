//! Callers that were compiled with another version of the header, and structures that are none.
#![forbid(unsafe_code)]

use evenkeel::capi::*;

use crate::arguments::{Call, Owned, Pass};
use crate::calls::CALLS;
use crate::registry::{Memory, OPERATIONS};
use crate::*;

/// Makes a call of an operation without options, and returns its status and everything that is written.
fn call(row: usize, pass: Pass) -> (evenkeel_status, Vec<u64>) {
    let (operation, values) = (&OPERATIONS[row], values((5, 9)));
    let setting = setting(values.rows);
    let memory = Memory::new(operation, &values, Place::New, &[]);
    let mut owned = Owned::new(operation, &memory);
    let given = owned.given(operation, &memory);
    let status = (CALLS[row].call)(&Call { pass, ..Call::new(&setting, &given) });
    (status, owned.written(&memory))
}

/// The rows whose function takes a structure.
fn rows_with_structures() -> impl Iterator<Item = usize> {
    (0..CALLS.len()).filter(|&row| CALLS[row].function != "evenkeel_moments_extend")
}

/// Yesterday's structure ends before its last members, which have their defaults. It ends where one of them begins.
#[test]
fn yesterdays_structure_is_taken() {
    for row in rows_with_structures() {
        let mut taken = 0;
        for size in (8..680).step_by(8) {
            let (status, written) = call(row, Pass::Size(size));
            // Within a member, or in the others.
            if status != EVENKEEL_STRUCT_SIZE {
                let what = format!("{}, {size}: {}", CALLS[row].name, message());
                assert!((status, written) == call(row, Pass::Cut(size)), "{what}");
                taken += 1;
            }
        }
        assert!(taken >= 4, "{}: {taken} sizes", CALLS[row].name);
    }
    // Where the last members are not used, the call is the same.
    let layer_norm = 0;
    let (_, expected) = call(layer_norm, Pass::Whole);
    for size in
        [152, 192, 232, 272, 312, 352, 392, 432, 472, 512, 552, 560, 568, 576, 584, 592, 600, 640]
    {
        let (status, written) = call(layer_norm, Pass::Size(size));
        assert_eq!((status, &written), (EVENKEEL_OK, &expected), "{size}: {}", message());
    }
    for size in [0, 1, 4, 12, 56, 160, 559] {
        let (status, _) = call(layer_norm, Pass::Size(size));
        assert_eq!(status, EVENKEEL_STRUCT_SIZE, "{size}");
        assert!(message().starts_with("`evenkeel_layer_norm_args.size`"), "{}", message());
    }
}

/// Tomorrow's structure has members that this version lacks: it is taken where these are 0.
#[test]
fn tomorrows_structure_is_taken_if_its_new_members_are_zero() {
    for row in rows_with_structures() {
        let (_, expected) = call(row, Pass::Whole);
        for more in [8, 16, 400] {
            let (status, written) = call(row, Pass::Longer(more));
            assert_eq!((status, &written), (EVENKEEL_OK, &expected), "{}", CALLS[row].name);
            let (status, _) = call(row, Pass::Unknown(more));
            assert_eq!(status, EVENKEEL_STRUCT_SIZE, "{}: {}", CALLS[row].name, message());
            assert!(message().contains("expected zeros"), "{}", message());
        }
    }
}

#[test]
fn a_structure_that_is_none() {
    for row in rows_with_structures() {
        let (status, _) = call(row, Pass::Null);
        assert_eq!(status, EVENKEEL_NULL_POINTER, "{}", CALLS[row].name);
        assert!(message().ends_with("expected a pointer, got NULL"), "{}", message());
        let (status, _) = call(row, Pass::Misaligned);
        assert_eq!(status, EVENKEEL_MISALIGNED, "{}", CALLS[row].name);
    }
}

/// An execution of yesterday has no pool; one of tomorrow has more.
#[test]
fn executions_of_other_versions() {
    let values = values((5, 9));
    let setting = setting(values.rows);
    let operation = &OPERATIONS[0];
    let memory = Memory::new(operation, &values, Place::New, &[]);
    let mut owned = Owned::new(operation, &memory);
    let given = owned.given(operation, &memory);
    let mut words = [0_u64; 9];
    for (size, last, status) in [
        (8, 0, EVENKEEL_OK),
        (16, 0, EVENKEEL_OK),
        (32, 0, EVENKEEL_OK),
        (36, 0, EVENKEEL_STRUCT_SIZE),
        (72, 0, EVENKEEL_OK),
        (72, 1, EVENKEEL_STRUCT_SIZE),
    ] {
        (words[0], words[8]) = (size, last);
        let execution = words.as_ptr().cast();
        let got = (CALLS[0].call)(&Call { execution, ..Call::new(&setting, &given) });
        assert_eq!(got, status, "{size}, {last}: {}", message());
    }
}
