//! The table and its notes, as Markdown.

use evenkeel::Backend;

use crate::peers::PEERS;
use crate::problem::Operation;

/// Its sections on fairness are the notes of the table: one text for both.
const README: &str = include_str!("../README.md");
const LOCK: &str = include_str!("../Cargo.lock");

pub fn print_head() {
    if cfg!(debug_assertions) {
        println!(
            "This build is not optimised: the outputs are compared, the times mean nothing.\n"
        );
    }
    println!(
        "Microseconds, the median of a run, on one thread; in brackets the multiple of evenkeel's. `-`: there is\n\
         no such operation. evenkeel runs on its {} backend; the build is for {}.\n",
        Backend::detect(),
        instructions(),
    );
    let peers = PEERS.map(|peer| match version(peer.name) {
        Some(version) if peer.name != "evenkeel" => format!("{} {version}", peer.name),
        _ => peer.name.to_owned(),
    });
    println!("| operation | shape | memcpy | {} |", peers.join(" | "));
    println!("|---|---|{}", "--:|".repeat(1 + PEERS.len()));
}

/// One row; a peer without a time has no such operation.
pub fn print_row(operation: Operation, shape: (usize, usize), memcpy: f64, peers: &[Option<f64>]) {
    let evenkeel = peers[0].expect("evenkeel has every operation");
    let cells = peers.iter().enumerate().map(|(i, time)| match time {
        None => "-".to_owned(),
        Some(time) if i == 0 => number(*time),
        Some(time) => format!("{} ({})", number(*time), number(time / evenkeel)),
    });
    println!(
        "| {} | {}x{} | {} | {} |",
        operation.name(),
        shape.0,
        shape.1,
        number(memcpy),
        cells.collect::<Vec<_>>().join(" | ")
    );
}

/// What is unfair, from the README.
pub fn print_notes() {
    let notes = README.split("\n## ").find(|section| section.starts_with("What is unfair"));
    println!("\n{}", notes.expect("the README has the section").trim_end());
}

/// Three digits.
fn number(x: f64) -> String {
    let decimals = if x < 9.995 {
        2
    } else if x < 99.95 {
        1
    } else {
        0
    };
    format!("{x:.decimals$}")
}

/// What everything but evenkeel, rten-vecmath and parts of burn-flex may use: they choose at run time.
fn instructions() -> &'static str {
    if cfg!(target_feature = "avx512f") {
        "AVX-512"
    } else if cfg!(all(target_feature = "avx2", target_feature = "fma")) {
        "AVX2 and FMA"
    } else if cfg!(target_arch = "x86_64") {
        "x86-64 (SSE2)"
    } else {
        std::env::consts::ARCH
    }
}

/// Of a package, in the lock file that this was built with.
fn version(package: &str) -> Option<&'static str> {
    let (_, after) = LOCK.split_once(&format!("name = \"{package}\"\nversion = \""))?;
    after.split('"').next()
}
