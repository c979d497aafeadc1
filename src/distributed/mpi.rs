//! The ranks that an MPI launcher started.

use ::mpi::Threading;
use ::mpi::datatype::{Partition, PartitionMut};
use ::mpi::environment::Universe;
use ::mpi::topology::SimpleCommunicator;
use ::mpi::traits::{Communicator, CommunicatorCollectives, Root};

use super::transport::Transport;
use crate::{Error, Result};

/// MPI_COMM_WORLD. Only the thread that joins may use it.
pub struct Mpi {
    world: SimpleCommunicator,
    local_rank: usize,
    /// Dropped last: it ends MPI.
    _universe: Universe,
}

impl Mpi {
    /// Joins the processes that `mpirun`, or another launcher, started together.
    ///
    /// Errors: MPI was joined before, or it allows no other thread than one.
    pub fn join() -> Result<Self> {
        let joined = ::mpi::initialize_with_threading(Threading::Funneled);
        let (universe, threading) = joined.ok_or_else(|| Error::Ranks("MPI is initialized already".into()))?;
        if threading < Threading::Funneled {
            return Err(Error::Ranks("this MPI library allows no process with several threads".into()));
        }
        let world = universe.world();
        let local_rank = world.split_shared(world.rank()).rank() as usize;
        Ok(Self { world, local_rank, _universe: universe })
    }
}

/// Counts and displacements as MPI takes them.
fn partition(bytes: &[usize]) -> (Vec<i32>, Vec<i32>) {
    let count = |bytes: usize| i32::try_from(bytes).expect("less than 2 GiB a message");
    let mut at = 0;
    let places = bytes.iter().map(|bytes| {
        at += bytes;
        count(at - bytes)
    });
    let places = places.collect();
    (bytes.iter().map(|bytes| count(*bytes)).collect(), places)
}

/// The same bytes at an address of their own. Rust places an empty slice at address 1, which to MPI means that the data
/// are in the receiving buffer (`MPI_IN_PLACE`).
fn addressed(bytes: &[u8]) -> &[u8] {
    static SOMEWHERE: [u8; 1] = [0];
    if bytes.is_empty() { &SOMEWHERE[..0] } else { bytes }
}

impl Transport for Mpi {
    fn rank(&self) -> usize {
        self.world.rank() as usize
    }

    fn size(&self) -> usize {
        self.world.size() as usize
    }

    fn local_rank(&self) -> usize {
        self.local_rank
    }

    fn all_to_all(&self, send: &[u8], send_bytes: &[usize], receive_bytes: &[usize], received: &mut [u8]) {
        let [(counts, places), (receive_counts, receive_places)] = [send_bytes, receive_bytes].map(partition);
        let from = Partition::new(addressed(send), counts, places);
        let mut nothing = [0];
        let received = if received.is_empty() { &mut nothing[..0] } else { received };
        let mut into = PartitionMut::new(received, receive_counts, receive_places);
        self.world.all_to_all_varcount_into(&from, &mut into);
    }

    fn all_gather(&self, own: &[u8], bytes: &[usize], gathered: &mut [u8]) {
        let (counts, places) = partition(bytes);
        let mut nothing = [0];
        let gathered = if gathered.is_empty() { &mut nothing[..0] } else { gathered };
        let mut into = PartitionMut::new(gathered, counts, places);
        self.world.all_gather_varcount_into(addressed(own), &mut into);
    }

    fn broadcast(&self, bytes: &mut [u8]) {
        self.world.process_at_rank(0).broadcast_into(bytes);
    }
}
