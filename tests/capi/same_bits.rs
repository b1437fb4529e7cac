//! Every operation: the bits that Rust gets.

use evenkeel::capi::*;
use evenkeel::{
    BatchNorm, Dropout, DropoutArgs, GroupNorm, InOut, LayerNorm, NormArgs, RmsNorm, TrainArgs,
};

use crate::arguments::{Call, Owned};
use crate::calls::CALLS;
use crate::registry::{Memory, OPERATIONS};
use crate::*;

const SHAPES: [(usize, usize); 6] = [(0, 0), (1, 1), (3, 0), (5, 64), (17, 100), (4, 2049)];

/// Calls from Rust and from C, and compares everything that is written.
fn assert_same(row: usize, options: &[&'static str], place: Place, shape: (usize, usize)) {
    let (operation, values) = (&OPERATIONS[row], values(shape));
    let what = format!("{}, {options:?}, {place:?}, {shape:?}", operation.name);
    let mut memory = Memory::new(operation, &values, place, options);
    let mut owned = Owned::new(operation, &memory);
    let before = memory.clone();
    let setting = setting(values.rows);
    let expected = memory.call(operation, &setting);
    let given = owned.given(operation, &before);
    let status = (CALLS[row].call)(&Call::new(&setting, &given));
    assert_eq!(status == EVENKEEL_OK, expected.is_ok(), "{what}: {}, {expected:?}", message());
    if expected.is_ok() {
        assert!(owned.written(&before) == memory.written(&what), "{what}: other bits");
    }
}

#[test]
fn every_operation_has_the_bits_of_rust() {
    for (row, operation) in OPERATIONS.iter().enumerate() {
        for options in option_sets(operation) {
            for shape in SHAPES {
                assert_same(row, &options, Place::New, shape);
            }
        }
        for place in places(operation) {
            assert_same(row, &[], place, (17, 100));
            assert_same(row, &most_options(operation), place, (5, 64));
        }
    }
}

/// Large enough for threads, in a thread of a pool.
#[test]
fn large_calls_have_the_bits_of_rust() {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
    pool.install(|| {
        for row in 0..OPERATIONS.len() {
            assert_same(row, &["gamma", "stats"], Place::New, (300, 768));
        }
    });
}

/// What a macro of the header leaves is what Rust begins with.
#[test]
fn defaults_are_those_of_rust() {
    let values = values((7, 64));
    let (x, rows, len) = (&values.x, values.rows, values.x.len());
    let input = evenkeel_input {
        data: x.as_ptr().cast(),
        len,
        pitch: 0,
        outer_pitch: 0,
        dtype: EVENKEEL_F32,
        inner_rows: 0,
    };
    let check = |expected: Vec<f32>, call: &dyn Fn(evenkeel_output) -> evenkeel_status| {
        let mut y = vec![0.0_f32; len];
        let data = y.as_mut_ptr().cast();
        let output = evenkeel_output {
            data,
            len,
            pitch: 0,
            outer_pitch: 0,
            dtype: EVENKEEL_F32,
            inner_rows: 0,
        };
        assert_eq!(call(output), EVENKEEL_OK, "{}", message());
        assert_eq!(y, expected);
    };
    let setting = setting(rows);
    let call = Call::new(&setting, &[]);
    let mut y = vec![0.0; len];
    LayerNorm::new().forward(InOut::new(x, &mut y), rows, NormArgs::new()).unwrap();
    check(y.clone(), &|y| {
        let args = evenkeel_layer_norm_args::default();
        unsafe {
            evenkeel_layer_norm(&evenkeel_layer_norm_args {
                x: input,
                y,
                shape: call.rows(),
                ..args
            })
        }
    });
    RmsNorm::new().forward(InOut::new(x, &mut y), rows, NormArgs::new()).unwrap();
    check(y.clone(), &|y| {
        let args = evenkeel_rms_norm_args::default();
        unsafe {
            evenkeel_rms_norm(&evenkeel_rms_norm_args { x: input, y, shape: call.rows(), ..args })
        }
    });
    let channels = evenkeel::Channels::last(1, 7, 64).unwrap();
    GroupNorm::new().forward(InOut::new(x, &mut y), channels, NormArgs::new()).unwrap();
    check(y.clone(), &|y| {
        let args = evenkeel_group_norm_args::default();
        unsafe {
            evenkeel_group_norm(&evenkeel_group_norm_args {
                x: input,
                y,
                shape: call.last(),
                ..args
            })
        }
    });
    let stream = evenkeel::Stream { seed: 0, offset: 0 };
    Dropout::new().forward(InOut::new(x, &mut y), DropoutArgs::draw(stream)).unwrap();
    check(y.clone(), &|y| {
        let args = evenkeel_dropout_args::default();
        unsafe { evenkeel_dropout(&evenkeel_dropout_args { x: input, y, ..args }) }
    });
    let (mut mean, mut var) = (vec![0.0; 64], vec![1.0; 64]);
    let (mut c_mean, mut c_var) = (mean.clone(), var.clone());
    let args = TrainArgs::new().running(&mut mean, &mut var);
    BatchNorm::new().forward_training(InOut::new(x, &mut y), rows, args).unwrap();
    let running = [c_mean.as_mut_ptr(), c_var.as_mut_ptr()].map(|data| evenkeel_output {
        data: data.cast(),
        len: 64,
        pitch: 0,
        outer_pitch: 0,
        dtype: EVENKEEL_F32,
        inner_rows: 0,
    });
    check(y, &|y| {
        let [running_mean, running_var] = running;
        let shape = call.rows();
        let args = evenkeel_batch_norm_training_args {
            x: input,
            y,
            shape,
            running_mean,
            running_var,
            ..evenkeel_batch_norm_training_args::default()
        };
        unsafe { evenkeel_batch_norm_training(&args) }
    });
    assert_eq!((c_mean, c_var), (mean, var));
}

/// Statistics as floats are the doubles, rounded once.
#[test]
fn statistics_as_floats_are_the_doubles_rounded() {
    for (row, operation) in OPERATIONS.iter().enumerate() {
        let statistics = ["mean", "rstd", "row_mean", "row_rstd", "col_mean", "col_rstd"];
        let has = |name: &str| operation.buffers.iter().any(|buffer| buffer.name == name);
        if operation.name.contains("Scaler:") || !statistics.iter().any(|name| has(name)) {
            continue;
        }
        let (values, options) = (values((5, 64)), most_options(operation));
        let setting = setting(values.rows);
        let memory = Memory::new(operation, &values, Place::New, &options);
        let mut single: Vec<(&str, Vec<f32>)> = Vec::new();
        let mut doubles = Owned::new(operation, &memory);
        // Numbers that are floats, so that reading either is reading the same.
        for own in doubles.0.iter_mut().filter(|own| statistics.contains(&own.name)) {
            let rounded =
                |word: &mut u64| *word = f64::from(f64::from_bits(*word) as f32).to_bits();
            own.words.iter_mut().for_each(rounded);
            let floats = own.doubles().iter().map(|&x| x as f32).collect();
            single.push((own.name, floats));
        }
        let mut floats = doubles.clone();
        let given = doubles.given(operation, &memory);
        assert_eq!((CALLS[row].call)(&Call::new(&setting, &given)), EVENKEEL_OK, "{}", message());
        let mut given = floats.given(operation, &memory);
        for given in &mut given {
            if let Some((_, single)) = single.iter_mut().find(|(name, _)| *name == given.name) {
                given.buffer.data = single.as_mut_ptr().cast();
                given.buffer.dtype = EVENKEEL_F32;
            }
        }
        assert_eq!((CALLS[row].call)(&Call::new(&setting, &given)), EVENKEEL_OK, "{}", message());
        for (double, float) in doubles.0.iter().zip(&floats.0) {
            match single.iter().find(|(name, _)| *name == double.name) {
                Some((name, single)) => {
                    let rounded = double.doubles().iter().map(|&x| x as f32).collect::<Vec<_>>();
                    assert_eq!(single, &rounded, "{}, {name}", operation.name);
                }
                None => {
                    assert_eq!(double.words, float.words, "{}, {}", operation.name, double.name)
                }
            }
        }
    }
}
