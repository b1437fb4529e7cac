//! The registry is complete: it has every operation, and every argument that an operation takes.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use evenkeel::{Error, Parallelism};

use crate::common::*;
use crate::registry::{ARGUMENTS, Argument, Buffer, Memory, OPERATIONS, Operation, Place};
use crate::registry::{Setting, Values};

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
    // They build scalers; `tests/proof/scalers.rs` has them.
    "StandardScaler::from_moments",
    "StandardScaler::from_bytes",
    "MinMaxScaler::from_ranges",
    "MinMaxScaler::from_bytes",
    // A slice is wrapped, not read.
    "Statistics::of_rows",
    "Statistics::of_columns",
    "GradientSums::new",
    // `tests/proof/variants.rs` has it.
    "to_vec",
];

/// Types whose methods take slices for a call.
const WRAPPERS: [&str; 6] =
    ["InOut", "NormArgs", "TrainArgs", "GradArgs", "MomentArgs", "DropoutArgs"];

/// A public method that takes buffers and is not in the registry fails this test.
#[test]
fn the_registry_has_every_operation() {
    let listed: BTreeSet<&str> = OPERATIONS.iter().map(Operation::method).collect();
    let found = methods_with_buffers();
    let is_operation = |name: &str| {
        let of = name.split("::").next().unwrap_or_default();
        !NO_OPERATIONS.contains(&name) && !WRAPPERS.contains(&of)
    };
    let missing: Vec<&String> =
        found.keys().filter(|name| !listed.contains(name.as_str()) && is_operation(name)).collect();
    assert!(missing.is_empty(), "not in the registry: {missing:?}");
    let gone: Vec<_> =
        listed.iter().chain(&NO_OPERATIONS).filter(|name| !found.contains_key(**name)).collect();
    assert!(gone.is_empty(), "not in the sources: {gone:?}");
}

/// Setters without a buffer of their own in the registry.
const OTHER_SETTERS: [(&str, &str); 2] = [
    // `tests/memory.rs` has sums in vectors.
    ("NormArgs", "sum_vec"),
    // The rows of dropout have masks as a way to call it.
    ("DropoutArgs", "given"),
];

/// Setters that take a mask by way of `DropoutArgs`.
const DROPOUT_SETTERS: [(&str, &str); 2] = [("NormArgs", "dropout"), ("GradArgs", "dropout")];

/// A setter that takes a buffer and belongs to no argument of the registry fails this test.
#[test]
fn the_registry_has_every_setter() {
    let found: BTreeSet<(String, String)> = methods_with_buffers()
        .keys()
        .filter_map(|name| name.split_once("::"))
        .filter(|(of, _)| of.ends_with("Args"))
        .chain(DROPOUT_SETTERS)
        .map(|(of, setter)| (of.to_owned(), setter.to_owned()))
        .collect();
    let arguments = ARGUMENTS
        .iter()
        .flat_map(|argument| argument.setters.iter().map(|setter| (argument.of, *setter)));
    let listed: BTreeSet<(String, String)> = arguments
        .chain(OTHER_SETTERS)
        .map(|(of, setter)| (of.to_owned(), setter.to_owned()))
        .collect();
    assert_eq!(found, listed, "setters of the sources, and those of the registry");
}

/// How the elements lie, as far as it decides which arguments there are. What else the name of a row says is a setting.
const LAYOUTS: [&str; 4] = ["channels first", "channels last", "planes", "columns"];

/// The method and the layout of a row.
fn family(operation: &Operation) -> (&'static str, &'static str) {
    let layout = operation.name.split(", ").find(|part| LAYOUTS.contains(part));
    (operation.method(), layout.unwrap_or_default())
}

