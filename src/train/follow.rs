//! The ranks of a run beside rank 0, which alone reads checkpoints and writes anything.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::run::Pauses;
use super::trainer::Trainer;
use crate::config::RunConfig;
use crate::data::dataset::Dataset;
use crate::distributed::Group;
use crate::gpu::Gpu;
use crate::{Error, Result};

/// Steps after a NaN in which rank 0 reports it: reports are at most four steps late.
const STEPS_AFTER_NAN: u32 = 8;

/// Takes part in the run that rank 0 leads ([`super::run`] with the same group), until all ranks stop.
///
/// Errors: as [`super::run`]; a NaN is reported by rank 0.
pub async fn follow(
    gpu: Arc<Gpu>,
    config: RunConfig,
    dataset: Arc<Dataset>,
    group: Arc<Group>,
    stop: &AtomicBool,
) -> Result<()> {
    let pauses = Pauses::of(&config);
    let mut trainer = Trainer::on_ranks(gpu, config, dataset, Some(group)).await?;
    trainer.share_start().await?;
    let mut steps_after_nan = 0;
    while trainer.step_number() < pauses.steps && !trainer.stops(stop.load(Ordering::Relaxed)) {
        match trainer.step().await {
            Err(Error::NonFinite(_)) if steps_after_nan < STEPS_AFTER_NAN => steps_after_nan += 1,
            reports => drop(reports?),
        }
        if pauses.evaluates(trainer.step_number()) {
            trainer.drain().await?;
            trainer.evaluate().await?;
        }
    }
    trainer.drain().await?;
    trainer.check()?;
    if trainer.step_number() == pauses.steps {
        trainer.evaluate().await?;
    }
    Ok(())
}
