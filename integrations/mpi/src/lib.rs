//! BatchNorm and scalers whose data lie on the ranks of an MPI job, by the kernels of evenkeel.
//!
//! * [`SyncBatchNorm`] normalises a batch of which every rank has some rows, by the statistics of the whole batch, and has its gradients.
//! * [`scalers::fit`] and [`scalers::merge`] fit a scaler to the rows of all ranks.
//!
//! Every rank makes the moments (count, mean and sum of squared deviations) of its own rows, one allgather gives all of them to every
//! rank, and every rank merges them in rank order. So every rank has the same bits, and these depend on how rows are dealt to ranks
//! and on nothing else: not on MPI's algorithms, not on the network, not on who comes first.
//!
//! A header is gathered before the data. Where a rank cannot take part, or has another shape, type or setting, every rank returns an
//! [`Error`], and none is left waiting.
//!
//! Every function here is collective: all ranks of the communicator call it, also those without rows.
//!
//! ```
//! use evenkeel::{BatchNorm, Rows};
//! use evenkeel_mpi::{Affine, SyncBatchNorm};
//!
//! let universe = mpi::initialize().expect("MPI has not been initialised before");
//! let world = universe.world();
//! // This rank's rows; others have others, or more, or none.
//! let (x, rows, mut y) = ([1.0_f32, 3.0], Rows::new(2, 1)?, [0.0_f32; 2]);
//! let (mut running_mean, mut running_var) = ([0.0], [1.0]);
//! let norm = SyncBatchNorm::new(&world, BatchNorm::new());
//! let saved = norm.forward(&x, &mut y, rows, Affine::default(), Some((&mut running_mean, &mut running_var)))?;
//!
//! let (dy, mut dx) = ([1.0_f32, 0.0], [0.0_f32; 2]);
//! let gradients = norm.backward((&x, &dy), &mut dx, rows, Affine::default(), &saved)?;
//! # assert_eq!(gradients.dbeta.len(), 1);
//! # Ok::<(), evenkeel_mpi::Error>(())
//! ```

mod batch_norm;
mod error;
mod ranks;
pub mod scalers;

pub use batch_norm::{Affine, Gradients, Saved, SyncBatchNorm};
pub use error::Error;
