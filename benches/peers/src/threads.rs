//! One thread for everyone.

use std::env;
use std::io;
use std::process::{Command, exit};

/// candle has a pool beside rayon's, whose size it takes from the environment alone.
const VARIABLES: [&str; 2] = ["CANDLE_NUM_THREADS", "RAYON_NUM_THREADS"];

/// Runs `work` on one thread, which no pool has others beside.
///
/// Only unsafe code may change the environment of its own process: unless it is right, this starts the
/// program again with a right one, and ends as that does.
pub fn single<T: Send>(work: impl FnOnce() -> T + Send) -> io::Result<T> {
    if VARIABLES.iter().any(|name| env::var_os(name).is_none_or(|threads| threads != "1")) {
        let mut again = Command::new(env::current_exe()?);
        let status =
            again.args(env::args_os().skip(1)).envs(VARIABLES.map(|it| (it, "1"))).status()?;
        exit(status.code().unwrap_or(1));
    }
    // On a worker of the pool, those who use rayon do not hand their work to another thread and wait.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().map_err(io::Error::other)?;
    Ok(pool.install(work))
}
