//! Finds the largest run that fits in a given number of bytes: each candidate is recorded, and its memory read off the
//! record.

use std::collections::HashMap;

use super::recording::{Recorded, kinds, record_training};
use crate::Result;
use crate::config::{ModelConfig, PRESETS, Precision, Recompute, RecomputePolicy, RunConfig};
use crate::gpu::{Memory, Profile};

/// The profile to record a run for; choices of product variants may depend on the run.
pub type ProfileOf<'a> = dyn Fn(&RunConfig) -> Result<Profile> + 'a;

/// A run that fits.
#[derive(Clone, Debug, PartialEq)]
pub struct Fit {
    /// The settings the search started from, with the chosen micro-batch, recomputation and update mode.
    pub config: RunConfig,
    /// What its backward pass recomputes.
    pub recompute: Recompute,
    /// Precision of its activations: `f32` or `f16`.
    pub precision: Precision,
    /// Its memory ledger.
    pub memory: Memory,
}

/// The result of a search.
#[derive(Clone, Debug, PartialEq)]
pub enum Search {
    /// The run that fits.
    Fits(Box<Fit>),
    /// Too little memory: the smallest run of this model takes this many bytes.
    Least(u64),
    /// There is enough memory, but the adapter refuses it for another reason.
    Refused(String),
}

/// The ways to train one model, recorded on demand.
///
/// Among the runs that fit, it prefers the largest micro-batch, then the least recomputation, then separate updates.
/// Micro-batches are the powers of two that divide `train.batch_size`, and the batch size itself. It varies
/// `train.recompute` only if that is `auto`. It tries fused updates if the other settings allow them; their batch is
/// one micro-batch. Evaluation uses at most as many sequences at once as a micro-batch has.
pub struct SearchSpace<'a> {
    config: RunConfig,
    profile_of: &'a ProfileOf<'a>,
    micro_batches: Vec<usize>,
    /// The first that fits is chosen; the last takes the least memory.
    modes: Vec<Mode>,
    seen: HashMap<(usize, Mode), Result<Fit, Unfit>>,
}

/// How to train on a micro-batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Mode {
    recompute: Recompute,
    fused: bool,
}

/// A run that cannot work with any amount of memory.
#[derive(Clone, Debug)]
struct Unfit {
    /// Bytes it would take; 0 if it cannot be recorded.
    bytes: u64,
    why: String,
}

impl<'a> SearchSpace<'a> {
    /// The search space for the model of `config`.
    pub fn new(config: RunConfig, profile_of: &'a ProfileOf<'a>) -> Self {
        let batch = config.train.batch_size;
        let powers = (0..usize::BITS).map(|power| 1 << power).take_while(|&power| power < batch);
        let micro_batches = powers.filter(|&power| batch.is_multiple_of(power)).chain([batch]).collect();
        let fused = Mode { recompute: Recompute::None, fused: true };
        let mut of_updates = Vec::new();
        if !config.train.fused_update {
            of_updates.push(false);
        }
        if config.train.fused_update || with(&config, 1, fused).validate().is_ok() {
            of_updates.push(true);
        }
        let of_kind = |recompute| of_updates.iter().map(move |&fused| Mode { recompute, fused });
        let modes = kinds(&config).into_iter().flat_map(of_kind).collect();
        Self { config, profile_of, micro_batches, modes, seen: HashMap::new() }
    }

    /// The largest run that fits in `bytes`.
    ///
    /// Memory grows with the micro-batch, so a binary search finds the largest.
    pub fn largest(&mut self, bytes: u64) -> Search {
        let micro_batches = self.micro_batches.clone();
        let fitting = micro_batches.partition_point(|&micro| self.fits(micro, bytes));
        if let Some(&micro) = fitting.checked_sub(1).and_then(|last| micro_batches.get(last)) {
            let modes = self.modes.clone();
            let found = modes.into_iter().find_map(|mode| self.fit(micro, mode, bytes));
            return Search::Fits(Box::new(found.expect("a mode that fits")));
        }
        let smallest = micro_batches[0];
        let tried: Vec<_> = self.modes.clone().into_iter().map(|mode| self.of(smallest, mode).clone()).collect();
        let refused = tried.iter().filter_map(|one| one.as_ref().err()).find(|unfit| unfit.bytes <= bytes);
        match refused {
            Some(unfit) => Search::Refused(unfit.why.clone()),
            None => {
                let taken =
                    tried.iter().map(|one| one.as_ref().map_or_else(|unfit| unfit.bytes, |fit| fit.memory.total()));
                Search::Least(taken.min().expect("a mode"))
            }
        }
    }

    fn fits(&mut self, micro: usize, bytes: u64) -> bool {
        // Smallest first: most often it decides.
        self.modes.clone().into_iter().rev().any(|mode| self.fit(micro, mode, bytes).is_some())
    }

    fn fit(&mut self, micro: usize, mode: Mode, bytes: u64) -> Option<Fit> {
        self.of(micro, mode).as_ref().ok().filter(|fit| fit.memory.total() <= bytes).cloned()
    }

    fn of(&mut self, micro: usize, mode: Mode) -> &Result<Fit, Unfit> {
        let (config, profile_of) = (&self.config, self.profile_of);
        self.seen.entry((micro, mode)).or_insert_with(|| record(with(config, micro, mode), profile_of))
    }
}

/// The settings with this micro-batch and mode.
fn with(config: &RunConfig, micro: usize, mode: Mode) -> RunConfig {
    let mut config = config.clone();
    config.train.micro_batch_size = micro;
    if mode.fused {
        config.train.batch_size = micro; // transient gradients cannot be accumulated
    }
    config.train.fused_update = mode.fused;
    config.train.recompute = RecomputePolicy::Always(mode.recompute);
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

/// The presets, largest first, each with the ways to train it.
///
/// A preset keeps its own sizes, regardless of the model of `config`; only `max_position_embeddings` grows with a
/// longer sequence.
pub struct Presets<'a>(Vec<(&'static str, SearchSpace<'a>)>);

/// The largest preset that fits.
#[derive(Clone, Debug, PartialEq)]
pub struct LargestPreset {
    /// Larger presets that fit in memory, and why the adapter refuses each.
    pub refused: Vec<(&'static str, String)>,
    /// Its name and run; or, if none fits, the bytes of the smallest run, if it can be recorded.
    pub found: Result<(&'static str, Box<Fit>), Option<u64>>,
}

impl<'a> Presets<'a> {
    /// The presets with the optimizer and batches of `config`.
    pub fn new(config: &RunConfig, profile_of: &'a ProfileOf<'a>) -> Self {
        let space = |&preset: &&'static str| {
            let mut model = ModelConfig::preset(preset).expect("a preset's name");
            model.max_position_embeddings = model.max_position_embeddings.max(config.train.sequence_length);
            model.adapter = config.optimizer.adapter();
            (preset, SearchSpace::new(RunConfig { model, ..config.clone() }, profile_of))
        };
        Self(PRESETS.iter().rev().map(space).collect())
    }

    /// The largest preset that fits in `bytes`, and its run by the rules of [`SearchSpace`].
    pub fn largest(&mut self, bytes: u64) -> LargestPreset {
        let (mut refused, mut least) = (Vec::new(), None);
        for (preset, space) in &mut self.0 {
            match space.largest(bytes) {
                Search::Fits(fit) => return LargestPreset { refused, found: Ok((*preset, fit)) },
                Search::Refused(why) => refused.push((*preset, why)),
                Search::Least(taken) => least = Some(taken),
            }
        }
        LargestPreset { refused, found: Err(least) }
    }
}
