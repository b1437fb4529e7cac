//! Laws of every operation of the registry: what does not change a bit.
#![forbid(unsafe_code)]

use evenkeel::{Dropout, Parallelism, Stores, Stream};

use crate::common::*;
use crate::registry::{AFFINE, Memory, OPERATIONS, Operation, Place, Setting, Values};

/// Short rows in a group of sixteen and not; several blocks; narrow columns of several blocks; wide ones.
const SHAPES: [(usize, usize); 9] =
    [(1, 1), (3, 7), (35, 16), (5, 67), (9, 130), (300, 9), (3, 1030), (130, 300), (2, 2500)];

fn shapes() -> impl Iterator<Item = (usize, usize)> {
    SHAPES.into_iter().filter(|(count, cols)| !short() || count * cols <= 3000)
}

/// Values of a shape; those of the second kind leave what f32 can hold.
fn values((count, cols): (usize, usize), scale: f32) -> Values {
    let random = &mut Random::new((count * 31 + cols) as u64);
    let x = random.normals(count * cols).iter().map(|x| x * scale).collect();
    Values::new(rows(count, cols), x, scale, random).that_train(scale)
}

fn setting(shape: (usize, usize)) -> Setting {
    Setting {
        stream: Stream { seed: 5, offset: 4090 },
        dropout: Dropout::new().with_p(0.3),
        parallelism: Parallelism::Serial,
        ..Setting::new(backends()[0], rows(shape.0, shape.1))
    }
}

/// Every operation with every set of its options, gamma and beta among them.
fn every_call(mut check: impl FnMut(&Operation, &[&'static str])) {
    for operation in OPERATIONS {
        for options in operation.option_sets() {
            let options: Vec<&str> = options.into_iter().chain(AFFINE).collect();
            check(operation, &options);
        }
    }
}

/// What a call writes.
fn run(
    operation: &Operation,
    values: &Values,
    place: Place,
    options: &[&'static str],
    setting: &Setting,
) -> Vec<u64> {
    let what = format!("{}, {options:?}, {place:?}, {setting:?}", operation.name);
    let mut memory = Memory::new(operation, values, place, options);
    assert_eq!(memory.call(operation, setting), Ok(()), "{what}");
    memory.written(&what)
}

/// Law: out of place, in place, into new memory, at a pitch: the same bits, with any options.
#[test]
fn every_place_has_the_same_bits() {
    for shape in shapes() {
        for (scale, backend) in with_backends([1.0, 1e34]) {
            let values = values(shape, scale);
            let setting = Setting { backend, ..setting(shape) };
            every_call(|operation, options| {
                let expected = run(operation, &values, Place::New, options, &setting);
                for &place in &operation.places()[1..] {
                    let got = run(operation, &values, place, options, &setting);
                    let name = operation.name;
                    assert!(got == expected, "{name}, {options:?}, {place:?}, {setting:?}");
                }
            });
        }
    }
}

/// Law: any number of tasks on any number of threads, and any stores: the same bits.
#[test]
fn threads_and_stores_change_no_bit() {
    // Large enough for several tasks.
    let large = [(70_000, 2), (2000, 80), (130, 1100), (7, 20_000), (1, 150_000)];
    for shape in large.into_iter().take(if short() { 1 } else { large.len() }) {
        let values = values(shape, 1.0);
        let serial = setting(shape);
        for threads in [3, 2, 7].into_iter().take(if short() { 1 } else { 3 }) {
            let pool =
                rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
            let parallelism = Parallelism::Auto;
            let setting = Setting { parallelism, stores: Stores::NonTemporal, ..serial };
            for operation in OPERATIONS {
                let sets = operation.option_sets();
                for options in [&sets[0], &sets[sets.len() - 1]] {
                    let options: Vec<&str> = options.iter().copied().chain(AFFINE).collect();
                    let expected = run(operation, &values, Place::New, &options, &serial);
                    let got =
                        pool.install(|| run(operation, &values, Place::New, &options, &setting));
                    let name = operation.name;
                    assert!(got == expected, "{name}, {options:?}, {shape:?}, {threads} threads");
                }
            }
        }
    }
}

/// Law: all backends that fuse multiply-adds have the same bits.
#[test]
fn fused_backends_have_the_same_bits() {
    let backends = fused_backends();
    let Some((&first, others)) = backends.split_first() else {
        return skipped("fused backends", "this CPU and build have none");
    };
    for shape in shapes() {
        let values = values(shape, 1.0);
        every_call(|operation, options| {
            let setting = Setting { backend: first, ..setting(shape) };
            let expected = run(operation, &values, Place::New, options, &setting);
            for &backend in others {
                let got =
                    run(operation, &values, Place::New, options, &Setting { backend, ..setting });
                assert!(got == expected, "{}, {options:?}, {backend}, {shape:?}", operation.name);
            }
        });
    }
}
