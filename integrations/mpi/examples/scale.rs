//! How long the parts of a step take, by the number of channels.
//!
//! ```sh
//! mpirun -n 4 target/release/examples/scale
//! ```

use std::time::Instant;

use evenkeel::{BatchNorm, ColumnMoments, Moments, Rows};
use evenkeel_mpi::{Affine, SyncBatchNorm};
use mpi::collective::SystemOperation;
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator, CommunicatorCollectives};

const ROWS: usize = 64;
const TIMES: usize = 300;

fn main() {
    let universe = mpi::initialize().expect("MPI has not been initialised before");
    let world = universe.world();
    let ranks = world.size() as usize;
    if world.rank() == 0 {
        println!(
            "{ranks} ranks, {ROWS} rows a rank, microseconds (median of {TIMES}, slowest rank)"
        );
        println!("channels  bytes/rank  header  allgather  allreduce   merge    step  without MPI");
    }
    for channels in [64, 256, 1024, 4096] {
        let header = [1_u64; 6];
        let mut headers = vec![0_u64; 6 * ranks];
        let of_header = median(&world, || world.all_gather_into(&header[..], &mut headers[..]));
        let own = vec![1_u64; 2 * channels + 1];
        let mut all = vec![0_u64; own.len() * ranks];
        let of_gather = median(&world, || world.all_gather_into(&own[..], &mut all[..]));
        // What a tree inside MPI takes for as many numbers: it adds, which is not yet a merge.
        let (sums, mut total) = (vec![1.0_f64; own.len()], vec![0.0; own.len()]);
        let sum = SystemOperation::sum();
        let of_reduce = median(&world, || world.all_reduce_into(&sums[..], &mut total[..], &sum));
        let parts = vec![Moments { count: 64, mean: 1.0, ..Moments::new() }; channels * ranks];
        let mut whole = vec![Moments::new(); channels];
        let of_merge = median(&world, || {
            ColumnMoments::new().merge(&parts, &mut whole).expect("right lengths");
        });
        let (x, mut y) = (vec![1.5_f32; ROWS * channels], vec![0.0; ROWS * channels]);
        let rows = Rows::new(ROWS, channels).expect("a small shape");
        let norm = SyncBatchNorm::new(&world, BatchNorm::new());
        let of_step = median(&world, || {
            norm.forward(&x, &mut y, rows, Affine::default(), None).expect("equal calls");
        });
        let alone = BatchNorm::new();
        let without = median(&world, || {
            let io = evenkeel::InOut::new(&x, &mut y);
            alone.forward_training(io, rows, evenkeel::TrainArgs::new()).expect("right lengths");
        });
        if world.rank() == 0 {
            let bytes = 8 * own.len() + 48;
            println!(
                "{channels:8}  {bytes:10}  {of_header:6.1}  {of_gather:9.1}  {of_reduce:9.1}  {of_merge:6.1}  {of_step:6.1}  {without:11.1}"
            );
        }
    }
}

/// The median of many calls, in microseconds, of the rank where it is greatest.
fn median(world: &SimpleCommunicator, mut call: impl FnMut()) -> f64 {
    let mut times: Vec<f64> = (0..TIMES)
        .map(|_| {
            world.barrier();
            let start = Instant::now();
            call();
            start.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    times.sort_by(f64::total_cmp);
    let mut greatest = 0.0;
    world.all_reduce_into(&times[TIMES / 2], &mut greatest, SystemOperation::max());
    greatest
}
