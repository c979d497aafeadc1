//! Submits plans in pieces, so that other users of the device, such as the window that draws, get a turn in between.

use std::collections::{HashMap, VecDeque};

use web_time::Instant;

use super::device::Gpu;
use super::plan::Schedule;
use super::workspace::Workspace;
use crate::Result;

/// Assumed seconds per dispatch before a plan was timed: start with several pieces instead of one long one.
const UNKNOWN_SECS: f64 = 1e-3;
/// Largest factor by which one timing may change an estimate: something else may have used the device meanwhile.
const MOST_CHANGE: f64 = 4.0;

/// Limits how much work is in flight on the device, using estimates of how long each dispatch takes.
#[derive(Debug)]
pub struct Throttle {
    budget_secs: f64,
    /// By plan, an estimate for each recorded dispatch.
    secs: HashMap<String, Vec<f64>>,
    pending: VecDeque<Piece>,
    last_done: Option<Instant>,
}

/// A submitted part of a plan.
#[derive(Debug)]
struct Piece {
    plan: String,
    /// Indices of its dispatches in the plan.
    dispatches: Vec<usize>,
    estimate_secs: f64,
    submitted: Instant,
    done: flume::Receiver<Instant>,
}

impl Throttle {
    /// At most `budget_secs` of estimated work in flight; a single dispatch is never split.
    pub fn new(budget_secs: f64) -> Self {
        Self { budget_secs, secs: HashMap::new(), pending: VecDeque::new(), last_done: None }
    }

    /// Submits the due dispatches of `plans` in order, waiting whenever the budget is used up; returns while the last
    /// pieces are still in flight.
    ///
    /// The results are bit-identical to those of [`Workspace::run_scheduled`]: only the submissions differ.
    /// Errors: the device fails.
    pub async fn run(&mut self, gpu: &Gpu, workspace: &Workspace, plans: &[&str], due: Schedule) -> Result<()> {
        for &plan in plans {
            self.secs.entry(plan.to_owned()).or_insert_with(|| vec![UNKNOWN_SECS; workspace.n_recorded(plan)]);
            let order = workspace.order(plan, due);
            let mut rest = &order[..];
            while !rest.is_empty() {
                let secs = &self.secs[plan];
                // Two halves, so that the device stays busy while the first one's completion is reported.
                let n = piece(rest.iter().map(|&dispatch| secs[dispatch]), self.budget_secs / 2.0);
                let (dispatches, after) = rest.split_at(n);
                rest = after;
                let estimate_secs = dispatches.iter().map(|&dispatch| secs[dispatch]).sum();
                self.make_room(gpu, estimate_secs).await?;
                workspace.submit(gpu, plan, dispatches);
                let (sender, done) = flume::bounded(1);
                gpu.queue.on_submitted_work_done(move || {
                    let _ = sender.send(Instant::now()); // a failed send means that nobody is waiting any more
                });
                let (plan, dispatches, submitted) = (plan.to_owned(), dispatches.to_vec(), Instant::now());
                self.pending.push_back(Piece { plan, dispatches, estimate_secs, submitted, done });
            }
        }
        Ok(())
    }

    async fn make_room(&mut self, gpu: &Gpu, estimate_secs: f64) -> Result<()> {
        while let Some(oldest) = self.pending.front() {
            if let Ok(done) = oldest.done.try_recv() {
                self.learn(done);
                continue;
            }
            let waiting: f64 = self.pending.iter().map(|piece| piece.estimate_secs).sum();
            if waiting + estimate_secs <= self.budget_secs {
                break;
            }
            let done = wait(gpu, &oldest.done).await?;
            self.learn(done);
        }
        Ok(())
    }

    /// Removes the oldest piece and spreads its time over its dispatches in proportion to their estimates.
    fn learn(&mut self, done: Instant) {
        let mut piece = self.pending.pop_front().expect("a piece that was waited for");
        // It began when it was submitted, or when the previous one ended.
        let began = self.last_done.map_or(piece.submitted, |last| last.max(piece.submitted));
        self.last_done = Some(done);
        let took = done.saturating_duration_since(began).as_secs_f64();
        let secs = self.secs.get_mut(&piece.plan).expect("an estimate for every plan that ran");
        let change = (took / piece.estimate_secs).clamp(MOST_CHANGE.recip(), MOST_CHANGE);
        // Correct a repeated dispatch only once.
        piece.dispatches.sort_unstable();
        piece.dispatches.dedup();
        for dispatch in piece.dispatches {
            secs[dispatch] = (secs[dispatch] * change).max(1e-7);
        }
    }
}

/// How many of the first dispatches fit into `most_secs` together; at least one.
fn piece(secs: impl Iterator<Item = f64>, most_secs: f64) -> usize {
    let sums = secs.scan(0.0, |sum, secs| {
        *sum += secs;
        Some(*sum)
    });
    sums.take_while(|sum| *sum <= most_secs).count().max(1)
}

/// Waits for a piece. Outside a browser the device must be polled; its lock is free between polls, so the drawing
/// thread never waits for this one.
async fn wait(gpu: &Gpu, done: &flume::Receiver<Instant>) -> Result<Instant> {
    #[cfg(not(target_arch = "wasm32"))]
    loop {
        gpu.poll();
        gpu.check()?;
        if let Ok(done) = done.try_recv() {
            return Ok(done);
        }
        std::thread::sleep(std::time::Duration::from_micros(200));
    }
    #[cfg(target_arch = "wasm32")]
    {
        let told = done.recv_async().await;
        gpu.check()?;
        told.map_err(|_| crate::Error::Gpu(format!("{}: the end of a submission was never reported", gpu.adapter_name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_is_as_long_as_it_may_be_and_never_empty() {
        let n = |secs: &[f64]| piece(secs.iter().copied(), 2.0);
        assert_eq!([n(&[1.0, 1.0, 1.0]), n(&[1.0, 5.0]), n(&[9.0, 1.0]), n(&[0.1; 7])], [2, 1, 1, 7]);
    }
}
