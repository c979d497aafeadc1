//! One rank's part of a run: its share of every batch, sums of gradients that overlap with the backward pass, and checks
//! that all ranks have the same weights.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use sha2::{Digest, Sha256};
use web_time::Instant;

use super::parts::Part;
use super::plan::Plan;
use super::recording::{Complete, Recorded};
use super::snapshot::Snapshot;
use crate::config::{DistributedConfig, RunConfig, Shares, Wire};
pub(super) use crate::distributed::Group;
use crate::distributed::{OuterStep, Pending, shares};
use crate::files::weights_sha256;
use crate::gpu::{Gpu, ReadbackRing, Recorder, Schedule, Tensor, Workspace};
use crate::llama::Llama;
use crate::{Error, Result};

/// Buckets in flight from the device at once.
const SLOTS: usize = 8;
/// Between two looks at what has arrived.
const PAUSE: Duration = Duration::from_micros(50);
/// Name of the outer step's momentum of a parameter, in a checkpoint.
const VELOCITY: &str = "outer_momentum.";

/// What a trainer knows of the other ranks.
pub(super) struct Ranks {
    group: Arc<Group>,
    config: DistributedConfig,
    /// The micro-batches that each rank takes.
    shares: Vec<Range<usize>>,
    /// Whether all ranks have the same adapter and driver, so that the same update gives the same bits.
    alike: bool,
    layout: Layout,
    staging: ReadbackRing,
    /// Whether this rank wants to stop, and whether one of them did in the last step.
    wants_stop: bool,
    stops: bool,
    outer: Option<OuterStep>,
    /// Seconds in which this rank waited for sums with nothing else to do.
    exposed_secs: f64,
}

/// What a rank exchanged with others, and how long that took.
#[derive(Clone, Debug, Serialize)]
pub struct Exchanged {
    /// How many ranks there are.
    pub ranks: usize,
    /// How many micro-batches of a step each rank takes.
    pub micro_batches: Vec<usize>,
    /// Seconds in which this rank exchanged something, or waited for another rank to do so, mostly while its device was
    /// computing.
    pub secs: f64,
    /// Seconds of these in which its device had nothing to do.
    pub exposed_secs: f64,
    /// Bytes that it sent in sums.
    pub sent_bytes: u64,
}

/// What travels between ranks in a step.
pub(super) struct Layout {
    /// The step's losses.
    losses: Vec<Tensor>,
    /// Gradients in the order in which they become complete.
    buckets: Vec<Bucket>,
    /// In their order, to compare with the other ranks.
    gradients: String,
    slot_bytes: u64,
}

/// Gradients that travel together.
struct Bucket {
    pieces: Vec<Tensor>,
    /// Dispatches of the plans of the first and of another micro-batch after which all are complete.
    complete: [usize; 2],
}

impl Layout {
    /// Reserves its staging memory in the recorder.
    pub fn new(recorded: &mut Recorded, config: &DistributedConfig) -> Self {
        let per_bucket = if config.local_steps > 0 { 0 } else { config.bucket_kib * 1024 / size_of::<f32>() };
        let of_bucket = if per_bucket == 0 { &[][..] } else { &recorded.complete[..] };
        let buckets = buckets(&recorded.llama, of_bucket, per_bucket);
        let names = |complete: &Complete| {
            let parameter = &recorded.llama.parameters[complete.parameter];
            format!("{} {:?}", parameter.spec.name, parameter.weight.shape)
        };
        let gradients = recorded.complete.iter().map(names).collect::<Vec<_>>().join("\n");
        let losses = recorded.losses.clone();
        let of_buckets = buckets.iter().map(|bucket| bytes(&bucket.pieces));
        let slot_bytes = of_buckets.max().unwrap_or(0).max(bytes(&losses));
        reserve(&mut recorded.recorder, slot_bytes);
        Self { losses, buckets, gradients, slot_bytes }
    }
}

fn reserve(recorder: &mut Recorder, slot_bytes: u64) {
    recorder.reserve_staging(slot_bytes * SLOTS as u64);
}

fn bytes(pieces: &[Tensor]) -> u64 {
    pieces.iter().map(Tensor::bytes).sum()
}

