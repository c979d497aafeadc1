//! What a step replays: plans over micro-batches, once, or twice per direction in a zeroth-order step.

use super::plan::Plan;
use crate::config::RunConfig;
use crate::data::batches::n_windows;
use crate::gpu::{KernelTime, Schedule};
use crate::reference::random::word_of_seed;
use crate::reference::zeroth_order::seed_of_query;

/// Plans replayed in order on one micro-batch along one direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// The micro-batch whose tokens they read; `None` if they read none.
    pub micro_batch: Option<usize>,
    /// The direction's index, from 0.
    pub query: u32,
    /// The plans.
    pub plans: Vec<Plan>,
}

impl Part {
    /// The plans' names in the recorder.
    pub fn names(&self) -> Vec<&'static str> {
        self.plans.iter().map(|plan| plan.name()).collect()
    }

    /// The schedule for this part of a step, counted from 0: scheduled work runs once per step, with its first
    /// direction.
    pub fn due(&self, step: u64) -> Schedule {
        if self.query == 0 { Schedule::Step(step) } else { Schedule::None }
    }
}

/// Number of directions in `step`, counted from 0; 0 if it takes a gradient.
pub(super) fn queries(config: &RunConfig, training_tokens: usize, step: u64) -> u32 {
    let train = &config.train;
    let steps_of_epoch = n_windows(training_tokens, train.sequence_length) as f64 / train.batch_size as f64;
    config.optimizer.queries_at((step as f64 / steps_of_epoch) as u64, train.steps as f64 / steps_of_epoch)
}

/// Forward passes of a whole run on `training_tokens` tokens, each over the tokens of a step.
pub fn forward_passes(config: &RunConfig, training_tokens: usize) -> u64 {
    (0..config.train.steps).map(|step| u64::from(queries(config, training_tokens, step) * 2).max(1)).sum()
}

/// The parts of a step on `n` micro-batches with `queries` directions; with 0 it takes a gradient.
pub(super) fn parts(config: &RunConfig, n: usize, queries: u32) -> Vec<Part> {
    match queries {
        0 => with_gradients(n, config.train.fused_update),
        queries => zeroth_order(n, queries),
    }
}

/// The gradients of all micro-batches, then the update.
fn with_gradients(n: usize, fused: bool) -> Vec<Part> {
    let mut parts = micro_batches(n, 0, Plan::FirstMicroBatch, Plan::NextMicroBatch);
    if !fused {
        parts[n - 1].plans.push(Plan::Update);
    }
    parts
}

/// For each direction the loss of all micro-batches at w + d, then at w − d, then back to w. The last way back
/// continues along the last direction; only the other directions are left to apply.
fn zeroth_order(n: usize, queries: u32) -> Vec<Part> {
    let moves = |query: u32, plan: Plan| Part { micro_batch: None, query, plans: vec![plan] };
    let mut parts = Vec::new();
    for query in 0..queries {
        parts.extend(micro_batches(n, query, Plan::FirstAtPlus, Plan::NextMicroBatch));
        parts.extend(micro_batches(n, query, Plan::FirstAtMinus, Plan::NextAtMinus));
        parts.push(moves(query, Plan::Back));
    }
    parts.extend((0..queries - 1).map(|query| moves(query, Plan::Along)));
    parts
}

/// One plan on the first micro-batch, another on those after it.
fn micro_batches(n: usize, query: u32, first: Plan, next: Plan) -> Vec<Part> {
    let part = |index| Part { micro_batch: Some(index), query, plans: vec![if index == 0 { first } else { next }] };
    (0..n).map(part).collect()
}

/// Each distinct plan of these parts, with its number of replays.
pub(super) fn replays(parts: &[Part]) -> Vec<(Plan, usize)> {
    let mut replays: Vec<(Plan, usize)> = Vec::new();
    for &plan in parts.iter().flat_map(|part| &part.plans) {
        match replays.iter_mut().find(|(known, _)| *known == plan) {
            Some((_, times)) => *times += 1,
            None => replays.push((plan, 1)),
        }
    }
    replays
}

