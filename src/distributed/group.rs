//! The ranks of a run, and the thread on which one of them talks to the others.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use web_time::Instant;

use super::sum::Summing;
use super::transport::Transport;
use crate::settings::Wire;
use crate::{Error, Result};

/// Most bytes of one broadcast: MPI counts in 32 bits.
const MOST_BYTES: usize = 1 << 28;

/// One rank's end of a group. Every rank must ask for the same things in the same order; they are done in that order on
/// a thread of their own.
///
/// When it is dropped without [`Group::leave`], the others are not told: the process is about to fail, and the launcher
/// ends the others.
pub struct Group {
    rank: usize,
    size: usize,
    local_rank: usize,
    jobs: flume::Sender<Job>,
    thread: Option<JoinHandle<()>>,
    traffic: Arc<Counters>,
}

enum Job {
    Sum { values: Vec<f32>, wire: Wire, done: flume::Sender<Vec<f32>> },
    Gather { bytes: Vec<u8>, done: flume::Sender<Vec<Vec<u8>>> },
    Broadcast { bytes: Vec<u8>, done: flume::Sender<Vec<u8>> },
    Leave,
}

#[derive(Default)]
struct Counters {
    nanos: AtomicU64,
    sent_bytes: AtomicU64,
}

/// What was exchanged so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Traffic {
    /// Seconds in which this rank exchanged something or waited for another rank to do so.
    pub secs: f64,
    /// Bytes that it sent in sums.
    pub sent_bytes: u64,
}

/// A result that other ranks contribute to.
pub struct Pending<T>(flume::Receiver<T>);

impl<T> Pending<T> {
    /// Waits for it.
    pub fn wait(self) -> Result<T> {
        self.0.recv().map_err(|_| gone())
    }

    /// The result, if it is there.
    pub fn try_take(&self) -> Result<Option<T>> {
        match self.0.try_recv() {
            Ok(result) => Ok(Some(result)),
            Err(flume::TryRecvError::Empty) => Ok(None),
            Err(flume::TryRecvError::Disconnected) => Err(gone()),
        }
    }
}

fn gone() -> Error {
    Error::Ranks("the thread that talks to the other ranks has ended".into())
}

impl Group {
    /// Joins a group: `join` makes this process's end on the thread that will use it.
    ///
    /// Errors: those of `join`.
    pub fn start<T: Transport + 'static>(join: impl FnOnce() -> Result<T> + Send + 'static) -> Result<Self> {
        let (jobs, queue) = flume::unbounded();
        let (ready, joined) = flume::bounded(1);
        let traffic = Arc::new(Counters::default());
        let counters = traffic.clone();
        let thread = std::thread::Builder::new().name("ranks".into()).spawn(move || match join() {
            Ok(transport) => {
                let place = [transport.rank(), transport.size(), transport.local_rank()];
                drop(ready.send(Ok(place)));
                work(transport, &queue, &counters);
            }
            Err(error) => drop(ready.send(Err(error))),
        });
        let thread = thread.map_err(|error| Error::Ranks(format!("no thread for the other ranks: {error}")))?;
        let [rank, size, local_rank] = joined.recv().map_err(|_| gone())??;
        Ok(Self { rank, size, local_rank, jobs, thread: Some(thread), traffic })
    }

    /// This process, from 0.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// How many processes there are.
    pub fn size(&self) -> usize {
        self.size
    }

    /// This process among those of its host, from 0.
    pub fn local_rank(&self) -> usize {
        self.local_rank
    }

    /// What this rank has exchanged so far.
    pub fn traffic(&self) -> Traffic {
        let secs = self.traffic.nanos.load(Ordering::Relaxed) as f64 * 1e-9;
        Traffic { secs, sent_bytes: self.traffic.sent_bytes.load(Ordering::Relaxed) }
    }

    /// The sum over all ranks, the same bits on each.
    pub fn sum(&self, values: Vec<f32>, wire: Wire) -> Pending<Vec<f32>> {
        self.ask(|done| Job::Sum { values, wire, done })
    }

    /// What each rank gave, in rank order.
    pub fn gather(&self, bytes: Vec<u8>) -> Pending<Vec<Vec<u8>>> {
        self.ask(|done| Job::Gather { bytes, done })
    }

    /// What rank 0 gave; the other ranks give as many bytes.
    pub fn broadcast(&self, bytes: Vec<u8>) -> Pending<Vec<u8>> {
        self.ask(|done| Job::Broadcast { bytes, done })
    }

    /// What rank 0 gave, of any length; the other ranks give nothing.
    pub fn from_rank_0(&self, bytes: Vec<u8>) -> Result<Vec<u8>> {
        let len = self.broadcast((bytes.len() as u64).to_le_bytes().to_vec()).wait()?;
        let len = u64::from_le_bytes(len.try_into().expect("eight bytes")) as usize;
        self.broadcast(if self.rank == 0 { bytes } else { vec![0; len] }).wait()
    }

    /// Waits until every rank is here.
    pub fn barrier(&self) -> Result<()> {
        self.gather(Vec::new()).wait().map(drop)
    }

    /// Leaves the group, when all ranks do.
    pub fn leave(mut self) {
        drop(self.jobs.send(Job::Leave));
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }

    fn ask<T>(&self, job: impl FnOnce(flume::Sender<T>) -> Job) -> Pending<T> {
        let (done, result) = flume::bounded(1);
        drop(self.jobs.send(job(done))); // if the thread has ended, the result never comes, and `Pending` says so
        Pending(result)
    }
}

