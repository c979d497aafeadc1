//! The largest run that so many bytes hold: each candidate is recorded, and its bytes are those of its record.

use std::collections::HashMap;

use super::recording::{Recorded, kinds, record_training};
use crate::Result;
use crate::config::{ModelConfig, PRESETS, Precision, Recompute, RecomputePolicy, RunConfig};
use crate::gpu::{Memory, Profile};

/// What is known of the device that a run is recorded for: the variants of its products may depend on the run.
pub type ProfileOf<'a> = dyn Fn(&RunConfig) -> Result<Profile> + 'a;

/// A run that fits.
#[derive(Clone, Debug, PartialEq)]
pub struct Fit {
    /// Its settings: those that were searched from, with another micro-batch, recomputation and way to update.
    pub config: RunConfig,
    /// What its backward pass computes again.
    pub recompute: Recompute,
    /// What its activations are in: `f32` or `f16`.
    pub precision: Precision,
    /// Its ledger.
    pub memory: Memory,
}

/// What became of a search.
#[derive(Clone, Debug, PartialEq)]
pub enum Search {
    /// The run that fits.
    Fits(Box<Fit>),
    /// There is too little memory: the smallest run of this model takes so many bytes.
    Least(u64),
    /// There is enough memory, and the adapter refuses it for another reason.
    Refused(String),
}

/// The ways to train one model, recorded as they are asked for.
///
/// Of the runs that fit, the one with the largest micro-batch is chosen, then the one that computes the least again, then the
/// one with separate updates. Micro-batches are the powers of two that divide `train.batch_size`, and that itself.
/// `train.recompute` is tried as far as it is `auto`; updates inside the backward pass are tried where the other settings
/// allow them, and their batch is one micro-batch. Evaluation takes no more sequences at once than a micro-batch has.
pub struct SearchSpace<'a> {
    config: RunConfig,
    profile_of: &'a ProfileOf<'a>,
    micro_batches: Vec<usize>,
    /// The first that fits is taken; the last takes the least memory.
    ways: Vec<Way>,
    seen: HashMap<(usize, Way), Result<Fit, Unfit>>,
}

/// How a micro-batch is trained on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Way {
    recompute: Recompute,
    fused: bool,
}

/// A run that no size fits.
#[derive(Clone, Debug)]
struct Unfit {
    /// What it would take; nothing where it cannot be recorded.
    bytes: u64,
    why: String,
}

impl<'a> SearchSpace<'a> {
    /// Those of the model of `config`.
    pub fn new(config: RunConfig, profile_of: &'a ProfileOf<'a>) -> Self {
        let batch = config.train.batch_size;
        let powers = (0..usize::BITS).map(|power| 1 << power).take_while(|&power| power < batch);
        let micro_batches = powers.filter(|&power| batch.is_multiple_of(power)).chain([batch]).collect();
        let fused = Way { recompute: Recompute::None, fused: true };
        let mut of_updates = Vec::new();
        if !config.train.fused_update {
            of_updates.push(false);
        }
        if config.train.fused_update || with(&config, 1, fused).validate().is_ok() {
            of_updates.push(true);
        }
        let of_kind = |recompute| of_updates.iter().map(move |&fused| Way { recompute, fused });
        let ways = kinds(&config).into_iter().flat_map(of_kind).collect();
        Self { config, profile_of, micro_batches, ways, seen: HashMap::new() }
    }

    /// The run that so many bytes hold.
    ///
    /// Memory grows with the micro-batch, so that a binary search finds the largest.
    pub fn largest(&mut self, bytes: u64) -> Search {
        let micro_batches = self.micro_batches.clone();
        let fitting = micro_batches.partition_point(|&micro| self.fits(micro, bytes));
        if let Some(&micro) = fitting.checked_sub(1).and_then(|last| micro_batches.get(last)) {
            let ways = self.ways.clone();
            let found = ways.into_iter().find_map(|way| self.fit(micro, way, bytes));
            return Search::Fits(Box::new(found.expect("a way that fits")));
        }
        let smallest = micro_batches[0];
        let tried: Vec<_> = self.ways.clone().into_iter().map(|way| self.of(smallest, way).clone()).collect();
        let refused = tried.iter().filter_map(|one| one.as_ref().err()).find(|unfit| unfit.bytes <= bytes);
        match refused {
            Some(unfit) => Search::Refused(unfit.why.clone()),
            None => {
                let taken =
                    tried.iter().map(|one| one.as_ref().map_or_else(|unfit| unfit.bytes, |fit| fit.memory.total()));
                Search::Least(taken.min().expect("a way"))
            }
        }
    }

