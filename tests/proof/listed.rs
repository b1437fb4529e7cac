//! The list of `operations.rs` has every public method that takes a slice, by a search of the sources.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use evenkeel::{Backend, Error, Parallelism, Stores};

use crate::common::{Random, rows};
use crate::operations::{Buffers, Call, Values};

/// What says that an argument is a slice, or holds one.
const SLICES: [&str; 5] = ["[", "Mask<", "MaskMut<", "ValidRows<", "RunningStatistics<"];

/// The type of a receiver in the list.
fn type_of(receiver: &str) -> &str {
    match receiver {
        "layer_norm" => "LayerNorm",
        "rms_norm" => "RmsNorm",
        "normalize" => "NormalizeScaleShift",
        "batch_norm" => "BatchNorm",
        "group_norm" => "GroupNorm",
        "instance_norm" => "InstanceNorm",
        "dropout" => "Dropout",
        "regularizer" => "Regularizer",
        "row_moments" => "RowMoments",
        "column_moments" => "ColumnMoments",
        "moments" => "Moments",
        "normalizer" => "Normalizer",
        "standard" | "new_standard" => "StandardScaler",
        "min_max" | "new_min_max" | "clipping" => "MinMaxScaler",
        name => name,
    }
}

/// `Type::method` of the text of a call: `receiver.method(...)`, `receiver.setter(...).method(...)`,
/// `Type::method(...)`, or a block that begins with one.
fn name_of(text: &str) -> String {
    let (mut outside, mut depth) = (String::new(), 0);
    for c in text.trim_start_matches('{').chars().take_while(|&c| c != ';') {
        depth += i32::from(c == '(');
        if depth == 0 && !c.is_whitespace() {
            outside.push(c);
        }
        depth -= i32::from(c == ')');
    }
    let mut names = outside.split(['.', ':']).filter(|name| !name.is_empty());
    let receiver = names.next().expect("a receiver");
    format!("{}::{}", type_of(receiver), names.next_back().expect("a method"))
}

/// `Type::method` of every call in the list.
fn listed() -> BTreeSet<String> {
    let (backend, parallelism, stores) = (Backend::detect(), Parallelism::Serial, Stores::Auto);
    let (rows, affine) = (rows(1, 1), (true, true));
    let call = Call { backend, parallelism, stores, rows, eps: 0.0, affine, p: 0.5, offset: 0 };
    let mut names = BTreeSet::new();
    let mut note = |text, _: &mut dyn FnMut() -> Result<(), Error>| {
        names.insert(name_of(text));
    };
    let values = Values::new(rows, vec![1.0], 1.0, &mut Random::new(1));
    call.every_method(&values.view(), &mut Buffers::new(rows).view(), &mut note);
    names
}

/// Every source of the library.
fn sources() -> Vec<String> {
    let mut paths = vec![PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))];
    let mut sources = Vec::new();
    while let Some(path) = paths.pop() {
        if path.is_dir() {
            let inside = fs::read_dir(path).expect("a directory of sources");
            paths.extend(inside.map(|entry| entry.expect("a source").path()));
        } else {
            sources.push(fs::read_to_string(path).expect("a source"));
        }
    }
    sources
}

/// The identifier that a text begins with.
fn word(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_');
    &text[..end.unwrap_or(text.len())]
}

/// What the lines of sources begin with, as rustfmt leaves them. Every name is with what it is in: the type of an `impl`,
/// or a macro.
#[derive(Default)]
struct Found {
    /// Public methods with an argument that is a slice.
    methods: Vec<(String, String)>,
    /// Macros that are used.
    uses: Vec<(String, String)>,
    /// Types that are re-exported.
    public: BTreeSet<String>,
}

impl Found {
    fn read(&mut self, source: &str) {
        let lines: Vec<&str> = source.lines().collect();
        let mut of = "";
        for (i, line) in lines.iter().enumerate() {
            if let Some(rest) = line.strip_prefix("impl") {
                // After the generics.
                of = word(rest.split_once(' ').map_or(rest, |(_, of)| of));
            } else if let Some(rest) = line.strip_prefix("macro_rules! ") {
                of = word(rest);
            } else if *line == "}" {
                of = "";
            } else if line.starts_with("pub use ") {
                let end = (i..lines.len()).find(|&end| lines[end].ends_with(';')).unwrap_or(i);
                let names = lines[i..=end]
                    .iter()
                    .flat_map(|line| line.split([' ', '{', '}', ',', ';', ':']));
                let types = names.filter(|name| name.starts_with(|c: char| c.is_uppercase()));
                self.public.extend(types.map(str::to_owned));
            }
            let line = line.trim_start();
            let name =
                ["pub fn ", "pub const fn "].iter().find_map(|start| line.strip_prefix(start));
            if let Some(name) = name {
                let end = (i..lines.len()).find(|&end| lines[end].contains('{')).unwrap_or(i);
                let signature = lines[i..=end].join(" ");
                let arguments = signature.split("->").next().unwrap_or_default();
                if SLICES.iter().any(|slice| arguments.contains(slice)) {
                    self.methods.push((of.to_owned(), word(name).to_owned()));
                }
            } else if let Some((name, _)) = line.split_once("!(") {
                let name = name.rsplit(':').next().unwrap_or_default();
                self.uses.push((of.to_owned(), name.to_owned()));
            }
        }
    }

    /// The methods of a type, those of the macros that it uses among them.
    fn methods_of(&self, class: &str) -> BTreeSet<String> {
        let (mut from, mut next) = (BTreeSet::new(), vec![class]);
        while let Some(of) = next.pop() {
            if from.insert(of) {
                let used = self.uses.iter().filter(|(by, _)| by == of);
                next.extend(used.map(|(_, name)| name.as_str()));
            }
        }
        let own = self.methods.iter().filter(|(of, _)| from.contains(of.as_str()));
        own.map(|(_, name)| format!("{class}::{name}")).collect()
    }
}

/// Otherwise the laws would be about the methods that somebody has thought of.
#[test]
fn every_public_method_that_takes_a_slice_is_listed() {
    let mut found = Found::default();
    sources().iter().for_each(|source| found.read(source));
    let public: BTreeSet<String> =
        found.public.iter().flat_map(|class| found.methods_of(class)).collect();
    let listed = listed();
    let left_out: Vec<_> = public.difference(&listed).collect();
    assert!(left_out.is_empty(), "operations.rs lacks {left_out:#?}");
    // The search has missed them, if there are any.
    let unknown: Vec<_> = listed.difference(&public).collect();
    assert!(unknown.is_empty(), "the sources lack {unknown:#?}");
}