/// The gradients as one sequence of numbers, in pieces of `per_bucket` of them.
fn buckets(llama: &Llama, complete: &[Complete], per_bucket: usize) -> Vec<Bucket> {
    let mut buckets: Vec<Bucket> = Vec::new();
    let mut room = 0;
    for &Complete { parameter, dispatches } in complete {
        let gradient = llama.parameters[parameter].gradient();
        let gradient = gradient.reshaped(&[gradient.len()]);
        let mut at = 0;
        while at < gradient.len() {
            if room == 0 {
                buckets.push(Bucket { pieces: Vec::new(), complete: [0; 2] });
                room = per_bucket;
            }
            let n = room.min(gradient.len() - at);
            let bucket = buckets.last_mut().expect("a bucket with room");
            bucket.pieces.push(gradient.rows(at..at + n));
            bucket.complete = dispatches;
            (at, room) = (at + n, room - n);
        }
    }
    buckets
}

impl Ranks {
    /// Meets the other ranks.
    ///
    /// Errors: they record another model.
    pub async fn new(
        group: Arc<Group>,
        gpu: &Gpu,
        workspace: &Workspace,
        config: &RunConfig,
        layout: Layout,
    ) -> Result<Self> {
        let staging = ReadbackRing::of_bytes(gpu, layout.slot_bytes, SLOTS).await?;
        compare(&group, "the gradients of the model, or the order in which they become complete", &layout.gradients)?;
        let adapters = group.gather(format!("{} {}", gpu.adapter_name, gpu.driver).into_bytes()).wait()?;
        let alike = adapters.iter().all(|adapter| *adapter == adapters[0]);
        let speed = match config.distributed.shares {
            Shares::Equal => 1.0,
            Shares::Measured => speed(gpu, workspace, &layout)?,
        };
        let speeds = group.gather(speed.to_le_bytes().to_vec()).wait()?;
        let speeds: Vec<f64> = speeds.iter().map(|speed| bytemuck::pod_read_unaligned(speed)).collect();
        let shares = shares(config.train.n_micro_batches(), &speeds);
        let outer = (config.distributed.local_steps > 0).then(|| {
            let DistributedConfig { outer_lr, outer_momentum, .. } = config.distributed;
            // All ranks begin with the weights of rank 0, which follow.
            let weights = config.model.parameters().iter().map(|spec| vec![0.0; spec.n_elements()]).collect();
            OuterStep::new(outer_lr, outer_momentum, weights)
        });
        Ok(Self {
            group,
            config: config.distributed.clone(),
            shares,
            alike,
            layout,
            staging,
            wants_stop: false,
            stops: false,
            outer,
            exposed_secs: 0.0,
        })
    }

    /// How many ranks there are.
    pub fn n_ranks(&self) -> usize {
        self.group.size()
    }

    /// This rank, from 0.
    pub fn rank(&self) -> usize {
        self.group.rank()
    }

    /// The micro-batches that this rank takes.
    pub fn share(&self) -> Range<usize> {
        self.shares[self.group.rank()].clone()
    }

    /// What was exchanged so far.
    pub fn exchanged(&self) -> Exchanged {
        Exchanged {
            ranks: self.group.size(),
            micro_batches: self.shares.iter().map(ExactSizeIterator::len).collect(),
            secs: self.group.traffic().secs,
            exposed_secs: self.exposed_secs,
            sent_bytes: self.group.traffic().sent_bytes,
        }
    }

    /// Passes on whether this rank wants to stop; returns whether all do so now.
    pub fn stops(&mut self, wanted: bool) -> bool {
        self.wants_stop |= wanted;
        self.stops
    }

    /// Submits a part of a step, and sums what the ranks computed before it is used.
    pub fn run(&mut self, gpu: &Gpu, workspace: &Workspace, part: &Part, due: Schedule) -> Result<()> {
        for (at, &plan) in part.plans.iter().enumerate() {
            if self.outer.is_none() {
                if part.plans.get(at + 1) == Some(&Plan::Update) {
                    self.submit_and_sum(gpu, workspace, plan, due)?;
                    continue;
                }
                if plan == Plan::Back {
                    self.sum_losses(gpu, workspace)?;
                }
            }
            workspace.run_scheduled(gpu, &[plan.name()], due);
        }
        Ok(())
    }

