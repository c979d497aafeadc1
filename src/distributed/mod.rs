//! The processes of one run, each with its own adapter: sums that are the same bits on all of them, and who takes which
//! part of a batch.
//!
//! A [`Transport`] moves bytes between ranks; `Mpi` is one, with the feature `mpi`. [`Group`] does so on a thread of its
//! own, so that a rank goes on computing meanwhile. A browser has one rank.

#[cfg(not(target_arch = "wasm32"))]
mod group;
#[cfg(not(target_arch = "wasm32"))]
mod messages;
#[cfg(feature = "mpi")]
mod mpi;
#[cfg(not(target_arch = "wasm32"))]
mod outer;
#[cfg(not(target_arch = "wasm32"))]
mod shares;
#[cfg(not(target_arch = "wasm32"))]
mod sum;
#[cfg(test)]
mod threads;
#[cfg(not(target_arch = "wasm32"))]
mod transport;
mod wire;

#[cfg(not(target_arch = "wasm32"))]
pub use group::{Group, Pending, Traffic};
#[cfg(feature = "mpi")]
pub use mpi::Mpi;
#[cfg(not(target_arch = "wasm32"))]
pub use outer::OuterStep;
#[cfg(not(target_arch = "wasm32"))]
pub use shares::shares;
#[cfg(test)]
pub(crate) use threads::on_ranks;
#[cfg(not(target_arch = "wasm32"))]
pub use transport::Transport;
pub use wire::Wire;
