//! The update of a whole model by each optimizer: what a step adds to the forward and backward passes.

use std::sync::Arc;

use multinorm::config::{OptimizerConfig, RunConfig};
use multinorm::gpu::{Class, Gpu, Schedule};
use multinorm::train::Trainer;
use multinorm::{Error, Result};
use serde::Serialize;

use super::{random_tokens, steady_secs};

/// Tokens of the step that computes the gradients: the cost of an update does not depend on them.
const TOKENS: usize = 32;
/// Time budget of each update, in seconds.
const BUDGET_SECS: f64 = 0.3;

#[derive(Serialize)]
pub struct ModelUpdate {
    pub optimizer: String,
    /// Dispatches of the update in an ordinary step.
    pub kernels: usize,
    pub optimizer_state_bytes: u64,
    /// Every gradient once, every weight and all state twice; for a zeroth-order step, every weight twice in each of
    /// its three moves.
    pub least_bytes: u64,
    /// Bytes its dispatches read and write.
    pub bytes_moved: u64,
    pub update_secs: f64,
    pub least_gbytes_per_sec: f64,
}

/// Times an ordinary step's update, many replays per submission.
pub async fn measure(
    gpu: &Arc<Gpu>,
    config: &RunConfig,
    name: &str,
    optimizer: &OptimizerConfig,
) -> Result<ModelUpdate> {
    let mut config = config.clone().with_optimizer(optimizer.clone());
    let train = &mut config.train;
    (train.steps, train.batch_size, train.micro_batch_size, train.sequence_length) = (2, 1, 1, TOKENS);
    // Otherwise the update is part of the backward pass.
    train.fused_update = false;
    config.eval.batch_size = 1;
    (config.spectra.every, config.eval.text_tokens) = (0, 0);
    config.validate()?;
    let dataset = Arc::new(random_tokens(&config));
    let weights = 4 * config.model.n_parameters() as u64;
    let mut trainer = Trainer::new(gpu.clone(), config, dataset).await?;
    trainer.step().await?;
    trainer.drain().await?;
    let workspace = trainer.workspace();
    let (mut secs, mut kernels, mut bytes_moved) = (0.0, 0.0, 0.0);
    for (plan, replays) in trainer.plans_of_step() {
        // The fraction of the plan's work that counts as the update.
        let (share, plan) = (replays as f64 * plan.updates(), plan.name());
        if share == 0.0 {
            continue;
        }
        trainer.forget_halt();
        let time = async |replays| workspace.time_replays(gpu, plan, Schedule::None, replays).await;
        secs += share * steady_secs(BUDGET_SECS, time).await?;
        let order = workspace.replayed(plan, Schedule::None);
        kernels += share * order.len() as f64;
        bytes_moved += share * order.iter().map(|&at| workspace.dispatch(plan, at).bytes()).sum::<u64>() as f64;
    }
    if secs == 0.0 {
        return Err(Error::Gpu(format!("{name}: no plan of a step contains an update")));
    }
    let state = workspace.memory.bytes(Class::OptimizerState);
    let least_bytes = if optimizer.zeroth_order().is_some() { 6 * weights } else { 3 * weights } + 2 * state;
    Ok(ModelUpdate {
        optimizer: name.into(),
        kernels: kernels as usize,
        optimizer_state_bytes: state,
        least_bytes,
        bytes_moved: bytes_moved as u64,
        update_secs: secs,
        least_gbytes_per_sec: least_bytes as f64 / secs / 1e9,
    })
}
