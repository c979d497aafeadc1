//! The cost of an optimizer's update: bytes kept between steps, and its share of a step's time.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::files::{read_json, write_json};
use crate::config::RunConfig;
use crate::data::dataset::Dataset;
use crate::gpu::{Class, Gpu};
use crate::train::{Trainer, record_training, update_secs};
use crate::{Error, Result};

/// Memory and time of an optimizer's update; neither depends on the learning rate.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// Bytes of state kept from one step to the next.
    pub state_bytes: u64,
    /// The part for the matrices of attention and feed-forward.
    pub state_bytes_linear: u64,
    /// The part for embedding, head and norms.
    pub state_bytes_rest: u64,
    /// Seconds on the device for one step's update; `None` without time stamps.
    pub update_secs: Option<f64>,
    /// The update's share of a whole step on the device, 0 to 1; `None` without time stamps.
    pub update_share: Option<f64>,
}

/// Warm-up steps: more than one, because some rules do in the first step what they otherwise do once in hundreds.
const WARM_UP_STEPS: usize = 2;
/// Timed replays after those; the median is reported.
const REPLAYS: usize = 3;

impl Cost {
    /// The result of an earlier measurement: `costs/NAME.json` in the comparison directory.
    pub(super) fn known(folder: &Path, name: &str) -> Result<Option<Self>> {
        read_json(&path(folder, name))
    }

    /// Measures the cost and saves it in the comparison directory.
    ///
    /// Uses its own trainer, so that the runs themselves are not disturbed.
    pub(super) async fn measure(
        gpu: &Arc<Gpu>,
        dataset: &Arc<Dataset>,
        config: &RunConfig,
        folder: &Path,
        name: &str,
    ) -> Result<Self> {
        let mut cost = memory(gpu, config)?;
        if gpu.profile.timestamps {
            // A run that diverges this early cannot be timed; that is a result too.
            match time(gpu, dataset, config).await {
                Ok((secs, share)) => (cost.update_secs, cost.update_share) = (Some(secs), Some(share)),
                Err(Error::NonFinite(_)) => {}
                Err(error) => return Err(error),
            }
        }
        write_json(&path(folder, name), &cost)?;
        Ok(cost)
    }
}

fn path(folder: &Path, name: &str) -> PathBuf {
    folder.join("costs").join(format!("{name}.json"))
}

fn memory(gpu: &Gpu, config: &RunConfig) -> Result<Cost> {
    let recorded = record_training(config, &gpu.profile)?;
    let state_bytes_linear = recorded.linear_state_bytes(&config.model);
    let state_bytes = recorded.recorder.memory().bytes(Class::OptimizerState);
    let state_bytes_rest = state_bytes - state_bytes_linear;
    Ok(Cost { state_bytes, state_bytes_linear, state_bytes_rest, update_secs: None, update_share: None })
}

/// Seconds per update, and its share of a step.
async fn time(gpu: &Arc<Gpu>, dataset: &Arc<Dataset>, config: &RunConfig) -> Result<(f64, f64)> {
    // An update inside the backward pass is timed separately: its kernels are the same.
    let mut config = config.clone();
    config.train.fused_update = false;
    let mut trainer = Trainer::new(gpu.clone(), config.clone(), dataset.clone()).await?;
    for _ in 0..WARM_UP_STEPS {
        trainer.step().await?;
    }
    trainer.drain().await?;
    let mut timed = Vec::with_capacity(REPLAYS);
    for _ in 0..REPLAYS {
        let (_, plans) = trainer.timed_step().await?;
        let update = update_secs(&plans);
        let step: f64 = plans.iter().flat_map(|(_, kernels)| kernels).map(|kernel| kernel.secs).sum();
        timed.push((update, if step > 0.0 { update / step } else { 0.0 }));
    }
    timed.sort_by(|a, b| a.1.total_cmp(&b.1));
    Ok(timed[REPLAYS / 2])
}