/// Does what is asked for, in order. Nobody may have waited for a result.
fn work(transport: impl Transport, queue: &flume::Receiver<Job>, counters: &Counters) {
    let mut summing = Summing::default();
    while let Ok(job) = queue.recv() {
        let began = Instant::now();
        match job {
            Job::Sum { mut values, wire, done } => {
                let sent = summing.sum(&transport, &mut values, wire);
                counters.sent_bytes.fetch_add(sent as u64, Ordering::Relaxed);
                drop(done.send(values));
            }
            Job::Gather { bytes, done } => {
                let size = transport.size();
                let mut lengths = vec![0u64; size];
                let own = (bytes.len() as u64).to_ne_bytes();
                transport.all_gather(&own, &vec![size_of::<u64>(); size], bytemuck::cast_slice_mut(&mut lengths));
                let lengths: Vec<usize> = lengths.into_iter().map(|len| len as usize).collect();
                let mut gathered = vec![0; lengths.iter().sum()];
                transport.all_gather(&bytes, &lengths, &mut gathered);
                let mut rest = &gathered[..];
                let of_ranks = lengths.into_iter().map(|len| {
                    let (own, after) = rest.split_at(len);
                    rest = after;
                    own.to_vec()
                });
                drop(done.send(of_ranks.collect()));
            }
            Job::Broadcast { mut bytes, done } => {
                bytes.chunks_mut(MOST_BYTES).for_each(|part| transport.broadcast(part));
                drop(done.send(bytes));
            }
            Job::Leave => return,
        }
        counters.nanos.fetch_add(began.elapsed().as_nanos() as u64, Ordering::Relaxed);
    }
    // Not left, but dropped: leaving would wait for ranks that do not know.
    std::mem::forget(transport);
}

#[cfg(test)]
mod tests {
    use super::super::threads::Threads;
    use super::*;

    #[test]
    fn jobs_are_done_in_order_while_the_rank_goes_on() {
        let ranks = Threads::group(3).into_iter().map(|transport| {
            std::thread::spawn(move || {
                let group = Group::start(move || Ok(transport)).unwrap();
                let rank = group.rank();
                let sums: Vec<_> = (0..5).map(|at| group.sum(vec![at as f32, rank as f32, 1.0], Wire::F32)).collect();
                let names = group.gather(vec![b'a' + rank as u8; rank]);
                let text = group.from_rank_0(if rank == 0 { b"settings".to_vec() } else { Vec::new() }).unwrap();
                assert_eq!(text, b"settings");
                assert_eq!(names.wait().unwrap(), [&b""[..], b"b", b"cc"]);
                for (at, sum) in sums.into_iter().enumerate() {
                    assert_eq!(sum.wait().unwrap(), [3.0 * at as f32, 3.0, 3.0]);
                }
                let traffic = group.traffic();
                // Five sums, in each of which it sends a number to each of two others, and then its sum.
                assert_eq!(traffic.sent_bytes, 5 * (8 + 8));
                group.barrier().unwrap();
                group.leave();
            })
        });
        let ranks: Vec<_> = ranks.collect();
        ranks.into_iter().for_each(|rank| rank.join().unwrap());
    }

    #[test]
    fn a_group_that_cannot_be_joined_is_an_error() {
        let error = Group::start(|| Err::<Threads, _>(Error::Ranks("no network".into()))).err().unwrap();
        assert_eq!(error.to_string(), "no network");
    }
}
