//! A transport between threads of one process, for tests.

use std::sync::{Arc, Barrier, Mutex};

use super::transport::Transport;

/// What the ranks share: a message of each.
pub(crate) struct Board {
    slots: Vec<Mutex<Vec<u8>>>,
    barrier: Barrier,
}

/// One thread's end.
pub(crate) struct Threads {
    rank: usize,
    board: Arc<Board>,
}

impl Threads {
    /// The ends of a group.
    pub fn group(size: usize) -> Vec<Self> {
        let slots = (0..size).map(|_| Mutex::default()).collect();
        let board = Arc::new(Board { slots, barrier: Barrier::new(size) });
        (0..size).map(|rank| Self { rank, board: board.clone() }).collect()
    }

    /// Shows a message to all, and collects what `read` takes of each rank's.
    fn exchange(&self, own: &[u8], mut read: impl FnMut(usize, &[u8])) {
        *self.board.slots[self.rank].lock().unwrap() = own.to_vec();
        self.board.barrier.wait();
        for (rank, slot) in self.board.slots.iter().enumerate() {
            read(rank, &slot.lock().unwrap());
        }
        self.board.barrier.wait();
    }
}

impl Transport for Threads {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.board.slots.len()
    }

    fn local_rank(&self) -> usize {
        self.rank
    }

    fn all_to_all(&self, send: &[u8], send_bytes: &[usize], receive_bytes: &[usize], received: &mut [u8]) {
        assert_eq!(send.len(), send_bytes.iter().sum::<usize>());
        let begin: usize = send_bytes[..self.rank].iter().sum();
        let mut at = 0;
        self.exchange(send, |rank, message| {
            let n = receive_bytes[rank];
            received[at..at + n].copy_from_slice(&message[begin..begin + n]);
            at += n;
        });
        assert_eq!(at, received.len());
    }

    fn all_gather(&self, own: &[u8], bytes: &[usize], gathered: &mut [u8]) {
        let mut at = 0;
        self.exchange(own, |rank, message| {
            gathered[at..at + bytes[rank]].copy_from_slice(message);
            at += bytes[rank];
        });
        assert_eq!(at, gathered.len());
    }

    fn broadcast(&self, bytes: &mut [u8]) {
        let own = bytes.to_vec();
        self.exchange(&own, |rank, message| {
            if rank == 0 {
                bytes.copy_from_slice(message);
            }
        });
    }
}

/// The results of `run` on each rank of a group of threads.
pub(crate) fn on_ranks<T: Send + 'static>(size: usize, run: impl Fn(Threads) -> T + Send + Clone + 'static) -> Vec<T> {
    let threads = Threads::group(size).into_iter().map(|transport| {
        let run = run.clone();
        std::thread::spawn(move || run(transport))
    });
    let threads: Vec<_> = threads.collect();
    threads.into_iter().map(|thread| thread.join().unwrap()).collect()
}