    /// Submits the last micro-batch in pieces, each followed by a copy of the gradients that it completes; sums them as
    /// they arrive, while the device goes on, and writes the sums back.
    fn submit_and_sum(&mut self, gpu: &Gpu, workspace: &Workspace, plan: Plan, due: Schedule) -> Result<()> {
        let which = usize::from(plan == Plan::NextMicroBatch);
        let order = workspace.order(plan.name(), due);
        let mut rest = &order[..];
        let mut sums = VecDeque::new();
        for index in 0..=self.layout.buckets.len() {
            // The loss is complete before the first gradient.
            let bucket = self.layout.buckets.get(index.saturating_sub(1));
            let complete = bucket.map_or(usize::MAX, |bucket| bucket.complete[which]);
            let (now, after) = rest.split_at(rest.iter().take_while(|dispatch| **dispatch < complete).count());
            rest = after;
            workspace.submit(gpu, plan.name(), now);
            while !self.staging.has_room() {
                self.advance(gpu, workspace, &mut sums)?;
            }
            self.staging.send_pieces(gpu, workspace, self.layout.pieces(index), index as u64);
            self.look(gpu, workspace, &mut sums)?;
        }
        workspace.submit(gpu, plan.name(), rest);
        self.finish(gpu, workspace, sums)
    }

    /// Sums the losses of a zeroth-order step.
    fn sum_losses(&mut self, gpu: &Gpu, workspace: &Workspace) -> Result<()> {
        self.staging.send_pieces(gpu, workspace, self.layout.pieces(0), 0);
        self.finish(gpu, workspace, VecDeque::new())
    }

    fn finish(&mut self, gpu: &Gpu, workspace: &Workspace, mut sums: Sums) -> Result<()> {
        while self.staging.pending() > 0 {
            self.advance(gpu, workspace, &mut sums)?;
        }
        let began = Instant::now();
        while !sums.is_empty() {
            self.advance(gpu, workspace, &mut sums)?;
        }
        self.exposed_secs += began.elapsed().as_secs_f64();
        Ok(())
    }