/// Law: an argument that no row of a method and a layout has is an error there. A row that forgets an argument fails this test.
#[test]
fn the_registry_has_every_argument() {
    let methods = methods_with_buffers();
    let mut families: BTreeMap<_, Vec<&Operation>> = BTreeMap::new();
    for operation in OPERATIONS {
        families.entry(family(operation)).or_default().push(operation);
    }
    // As many rows as columns: no buffer is too short for another layout.
    let rows = rows(6, 6);
    let random = &mut Random::new(1);
    let values = Values::new(rows, random.normals(rows.elements()), 1.0, random);
    let setting = Setting { parallelism: Parallelism::Serial, ..Setting::new(backends()[0], rows) };
    let (mut probes, mut forgotten) = (0, Vec::new());
    for ((method, layout), operations) in families {
        let parameters = &methods[method];
        let takes = |argument: &&Argument| parameters.contains(&format!("{}<", argument.of));
        for argument in ARGUMENTS.iter().filter(takes) {
            let has = |operation: &&Operation| operation.buffers.iter().any(argument.is);
            if operations.iter().any(has) {
                continue;
            }
            for operation in &operations {
                probes += 1;
                let result = call_with(operation, argument, &values, &setting);
                let is_unsupported = matches!(result, Err(Error::Unsupported { .. }));
                if !is_unsupported && !argument.is_ignored(&result) {
                    let setters = argument.setters;
                    forgotten
                        .push(format!("{}, {layout}: {setters:?}: {result:?}", operation.name));
                }
            }
        }
    }
    assert!(forgotten.is_empty(), "arguments that no row has: {forgotten:#?}");
    assert!(probes > 50, "{probes} arguments that methods do not take");
}

/// The row's call with an argument that it does not have.
fn call_with(
    operation: &Operation,
    argument: &Argument,
    values: &Values,
    setting: &Setting,
) -> Result<(), Error> {
    let is_new = |buffer: &&Buffer| operation.buffers.iter().all(|of| of.name != buffer.name);
    let added: Vec<Buffer> = argument.probe.iter().filter(is_new).copied().collect();
    let options: Vec<&'static str> = argument.probe.iter().map(|buffer| buffer.option).collect();
    // Rows have static buffers. A leak that a static knows is none to AddressSanitizer.
    static BUFFERS: Mutex<Vec<&[Buffer]>> = Mutex::new(Vec::new());
    let buffers: &[Buffer] = [operation.buffers, &added].concat().leak();
    BUFFERS.lock().expect("no test panics here").push(buffers);
    let probed = Operation { buffers, ..*operation };
    let mut memory = Memory::new(&probed, values, Place::New, &options);
    let (io, mut bag) = memory.arguments(&probed);
    let result = (probed.run)(setting, io, &mut bag);
    assert!(bag.names().is_empty(), "{} leaves {:?} in the bag", operation.name, bag.names());
    result
}

/// `Type::method`, or a function, of all public ones whose arguments are slices, masks or an `InOut`, and its parameters.
fn methods_with_buffers() -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for file in sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")) {
        let text = fs::read_to_string(&file).expect("a source file");
        found.extend(methods_of_file(&text));
    }
    found
}

/// The files of Rust's API. C has its own tests; the reference is what tests compare with.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder of sources") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if path.is_dir() && name != "capi" && name != "reference" {
            files.extend(sources(&path));
        } else if name.ends_with(".rs") && name != "reference.rs" {
            files.push(path);
        }
    }
    files
}

fn methods_of_file(text: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut of = String::new();
    for (at, line) in text.lines().scan(0, |at, line| {
        let start = *at;
        *at += line.len() + 1;
        Some((start, line))
    }) {
        if let Some(head) = line.strip_prefix("impl") {
            implementor(head).clone_into(&mut of);
        }
        let (of, function) = match line.strip_prefix("    ") {
            Some(method) => (format!("{of}::"), method),
            None => (String::new(), line),
        };
        let function = function.replacen("pub const fn ", "pub fn ", 1);
        let Some(rest) = function.strip_prefix("pub fn ") else { continue };
        let end = rest.find(['(', '<']).expect("a name of a method");
        let signature: String = text[at..].chars().take_while(|&c| c != '{').collect();
        let parameters = signature.split("->").next().unwrap_or_default();
        let kinds = ["[", "InOut<", "MaskMut<", "ValidRows<", "Mask<", "Vec<"];
        if kinds.iter().any(|kind| parameters.contains(kind)) {
            found.insert(format!("{of}{}", &rest[..end]), parameters.to_owned());
        }
    }
    found
}

/// The type of an `impl`, whose line goes on so.
fn implementor(head: &str) -> &str {
    let mut open = 0_usize;
    let after_generics = head.find(|c| {
        open = match c {
            '<' => open + 1,
            '>' => open - 1,
            _ => open,
        };
        open == 0 && !matches!(c, '>' | ' ')
    });
    let name = &head[after_generics.unwrap_or_default()..];
    &name[..name.find([' ', '<']).unwrap_or(name.len())]
}