/// Seconds of a step's update, from its kernel times by plan; in a zeroth-order step, all moves of the weights.
pub fn update_secs(times: &[(Plan, Vec<KernelTime>)]) -> f64 {
    let secs = |kernels: &[KernelTime]| kernels.iter().map(|kernel| kernel.secs).sum::<f64>();
    times.iter().map(|(plan, kernels)| plan.updates() * secs(kernels)).sum()
}

/// The words of shaders/lib/step.wgsl for one of a step's directions; all are counted from 0.
pub(super) fn step_words(config: &RunConfig, schedule: f64, step: u64, [query, queries]: [u32; 2]) -> [u32; 4] {
    let last = queries.saturating_sub(1);
    let seed = seed_of_query(word_of_seed(config.train.seed), query);
    [(schedule as f32).to_bits(), (step + 1) as u32, seed, query | last << 16]
}

#[cfg(test)]
mod tests {
    use super::Plan::{Along, Back, FirstAtMinus, FirstAtPlus, FirstMicroBatch, NextAtMinus, NextMicroBatch, Update};
    use super::*;
    use crate::config::RunDefaults;

    fn of(sets: &[&str]) -> Vec<(Option<usize>, u32, Vec<Plan>)> {
        let sets: Vec<String> = sets.iter().map(|&set| set.to_owned()).collect();
        let config = RunConfig::load(None, &sets, RunDefaults::Software).unwrap();
        let queries = queries(&config, 1000, 0);
        parts(&config, config.train.n_micro_batches(), queries)
            .into_iter()
            .map(|part| (part.micro_batch, part.query, part.plans))
            .collect()
    }

    #[test]
    fn the_update_of_a_zeroth_order_step_is_all_its_moves() {
        let of = |plan, secs: f64| (plan, vec![KernelTime { kernel: "any", dispatches: 1, secs }]);
        assert_eq!(update_secs(&[of(FirstMicroBatch, 5.0), of(Update, 2.0)]), 2.0);
        assert_eq!(update_secs(&[of(FirstAtPlus, 5.0), of(FirstAtMinus, 5.0), of(Back, 1.0), of(Along, 0.5)]), 3.5);
    }

    #[test]
    fn a_plan_is_counted_as_often_as_it_is_replayed() {
        let part = |plans: &[Plan]| Part { micro_batch: None, query: 0, plans: plans.to_vec() };
        let parts = [part(&[FirstMicroBatch]), part(&[NextMicroBatch]), part(&[NextMicroBatch, Update])];
        assert_eq!(replays(&parts), [(FirstMicroBatch, 1), (NextMicroBatch, 2), (Update, 1)]);
    }

    #[test]
    fn seeds_that_differ_above_32_bits_give_other_directions() {
        let seed_of = |seed: u64| {
            let sets = [format!("train.seed={seed}")];
            let [.., seed, _] =
                step_words(&RunConfig::load(None, &sets, RunDefaults::Software).unwrap(), 1.0, 0, [0, 1]);
            seed
        };
        assert_eq!(seed_of(7), 7, "small seeds stay what they are");
        assert_ne!(seed_of(7 | 1 << 32), 7);
    }

    #[test]
    fn every_micro_batch_is_read_as_often_as_the_rule_wants() {
        let micro = ["train.batch_size=4", "train.micro_batch_size=2"];
        assert_eq!(of(&micro), [(Some(0), 0, vec![FirstMicroBatch]), (Some(1), 0, vec![NextMicroBatch, Update])]);
        assert_eq!(of(&["train.fused_update=true"]), [(Some(0), 0, vec![FirstMicroBatch])]);
        let two = [&micro[..], &["optimizer.name=mezo", "optimizer.queries=2"]].concat();
        let of_query = |query| {
            let loss = |index, plan| (Some(index), query, vec![plan]);
            [
                loss(0, FirstAtPlus),
                loss(1, NextMicroBatch),
                loss(0, FirstAtMinus),
                loss(1, NextAtMinus),
                (None, query, vec![Back]),
            ]
        };
        assert_eq!(of(&two), [&of_query(0)[..], &of_query(1), &[(None, 0, vec![Along])]].concat());
    }
}