    /// Handles what has arrived, or pauses.
    fn advance(&mut self, gpu: &Gpu, workspace: &Workspace, sums: &mut Sums) -> Result<()> {
        if !self.look(gpu, workspace, sums)? {
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }

    /// Passes on what arrived from the device, and writes back what arrived from the ranks. Returns whether anything
    /// did.
    fn look(&mut self, gpu: &Gpu, workspace: &Workspace, sums: &mut Sums) -> Result<bool> {
        let mut arrived = false;
        while let Some((index, mut values)) = self.staging.try_take(gpu)? {
            let index = index as usize;
            let wire = if index == 0 { Wire::F32 } else { self.config.wire };
            if index == 0 {
                values.push(f32::from(u8::from(self.wants_stop)));
            }
            sums.push_back((index, self.group.sum(values, wire)));
            arrived = true;
        }
        while let Some((index, sum)) = sums.front() {
            let Some(values) = sum.try_take()? else { break };
            let mut rest = &values[..];
            for piece in self.layout.pieces(*index) {
                let (own, after) = rest.split_at(piece.len());
                workspace.write(gpu, piece, own);
                rest = after;
            }
            if let [n_stop] = rest {
                self.stops |= *n_stop > 0.0;
            }
            sums.pop_front();
            arrived = true;
        }
        Ok(arrived)
    }

    /// Whether the weights of the ranks are compared or averaged after `step`.
    pub fn is_due(&self, step: u64, last: u64) -> bool {
        let every = if self.outer.is_some() { self.config.local_steps } else { self.config.check_every };
        step == last || (every > 0 && step.is_multiple_of(every))
    }

    /// The outer step: from each rank's weights to those that all go on with. `None` without local steps.
    pub fn average(&mut self, weights: &[Vec<f32>]) -> Result<Option<Vec<Vec<f32>>>> {
        let Self { group, config, outer, wants_stop, stops, .. } = self;
        let Some(outer) = outer else { return Ok(None) };
        let stop = group.sum(vec![f32::from(u8::from(*wants_stop))], Wire::F32);
        let sums: Vec<Pending<Vec<f32>>> = weights
            .iter()
            .enumerate()
            .map(|(parameter, now)| group.sum(outer.difference(parameter, now), config.wire))
            .collect();
        let n = group.size() as f32;
        let mut averaged = Vec::with_capacity(weights.len());
        for (parameter, sum) in sums.into_iter().enumerate() {
            let mean: Vec<f32> = sum.wait()?.into_iter().map(|sum| sum / n).collect();
            averaged.push(outer.step(parameter, &mean).to_vec());
        }
        *stops |= stop.wait()?[0] > 0.0;
        Ok(Some(averaged))
    }

    /// Begins at these weights, with the momentum that a checkpoint has.
    pub fn restart(&mut self, weights: &[Vec<f32>], velocity: Vec<Vec<f32>>) {
        if let Some(outer) = &mut self.outer {
            let at_rest = || weights.iter().map(|weights| vec![0.0; weights.len()]).collect();
            outer.restart(weights.to_vec(), if velocity.is_empty() { at_rest() } else { velocity });
        }
    }

    /// Adds the outer step's momentum to a snapshot.
    pub fn add_velocity(&self, snapshot: &mut Snapshot, config: &RunConfig) {
        let Some(outer) = &self.outer else { return };
        for (spec, velocity) in config.model.parameters().into_iter().zip(outer.velocity()) {
            snapshot.states.push((format!("{VELOCITY}{}", spec.name), spec.shape, velocity.clone()));
        }
    }

    /// Compares the weights of the ranks where the same update gives the same bits; where it need not, returns whether
    /// all are to take those of rank 0.
    ///
    /// Errors: they differ.
    pub fn check_weights(&self, step: u64, weights: &[Vec<f32>]) -> Result<bool> {
        if !self.alike {
            return Ok(true);
        }
        compare_weights(&self.group, step, weights).map(|()| false)
    }

    /// Replaces every rank's snapshot by that of rank 0.
    pub fn share_snapshot(&self, snapshot: &mut Snapshot) -> Result<()> {
        let step = self.group.broadcast(snapshot.step.to_le_bytes().to_vec()).wait()?;
        snapshot.step = u64::from_le_bytes(step.try_into().expect("eight bytes"));
        let states = snapshot.states.iter_mut().map(|(_, _, values)| values);
        for values in snapshot.parameters.iter_mut().chain(states) {
            let shared = self.group.broadcast(bytemuck::cast_slice(values).to_vec()).wait()?;
            *values = bytemuck::pod_collect_to_vec(&shared);
        }
        Ok(())
    }

    /// The sum of what each rank has, in rank order.
    pub fn sum_f64(&self, own: f64) -> Result<f64> {
        let of_ranks = self.group.gather(own.to_le_bytes().to_vec()).wait()?;
        Ok(of_ranks.iter().map(|value| bytemuck::pod_read_unaligned::<f64>(value)).sum())
    }
}

/// Sums that other ranks contribute to, with the index of what they belong to: 0 for the losses, then the buckets.
type Sums = VecDeque<(usize, Pending<Vec<f32>>)>;

impl Layout {
    fn pieces(&self, index: usize) -> &[Tensor] {
        match index.checked_sub(1) {
            None => &self.losses,
            Some(bucket) => &self.buckets[bucket].pieces,
        }
    }
}

/// Whether a checkpoint's state is the momentum of outer steps, which only a run with local steps takes.
pub(super) fn is_velocity(state: &str) -> bool {
    state.starts_with(VELOCITY)
}

/// Errors: a rank has other weights.
fn compare_weights(group: &Group, step: u64, weights: &[Vec<f32>]) -> Result<()> {
    let digests = group.gather(weights_sha256(weights).as_bytes()[..16].to_vec()).wait()?;
    let Some(rank) = digests.iter().position(|digest| *digest != digests[0]) else { return Ok(()) };
    let [first, other] = [0, rank].map(|rank| String::from_utf8_lossy(&digests[rank]).into_owned());
    Err(Error::Ranks(format!(
        "step {step}: the weights of the ranks differ: their digest is {first} on rank 0 and {other} on rank {rank}. A \
         device, its memory or the network computes wrongly: resume from a checkpoint before this step, on other hosts"
    )))
}

/// The factor on a rank's loss and gradients beside the mean over a step's tokens: with local steps a rank takes the mean
/// over its own.
///
/// Errors: a run that cannot be shared by this many ranks.
pub(super) fn loss_factor(config: &RunConfig, group: Option<&Group>) -> Result<f64> {
    let Some(group) = group else { return Ok(1.0) };
    let (train, n) = (&config.train, group.size());
    if n == 1 {
        return Ok(1.0);
    }
    if train.fused_update {
        let message = format!(
            "updates before the gradients of {n} ranks can be summed: set it to false (`--set train.fused_update=false`)"
        );
        return Err(Error::config("train.fused_update", message));
    }
    let micro_batches = train.n_micro_batches();
    if micro_batches < n {
        let (batch, micro) = (train.batch_size, train.micro_batch_size);
        let message = format!(
            "{n} ranks share the micro-batches of a step, and {batch} sequences in micro-batches of {micro} are \
             {micro_batches}: set train.micro_batch_size to {} or less, or start fewer ranks",
            (batch / n).max(1)
        );
        return Err(Error::config("train.micro_batch_size", message));
    }
    if config.distributed.local_steps == 0 {
        return Ok(1.0);
    }
    if !micro_batches.is_multiple_of(n) || config.distributed.shares == Shares::Measured {
        let message = format!(
            "averages weights of ranks with equal shares, and {n} ranks do not share {micro_batches} micro-batches \
             equally (or distributed.shares is `measured`): choose another train.batch_size or micro_batch_size"
        );
        return Err(Error::config("distributed.local_steps", message));
    }
    Ok(n as f64)
}

/// Compares a text of each rank.
///
/// Errors: it differs.
pub(super) fn compare(group: &Group, what: &str, own: &str) -> Result<()> {
    let all = group.gather(Sha256::digest(own).to_vec()).wait()?;
    match all.iter().position(|other| *other != all[0]) {
        None => Ok(()),
        Some(rank) => Err(Error::Ranks(format!("{what} differ between rank 0 and rank {rank}"))),
    }
}

/// Micro-batches a second, from the second replay on.
fn speed(gpu: &Gpu, workspace: &Workspace, layout: &Layout) -> Result<f64> {
    const REPLAYS: u32 = 3;
    // A zeroth-order step has no plan of a micro-batch that leaves the weights alone.
    let plan = if layout.gradients.is_empty() { Plan::Evaluate } else { Plan::FirstMicroBatch };
    let mut began = Instant::now();
    for replay in 0..=REPLAYS {
        if replay == 1 {
            began = Instant::now();
        }
        workspace.run(gpu, &[plan.name()]);
        gpu.wait()?;
    }
    Ok(f64::from(REPLAYS) / began.elapsed().as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::distributed::on_ranks;

    #[test]
    fn one_wrong_bit_is_found_and_named() {
        let found = on_ranks(3, |transport| {
            let rank = crate::distributed::Transport::rank(&transport);
            let group = Group::start(move || Ok(transport)).unwrap();
            let mut weights = vec![vec![1.0f32; 5], vec![-2.0; 3]];
            compare_weights(&group, 100, &weights).unwrap();
            if rank == 2 {
                weights[1][0] = f32::from_bits(weights[1][0].to_bits() ^ 1);
            }
            let error = compare_weights(&group, 200, &weights).unwrap_err().to_string();
            group.leave();
            error
        });
        assert!(found.iter().all(|error| *error == found[0]), "{found:?}");
        let error = &found[0];
        assert!(error.starts_with("step 200: the weights of the ranks differ: their digest is "), "{error}");
        assert!(error.contains(" on rank 0 and ") && error.contains(" on rank 2."), "{error}");
    }

    #[test]
    fn gradients_are_cut_into_buckets_in_the_order_of_the_backward_pass() {
        let sets = ["model.preset=tiny", "train.batch_size=4", "train.micro_batch_size=2"].map(str::to_owned);
        let config = RunConfig::load(None, &sets, crate::config::RunDefaults::Software).unwrap();
        let profile = crate::gpu::Profile::webgpu_default();
        let recorded = super::super::recording::record_training(&config, &profile).unwrap();
        let total: usize = recorded.llama.parameters.iter().map(|parameter| parameter.gradient().len()).sum();
        for per_bucket in [1000, 100_000, 10_000_000] {
            let buckets = buckets(&recorded.llama, &recorded.complete, per_bucket);
            let sizes: Vec<usize> = buckets.iter().map(|b| b.pieces.iter().map(Tensor::len).sum()).collect();
            assert_eq!(sizes.iter().sum::<usize>(), total);
            let (last, full) = sizes.split_last().unwrap();
            assert!(full.iter().all(|size| *size == per_bucket) && *last <= per_bucket, "{sizes:?}");
            for which in [0, 1] {
                assert!(buckets.is_sorted_by_key(|bucket| bucket.complete[which]));
                assert!(buckets[0].complete[which] > 0);
            }
        }
        // Every gradient lies in one place only.
        let buckets = buckets(&recorded.llama, &recorded.complete, 1000);
        let pieces: std::collections::HashSet<&Tensor> = buckets.iter().flat_map(|bucket| &bucket.pieces).collect();
        assert_eq!(pieces.len(), buckets.iter().map(|bucket| bucket.pieces.len()).sum::<usize>());
    }
}
