//! Standardises a data set that lies in parts on several ranks: every rank has a folder of CSV files, reads them in batches, and
//! writes them standardised by the mean and the deviation of all files of all ranks.
//!
//! ```sh
//! mpirun -n 3 target/release/examples/standardise /tmp/weather
//! ```
//!
//! The folders are `rank-0`, `rank-1` and so on. Where one is missing, it is made, with the measurements of a weather station: the
//! more, the higher the rank. The fitted scaler is saved once, in `scaler.bin`, and every rank reads it from there to transform.

use std::error::Error;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, BufWriter, Write, stderr};
use std::path::{Path, PathBuf};
use std::{env, process};

use evenkeel::preprocess::StandardScaler;
use evenkeel::{InOut, Rows};
use evenkeel_mpi::scalers;
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator, CommunicatorCollectives};

const COLUMNS: [&str; 4] = ["temperature", "pressure", "humidity", "wind"];
const BATCH: usize = 1024;
type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() {
    let universe = mpi::initialize().expect("MPI has not been initialised before");
    let world = universe.world();
    if let Err(error) = run(&world) {
        eprintln!("rank {}: {error}", world.rank());
        // The others may be waiting for this rank.
        world.abort(1);
    }
}

fn run(world: &SimpleCommunicator) -> Result<()> {
    let Some(folder) = env::args_os().nth(1) else {
        eprintln!("usage: mpirun -n 3 standardise FOLDER");
        process::exit(2);
    };
    let folder = PathBuf::from(folder);
    let own = folder.join(format!("rank-{}", world.rank()));
    if !own.exists() {
        generate(&own, world.rank() as u64)?;
    }
    let mut files: Vec<PathBuf> = fs::read_dir(&own)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<std::io::Result<_>>()?;
    files.sort();

    // Learn: each rank its own files, then all from each other.
    let mut scaler = StandardScaler::new(COLUMNS.len())?;
    let mut bar = Bar::new(world, "fit", files.len());
    for file in &files {
        each_batch(file, |x, rows| Ok(scaler.partial_fit(x, rows)?))?;
        bar.step();
    }
    let scaler = scalers::merge(world, &scaler)?;

    // Save once; every rank reads what was saved, and finds its own scaler.
    let saved = folder.join("scaler.bin");
    if world.rank() == 0 {
        fs::write(&saved, scaler.to_bytes()?)?;
    }
    world.barrier();
    let bytes = fs::read(&saved)?;
    if bytes != scaler.to_bytes()? {
        return Err("the saved scaler is another than this rank's".into());
    }
    let scaler = StandardScaler::from_bytes(&bytes)?;

    let out = folder.join("standardised").join(format!("rank-{}", world.rank()));
    fs::create_dir_all(&out)?;
    let mut bar = Bar::new(world, "transform", files.len());
    for file in &files {
        let name = file.file_name().ok_or("a file has a name")?;
        let mut to = BufWriter::new(File::create(out.join(name))?);
        writeln!(to, "{}", COLUMNS.join(","))?;
        each_batch(file, |x, rows| {
            scaler.transform(InOut::in_place(x), rows)?;
            for row in x.chunks(COLUMNS.len()) {
                let fields =
                    row.iter().map(|x| if x.is_nan() { String::new() } else { x.to_string() });
                writeln!(to, "{}", fields.collect::<Vec<_>>().join(","))?;
            }
            Ok(())
        })?;
        to.flush()?;
        bar.step();
    }
    if world.rank() == 0 {
        println!("{:12} {:>9} {:>12} {:>12}", "column", "values", "mean", "deviation");
        for (c, name) in COLUMNS.iter().enumerate() {
            let (count, mean, scale) =
                (scaler.moments()[c].count, scaler.mean()[c], scaler.scale()[c]);
            println!("{name:12} {count:>9} {mean:>12.4} {scale:>12.4}");
        }
        println!("saved in {}", saved.display());
    }
    Ok(())
}

/// Calls a function with the rows of a file, at most [`BATCH`] at a time. An empty field is NaN, which the scaler ignores.
fn each_batch(file: &Path, mut call: impl FnMut(&mut [f32], Rows) -> Result<()>) -> Result<()> {
    let mut lines = BufReader::new(File::open(file)?).lines();
    let _header = lines.next();
    let mut x: Vec<f32> = Vec::with_capacity(BATCH * COLUMNS.len());
    loop {
        x.clear();
        for line in lines.by_ref().take(BATCH) {
            let line = line?;
            let before = x.len();
            for field in line.split(',') {
                x.push(if field.is_empty() { f32::NAN } else { field.parse()? });
            }
            if x.len() - before != COLUMNS.len() {
                return Err(
                    format!("{}: a row of {} fields", file.display(), x.len() - before).into()
                );
            }
        }
        if x.is_empty() {
            return Ok(());
        }
        let rows = Rows::new(x.len() / COLUMNS.len(), COLUMNS.len())?;
        call(&mut x, rows)?;
    }
}

/// Writes files of 5000 rows: three for rank 0, one more for every rank after it.
fn generate(folder: &Path, rank: u64) -> Result<()> {
    fs::create_dir_all(folder)?;
    let mut state = rank;
    let mut uniform = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z >> 11) as f64 / (1_u64 << 53) as f64
    };
    for day in 0..3 + rank {
        let mut file = BufWriter::new(File::create(folder.join(format!("day-{day:02}.csv")))?);
        writeln!(file, "{}", COLUMNS.join(","))?;
        for _ in 0..5000 {
            let temperature = 8.0 + 4.0 * rank as f64 + 10.0 * (uniform() + uniform() - 1.0);
            let pressure = 101_325.0 + 900.0 * (uniform() + uniform() - 1.0);
            let humidity = 100.0 * uniform().sqrt();
            write!(file, "{temperature:.2},{pressure:.1},{humidity:.1},")?;
            // The anemometer fails now and then.
            if uniform() < 0.05 {
                writeln!(file)
            } else {
                writeln!(file, "{:.2}", -5.0 * uniform().ln())
            }?;
        }
        file.flush()?;
    }
    Ok(())
}

/// The progress of rank 0, on one line of stderr.
struct Bar {
    shown: bool,
    what: &'static str,
    done: usize,
    all: usize,
}

impl Bar {
    fn new(world: &SimpleCommunicator, what: &'static str, all: usize) -> Self {
        Self { shown: world.rank() == 0, what, done: 0, all }
    }

    fn step(&mut self) {
        const WIDTH: usize = 30;
        self.done += 1;
        if self.shown {
            let (done, all) = (self.done, self.all);
            let full = "#".repeat(WIDTH * done / all);
            let end = if done == all { "\n" } else { "" };
            // A bar that cannot be shown is none of the data's business.
            let _ =
                write!(stderr(), "\r{:9} [{full:WIDTH$}] {done} of {all} files{end}", self.what);
        }
    }
}
