//! What a step is replayed as: plans over micro-batches, once, or twice for every direction of a zeroth-order step.

use super::recording::{ALONG, BACK, FIRST, MINUS, NEXT, NEXT_MINUS, PLUS, UPDATE};
use crate::config::RunConfig;
use crate::data::batches::n_windows;
use crate::gpu::{Due, KernelTime};
use crate::reference::random::word_of_seed;
use crate::reference::zeroth_order::seed_of_query;

/// Plans that are replayed one after the other, on one micro-batch and along one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// The micro-batch whose tokens they read; none reads none.
    pub micro_batch: Option<usize>,
    /// The direction's number, from 0.
    pub query: u32,
    /// The plans.
    pub plans: &'static [&'static str],
}

impl Part {
    /// What is due of this part of a step, counted from 0: what is renewed is renewed once.
    pub fn due(&self, step: u64) -> Due {
        if self.query == 0 { Due::Step(step) } else { Due::None }
    }
}

/// Directions of a step, counted from 0, in a run on so many tokens; 0 where a gradient is taken.
pub(super) fn queries(config: &RunConfig, training_tokens: usize, step: u64) -> u32 {
    let train = &config.train;
    let steps_of_epoch = n_windows(training_tokens, train.sequence_length) as f64 / train.batch_size as f64;
    config.optimizer.queries_at((step as f64 / steps_of_epoch) as u64, train.steps as f64 / steps_of_epoch)
}

/// Forward passes of a whole run on so many tokens, each over the tokens of a step.
pub fn forward_passes(config: &RunConfig, training_tokens: usize) -> u64 {
    (0..config.train.steps).map(|step| u64::from(queries(config, training_tokens, step) * 2).max(1)).sum()
}

/// The parts of a step of so many directions; 0 takes a gradient.
pub(super) fn parts(config: &RunConfig, queries: u32) -> Vec<Part> {
    let n = config.train.n_micro_batches();
    match queries {
        0 => (0..n).map(|index| with_gradients(index, n, config.train.fused_update)).collect(),
        queries => zeroth_order(n, queries),
    }
}

fn with_gradients(index: usize, n: usize, fused: bool) -> Part {
    let plans: &[&str] = match (index == 0, index + 1 == n && !fused) {
        (true, true) => &[FIRST, UPDATE],
        (true, false) => &[FIRST],
        (false, true) => &[NEXT, UPDATE],
        (false, false) => &[NEXT],
    };
    Part { micro_batch: Some(index), query: 0, plans }
}

/// For each direction the loss on all micro-batches at w + d, then at w − d; the last way back is an update.
fn zeroth_order(n: usize, queries: u32) -> Vec<Part> {
    let mut parts = Vec::new();
    for query in 0..queries {
        let mut losses = |first: &'static [&'static str], next: &'static [&'static str]| {
            let plans = |index: usize| if index == 0 { first } else { next };
            parts.extend((0..n).map(|index| Part { micro_batch: Some(index), query, plans: plans(index) }));
        };
        losses(&[PLUS], &[NEXT]);
        losses(&[MINUS], &[NEXT_MINUS]);
        parts.push(Part { micro_batch: None, query, plans: &[BACK] });
    }
    parts.extend((0..queries - 1).map(|query| Part { micro_batch: None, query, plans: &[ALONG] }));
    parts
}

/// Seconds of a step, by plan, that are its update: of a zeroth-order step all moves of the weights.
pub fn update_secs(times: &[(&'static str, Vec<KernelTime>)]) -> f64 {
    let of = |(plan, kernels): &(&'static str, Vec<KernelTime>)| {
        let moves = match *plan {
            UPDATE | ALONG => 1.0,
            BACK => 3.0, // and as much there and there
            _ => 0.0,
        };
        moves * kernels.iter().map(|kernel| kernel.secs).sum::<f64>()
    };
    times.iter().map(of).sum()
}

/// The words of shaders/lib/step.wgsl for a direction, one of so many, of a step; all are counted from 0.
pub(super) fn step_words(config: &RunConfig, schedule: f64, step: u64, [query, queries]: [u32; 2]) -> [u32; 4] {
    let last = queries.saturating_sub(1);
    let seed = seed_of_query(word_of_seed(config.train.seed), query);
    [(schedule as f32).to_bits(), (step + 1) as u32, seed, query | last << 16]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::RunDefaults;

    fn of(sets: &[&str]) -> Vec<(Option<usize>, u32, Vec<&'static str>)> {
        let sets: Vec<String> = sets.iter().map(|&set| set.to_owned()).collect();
        let config = RunConfig::load(None, &sets, RunDefaults::Software).unwrap();
        let queries = queries(&config, 1000, 0);
        parts(&config, queries).into_iter().map(|part| (part.micro_batch, part.query, part.plans.to_vec())).collect()
    }

    #[test]
    fn the_update_of_a_zeroth_order_step_is_all_its_moves() {
        let of = |plan, secs: f64| (plan, vec![KernelTime { kernel: "any", dispatches: 1, secs }]);
        assert_eq!(update_secs(&[of(FIRST, 5.0), of(UPDATE, 2.0)]), 2.0);
        assert_eq!(update_secs(&[of(PLUS, 5.0), of(MINUS, 5.0), of(BACK, 1.0), of(ALONG, 0.5)]), 3.5);
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
        assert_eq!(of(&micro), [(Some(0), 0, vec![FIRST]), (Some(1), 0, vec![NEXT, UPDATE])]);
        assert_eq!(of(&["train.fused_update=true"]), [(Some(0), 0, vec![FIRST])]);
        let two = [&micro[..], &["optimizer.name=mezo", "optimizer.queries=2"]].concat();
        let of_query = |query| {
            let loss = |index, plan| (Some(index), query, vec![plan]);
            [loss(0, PLUS), loss(1, NEXT), loss(0, MINUS), loss(1, NEXT_MINUS), (None, query, vec![BACK])]
        };
        assert_eq!(of(&two), [&of_query(0)[..], &of_query(1), &[(None, 0, vec![ALONG])]].concat());
    }
}
