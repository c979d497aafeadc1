//! The processes of one run, each with its own adapter: sums that are the same bits on all of them, and who takes which
//! part of a batch.
//!
//! A [`Transport`] moves bytes between ranks; `Mpi` is one, with the feature `mpi`. [`Group`] does so on a thread of its
//! own, so that a rank goes on computing meanwhile. A browser has one rank, and not this module.

mod group;
mod messages;
#[cfg(feature = "mpi")]
mod mpi;
mod outer;
mod shares;
mod sum;
#[cfg(test)]
mod threads;
mod transport;

pub use group::{Group, Pending, Traffic};
#[cfg(feature = "mpi")]
pub use mpi::Mpi;
pub use outer::OuterStep;
pub use shares::shares;
#[cfg(test)]
pub(crate) use threads::on_ranks;
pub use transport::Transport;
