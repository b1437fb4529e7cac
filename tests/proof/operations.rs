//! Laws of every operation of the registry: what does not change a bit, and that the registry has every operation.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

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
        for threads in [2, 3, 7] {
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

/// Names are unique, and every option is in a set.
#[test]
fn the_registry_is_well_formed() {
    let names: BTreeSet<&str> = OPERATIONS.iter().map(|operation| operation.name).collect();
    assert_eq!(names.len(), OPERATIONS.len(), "two operations have one name");
    for operation in OPERATIONS {
        let sets = operation.option_sets();
        for option in operation.options() {
            assert!(sets.iter().any(|set| set.contains(&option)), "{}: {option}", operation.name);
        }
        assert!(sets.iter().all(|set| operation.allows(set)), "{}", operation.name);
    }
}

/// Methods that take slices and are no operations on buffers of a shape.
const NO_OPERATIONS: [&str; 8] = [
    // They build or merge scalers; `tests/proof/scalers.rs` has them.
    "StandardScaler::from_moments",
    "StandardScaler::from_bytes",
    "StandardScaler::merge",
    "MinMaxScaler::from_ranges",
    "MinMaxScaler::from_bytes",
    "MinMaxScaler::merge",
    // A slice of statistics is wrapped, not read.
    "Statistics::of_rows",
    "Statistics::of_columns",
];

/// A public method that takes buffers and is not in the registry fails this test.
#[test]
fn the_registry_has_every_operation() {
    let listed: BTreeSet<&str> = OPERATIONS.iter().map(Operation::method).collect();
    let mut found = BTreeSet::new();
    for file in sources() {
        let text = fs::read_to_string(&file).expect("a source file");
        found.extend(methods_with_buffers(&text));
    }
    let missing: Vec<&String> = found
        .iter()
        .filter(|name| !listed.contains(name.as_str()) && !NO_OPERATIONS.contains(&name.as_str()))
        .collect();
    assert!(missing.is_empty(), "not in the registry: {missing:?}");
    let gone: Vec<_> = listed.iter().filter(|name| !found.contains(**name)).collect();
    assert!(gone.is_empty(), "in the registry, and not in the sources: {gone:?}");
}

/// The files that have operations.
fn sources() -> Vec<PathBuf> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = vec![src.join("dropout.rs"), src.join("penalty.rs")];
    for folder in ["norm", "moments", "preprocess"] {
        let entries = fs::read_dir(src.join(folder)).expect("a folder of operations");
        files.extend(entries.map(|entry| entry.expect("an entry").path()));
    }
    files
}

/// `Type::method` of every public method whose arguments are slices, masks or an `InOut`.
fn methods_with_buffers(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut of = String::new();
    for (at, line) in text.lines().scan(0, |at, line| {
        let start = *at;
        *at += line.len() + 1;
        Some((start, line))
    }) {
        if let Some(head) = line.strip_prefix("impl") {
            let name = head.split('>').next_back().unwrap_or_default().trim();
            let name = if name.starts_with('{') || name.is_empty() { head.trim() } else { name };
            let end = name.find([' ', '<']).unwrap_or(name.len());
            name[..end].clone_into(&mut of);
        }
        let Some(rest) = line.strip_prefix("    pub fn ") else { continue };
        let end = rest.find(['(', '<']).expect("a name of a method");
        let signature: String = text[at..].chars().take_while(|&c| c != '{').collect();
        let arguments = signature.split("->").next().unwrap_or_default();
        if ["[", "InOut<", "MaskMut<"].iter().any(|kind| arguments.contains(kind)) {
            found.insert(format!("{of}::{}", &rest[..end]));
        }
    }
    found
}
