//! Runs a pruning from its state to its end, or to where it is stopped.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Map, json};

use super::dir::PruneDir;
use super::measure::{Measure, initial_scores, measure};
use super::pruner::{Progress, Pruner, mean_squares};
use super::settings::{PruneSettings, Start};
use crate::Result;
use crate::checkpoint::JsonLines;
use crate::data::batches::Batches;
use crate::data::tokens::Tokens;
use crate::gpu::{Gpu, Throttle};
use crate::llama::UnitKind;
use crate::settings::ModelConfig;

/// The losses of the masks of every step.
const LOSSES: &str = "losses.jsonl";
/// Seconds of work in flight, so that a driver's time limit is not reached and a signal is soon heeded.
const BUDGET_SECS: f64 = 0.5;

/// A model and the text that its units are measured on.
#[derive(Clone, Copy)]
pub struct Subject<'a> {
    /// The model's sizes.
    pub config: &'a ModelConfig,
    /// Its weights, in the order of [`ModelConfig::parameters`].
    pub weights: &'a [Vec<f32>],
    /// The text.
    pub tokens: &'a Tokens,
}

impl Subject<'_> {
    /// The scores that a pruning starts from, of heads and of channels.
    ///
    /// Errors: as for [`mean_squares`].
    pub async fn starting_scores(&self, gpu: &Gpu, settings: &PruneSettings) -> Result<[Measure; 2]> {
        let Self { config, weights, tokens } = *self;
        let squares = match settings.start {
            Start::Wanda => Some(mean_squares(gpu, config, weights, settings, tokens).await?),
            Start::Magnitude | Start::Random | Start::Constant => None,
        };
        let specs = config.parameters();
        let readers = |kind: UnitKind| -> Vec<&[f32]> {
            let named = specs.iter().zip(weights).filter(|(spec, _)| spec.name.ends_with(kind.reader()));
            named.map(|(_, values)| values.as_slice()).collect()
        };
        Ok(UnitKind::ALL.map(|kind| {
            let squares = squares.as_ref().map(|squares| squares[kind as usize].as_slice());
            initial_scores(kind, config, settings, &measure(kind, config, &readers(kind), squares))
        }))
    }

    /// Learns the scores in `dir` step by step from where they are, and saves them every `save_every` steps and at the
    /// end. Returns whether all steps are done; `stop` ends it after a step.
    ///
    /// `show` is called once per step.
    pub async fn learn(
        &self,
        gpu: &Gpu,
        dir: &mut PruneDir,
        save_every: u64,
        stop: &AtomicBool,
        show: &mut dyn FnMut(&Progress),
    ) -> Result<bool> {
        let settings = dir.state.settings.clone();
        let mut log = JsonLines::open(&dir.path().join(LOSSES), dir.state.done > 0, dir.state.done)?;
        let [heads, channels] = dir.state.scores.clone();
        let mut pruner = Pruner::new(gpu, self.config, self.weights, &settings, [&heads, &channels]).await?;
        pruner.resume(gpu, dir.state.done, [&heads, &channels], dir.state.baseline);
        let batches = Batches::new(self.tokens, settings.batch_size, settings.sequence_length, settings.seed)?;
        let mut throttle = Throttle::new(BUDGET_SECS);
        while pruner.done() < settings.steps && !stop.load(Ordering::SeqCst) {
            pruner.step(gpu, &batches, &mut throttle).await?;
            let saves = pruner.done().is_multiple_of(save_every) || pruner.done() == settings.steps;
            take(gpu, &mut pruner, saves, &mut log, show).await?;
            if saves {
                save(gpu, &pruner, dir).await?;
            }
        }
        take(gpu, &mut pruner, true, &mut log, show).await?;
        save(gpu, &pruner, dir).await?;
        Ok(pruner.done() >= settings.steps)
    }
}

async fn take(
    gpu: &Gpu,
    pruner: &mut Pruner,
    all: bool,
    log: &mut JsonLines,
    show: &mut dyn FnMut(&Progress),
) -> Result<()> {
    while let Some(progress) = pruner.take(gpu, all).await? {
        log.write(&Map::from_iter([
            ("step".to_owned(), json!(progress.step)),
            ("losses".to_owned(), json!(progress.losses)),
        ]))?;
        show(&progress);
    }
    Ok(())
}

async fn save(gpu: &Gpu, pruner: &Pruner, dir: &mut PruneDir) -> Result<()> {
    dir.state.scores = pruner.scores(gpu).await?;
    dir.state.baseline = pruner.baseline(gpu).await?;
    dir.state.done = pruner.done();
    dir.save()
}
