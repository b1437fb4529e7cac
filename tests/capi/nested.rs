//! Buffers whose rows have two strides: the bits of contiguous ones, and errors for half a stride.

use evenkeel::capi::*;

use crate::message;
use crate::others::{input, output};

const HEADS: usize = 3;
const DIM: usize = 20;
const TOKENS: usize = 7;
/// q, k and v.
const TOKEN: usize = 3 * HEADS * DIM;
const ROWS: usize = TOKENS * HEADS;

fn of_heads(buffer: evenkeel_output) -> evenkeel_output {
    evenkeel_output { pitch: DIM, outer_pitch: TOKEN, inner_rows: HEADS as u32, ..buffer }
}

fn heads_read(x: &[f32]) -> evenkeel_input {
    let evenkeel_output { pitch, outer_pitch, inner_rows, .. } = of_heads(output(&mut [0], 0));
    evenkeel_input { pitch, outer_pitch, inner_rows, ..input(x, EVENKEEL_F32) }
}

fn shape() -> evenkeel_shape {
    evenkeel_shape {
        layout: EVENKEEL_ROWS,
        reserved: 0,
        rows: ROWS,
        cols: DIM,
        batch: 0,
        channels: 0,
        positions: 0,
    }
}

/// Queries, keys and values; those from element `start` of each token on as rows.
fn qkv(start: usize) -> (Vec<f32>, Vec<f32>) {
    let qkv: Vec<f32> = (0..TOKENS * TOKEN).map(|i| (i * i % 251) as f32 - 99.5).collect();
    let rows = qkv.chunks(TOKEN).flat_map(|token| &token[start..][..HEADS * DIM]).copied();
    (qkv.clone(), rows.collect())
}

#[test]
fn queries_and_keys_are_normalised_in_place() {
    for start in [0, HEADS * DIM] {
        let (mut qkv, rows) = qkv(start);
        let before = qkv.clone();
        let gamma: Vec<f32> = (0..DIM).map(|i| i as f32).collect();
        let mut expected = rows.clone();
        let args = evenkeel_rms_norm_args {
            x: input(&rows, EVENKEEL_F32),
            y: output(&mut expected, EVENKEEL_F32),
            shape: shape(),
            gamma: input(&gamma, EVENKEEL_F32),
            ..evenkeel_rms_norm_args::default()
        };
        assert_eq!(unsafe { evenkeel_rms_norm(&args) }, EVENKEEL_OK, "{}", message());
        let y = of_heads(output(&mut qkv[start..], EVENKEEL_F32));
        let x = evenkeel_input { data: y.data, ..heads_read(&before[start..]) };
        let args = evenkeel_rms_norm_args { x, y, ..args };
        assert_eq!(unsafe { evenkeel_rms_norm(&args) }, EVENKEEL_OK, "{}", message());
        for (t, (token, before)) in qkv.chunks(TOKEN).zip(before.chunks(TOKEN)).enumerate() {
            for (i, (&got, &before)) in token.iter().zip(before).enumerate() {
                let expected = match i.checked_sub(start) {
                    Some(i) if i < HEADS * DIM => expected[t * HEADS * DIM + i],
                    _ => before,
                };
                assert_eq!(got.to_bits(), expected.to_bits(), "token {t}, {i}");
            }
        }
    }
}

#[test]
fn gradients_of_queries() {
    let (qkv, rows) = qkv(0);
    let dy: Vec<f32> = (0..rows.len()).map(|i| (i % 13) as f32 - 6.0).collect();
    let (mut expected, mut dgamma) = (vec![0.0; rows.len()], vec![0.0; DIM]);
    let args = evenkeel_norm_backward_args {
        dy: input(&dy, EVENKEEL_F32),
        dx: output(&mut expected, EVENKEEL_F32),
        x: input(&rows, EVENKEEL_F32),
        shape: shape(),
        dgamma: output(&mut dgamma, EVENKEEL_F32),
        ..evenkeel_norm_backward_args::default()
    };
    assert_eq!(unsafe { evenkeel_layer_norm_backward(&args) }, EVENKEEL_OK, "{}", message());
    // dx goes to its place in the gradient of qkv.
    let (mut dqkv, mut got_dgamma) = (vec![7.0; qkv.len()], vec![0.0; DIM]);
    let args = evenkeel_norm_backward_args {
        dx: of_heads(output(&mut dqkv, EVENKEEL_F32)),
        x: heads_read(&qkv),
        dgamma: output(&mut got_dgamma, EVENKEEL_F32),
        ..args
    };
    assert_eq!(unsafe { evenkeel_layer_norm_backward(&args) }, EVENKEEL_OK, "{}", message());
    let got: Vec<f32> = dqkv.chunks(TOKEN).flat_map(|t| &t[..HEADS * DIM]).copied().collect();
    assert_eq!((got, got_dgamma), (expected, dgamma));
    assert!(dqkv.chunks(TOKEN).all(|token| token[HEADS * DIM..].iter().all(|&x| x == 7.0)));
}

#[test]
fn strides_that_are_wrong() {
    let (mut qkv, rows) = qkv(0);
    let mut y = rows.clone();
    let right = evenkeel_rms_norm_args {
        x: heads_read(&qkv),
        y: output(&mut y, EVENKEEL_F32),
        shape: shape(),
        ..evenkeel_rms_norm_args::default()
    };
    let fails = |args: evenkeel_rms_norm_args, status, text: &str| {
        assert_eq!(unsafe { evenkeel_rms_norm(&args) }, status, "{text}: {}", message());
        assert!(message().contains(text), "{}", message());
    };
    let x = |change: fn(&mut evenkeel_input)| {
        let mut args = right;
        change(&mut args.x);
        args
    };
    fails(x(|x| x.inner_rows = 0), EVENKEEL_UNKNOWN_OPTION, "`x`: expected 0 in `outer_pitch`");
    fails(x(|x| x.pitch = 0), EVENKEEL_LENGTH, "`x.pitch`: expected at least 20 elements, got 0");
    fails(x(|x| x.outer_pitch = 59), EVENKEEL_LENGTH, "`x.pitch`: expected at least 60 elements");
    fails(x(|x| x.len = 1), EVENKEEL_LENGTH, "`x`: expected at least");
    let gamma = evenkeel_input { inner_rows: 1, ..input(&rows[..DIM], EVENKEEL_F32) };
    let args = evenkeel_rms_norm_args { gamma, ..right };
    fails(args, EVENKEEL_UNKNOWN_OPTION, "`gamma`: expected 0 in `inner_rows`");
    // One buffer with two layouts.
    let in_place = of_heads(output(&mut qkv, EVENKEEL_F32));
    let args = evenkeel_rms_norm_args { y: in_place, ..right };
    let args =
        evenkeel_rms_norm_args { x: evenkeel_input { data: in_place.data, ..right.x }, ..args };
    let other = evenkeel_output { outer_pitch: TOKEN - 1, ..in_place };
    fails(evenkeel_rms_norm_args { y: other, ..args }, EVENKEEL_OVERLAP, "expected the pitch");
    let other = evenkeel_output { inner_rows: 1, ..in_place };
    fails(evenkeel_rms_norm_args { y: other, ..args }, EVENKEEL_OVERLAP, "expected the pitch");
    assert_eq!(y, rows, "nothing is written");
}