    fn fits(&mut self, micro: usize, bytes: u64) -> bool {
        // The one that takes the least first: most often it decides.
        self.ways.clone().into_iter().rev().any(|way| self.fit(micro, way, bytes).is_some())
    }

    fn fit(&mut self, micro: usize, way: Way, bytes: u64) -> Option<Fit> {
        self.of(micro, way).as_ref().ok().filter(|fit| fit.memory.total() <= bytes).cloned()
    }

    fn of(&mut self, micro: usize, way: Way) -> &Result<Fit, Unfit> {
        let (config, profile_of) = (&self.config, self.profile_of);
        self.seen.entry((micro, way)).or_insert_with(|| record(with(config, micro, way), profile_of))
    }
}

/// The settings with a micro-batch and a way to train on it.
fn with(config: &RunConfig, micro: usize, way: Way) -> RunConfig {
    let mut config = config.clone();
    config.train.micro_batch_size = micro;
    if way.fused {
        config.train.batch_size = micro; // gradients that pass cannot be summed
    }
    config.train.fused_update = way.fused;
    config.train.recompute = RecomputePolicy::Always(way.recompute);
    config.eval.batch_size = config.eval.batch_size.min(micro);
    config
}

fn record(config: RunConfig, profile_of: &ProfileOf<'_>) -> Result<Fit, Unfit> {
    let recorded = config.validate().and_then(|()| record_training(&config, &profile_of(&config)?));
    let Recorded { recorder, recompute, precision, .. } =
        recorded.map_err(|error| Unfit { bytes: 0, why: error.to_string() })?;
    let memory = recorder.memory();
    match recorder.refusal() {
        Some(refusal) => Err(Unfit { bytes: memory.total(), why: refusal.in_words() }),
        None => Ok(Fit { config, recompute, precision, memory }),
    }
}

/// The presets, the largest first, each with its ways to train it.
///
/// A preset has its own sizes, whatever the model of `config`; its `max_position_embeddings` follows a longer sequence.
pub struct Presets<'a>(Vec<(&'static str, SearchSpace<'a>)>);

/// The largest preset that fits.
#[derive(Clone, Debug, PartialEq)]
pub struct LargestPreset {
    /// Larger ones that memory would hold, and why the adapter refuses each.
    pub refused: Vec<(&'static str, String)>,
    /// Its name, and the run; or, where none fits, the bytes of the smallest run, if it can be recorded.
    pub found: Result<(&'static str, Box<Fit>), Option<u64>>,
}

impl<'a> Presets<'a> {
    /// The presets under the optimizer and the batches of `config`.
    pub fn new(config: &RunConfig, profile_of: &'a ProfileOf<'a>) -> Self {
        let ways = |&preset: &&'static str| {
            let mut model = ModelConfig::preset(preset).expect("a preset's name");
            model.max_position_embeddings = model.max_position_embeddings.max(config.train.sequence_length);
            model.adapter = config.optimizer.adapter();
            (preset, SearchSpace::new(RunConfig { model, ..config.clone() }, profile_of))
        };
        Self(PRESETS.iter().rev().map(ways).collect())
    }

    /// The largest preset that so many bytes hold, and its run by the rules of [`SearchSpace`].
    pub fn largest(&mut self, bytes: u64) -> LargestPreset {
        let (mut refused, mut least) = (Vec::new(), None);
        for (preset, ways) in &mut self.0 {
            match ways.largest(bytes) {
                Search::Fits(fit) => return LargestPreset { refused, found: Ok((*preset, fit)) },
                Search::Refused(why) => refused.push((*preset, why)),
                Search::Least(taken) => least = Some(taken),
            }
        }
        LargestPreset { refused, found: Err(least) }
    }
}
