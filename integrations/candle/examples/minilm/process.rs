//! Runs of this program in processes of their own: candle reads the number of threads once, and a peak of memory is of a process.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use candle_core::{Result, bail};

/// Runs this program with so many threads, and hands on the words of each line that it prints.
pub fn run(threads: usize, args: &[&str], mut line: impl FnMut(&[&str])) -> Result<()> {
    let mut child = Command::new(std::env::current_exe()?)
        .args(args)
        .env("RAYON_NUM_THREADS", threads.to_string())
        .stdout(Stdio::piped())
        .spawn()?;
    let output = child.stdout.take().expect("the output is a pipe");
    for of in BufReader::new(output).lines() {
        line(&of?.split_whitespace().collect::<Vec<_>>());
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("{args:?} with {threads} threads: {status}");
    }
    Ok(())
}

/// A word of a line as a number.
pub fn number(words: &[&str], at: usize) -> f64 {
    words.get(at).and_then(|word| word.parse().ok()).unwrap_or(f64::NAN)
}

/// The most memory that this process has had, in MiB, where the system says so.
pub fn peak_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    kib.map_or(f64::NAN, |line| number(&line.split_whitespace().collect::<Vec<_>>(), 0) / 1024.0)
}
