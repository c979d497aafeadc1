//! Evaluates the loss on held-out tokens.

use serde::Serialize;

use super::plan::Plan;
use super::recording::RING_SLOTS;
use crate::config::ModelConfig;
use crate::data::tokens::Tokens;
use crate::data::windows::Windows;
use crate::gpu::{Class, DType, Gpu, Profile, ReadbackRing, Recorder, Schedule, Tensor, Throttle, Workspace};
use crate::kernels::Output;
use crate::kernels::cross_entropy::IGNORE;
use crate::kernels::embedding::TokenBatch;
use crate::llama::{BatchInputs, Gradients, Llama, Loss, record_loss};
use crate::{Error, Result};

/// The mean loss on a range of tokens.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Evaluation {
    /// Nats per token.
    pub loss: f64,
    /// exp(loss).
    pub perplexity: f64,
    /// Number of predicted tokens.
    pub tokens: u64,
}

/// A model with only a forward pass, for `multinorm eval`.
pub struct Evaluator {
    workspace: Workspace,
    inputs: BatchInputs,
    ring: ReadbackRing,
}

impl Evaluator {
    /// A model with this configuration and these weights, in the order of [`ModelConfig::parameters`].
    pub async fn new(
        gpu: &Gpu,
        config: &ModelConfig,
        weights: &[Vec<f32>],
        batch_size: usize,
        sequence_length: usize,
    ) -> Result<Self> {
        let Recorded { rec, llama, inputs, loss } = record(&gpu.profile, config, batch_size, sequence_length);
        let workspace = rec.allocate(gpu).await?;
        llama.write_weights(gpu, &workspace, weights);
        write_tables(gpu, &workspace, &inputs);
        let ring = ReadbackRing::new(gpu, &loss, RING_SLOTS).await?;
        Ok(Self { workspace, inputs, ring })
    }

    /// Whether an adapter can evaluate `batch_size` windows at once.
    ///
    /// Errors: [`Error::TooLarge`], naming what does not fit.
    pub fn check(profile: &Profile, config: &ModelConfig, batch_size: usize, sequence_length: usize) -> Result<()> {
        record(profile, config, batch_size, sequence_length).rec.check_limits()
    }

    /// The mean loss on the first `max_tokens` of `tokens`.
    pub async fn evaluate(&mut self, gpu: &Gpu, tokens: &Tokens, max_tokens: usize) -> Result<Evaluation> {
        let replay = Replay { gpu, workspace: &self.workspace, inputs: &self.inputs };
        let (sum, tokens) = evaluate(replay, None, &mut self.ring, tokens, max_tokens, [0, 1]).await?;
        Evaluation::of(sum, tokens)
    }
}

impl Evaluation {
    /// The mean of losses with this sum.
    ///
    /// Errors: it is not finite.
    pub(super) fn of(sum: f64, tokens: u64) -> Result<Self> {
        let loss = sum / tokens as f64;
        if !loss.is_finite() {
            return Err(Error::NonFinite(format!("the evaluation's loss is {loss}: the weights are not usable")));
        }
        Ok(Self { loss, perplexity: loss.exp(), tokens })
    }
}

/// A recorded evaluation, before allocation.
struct Recorded {
    rec: Recorder,
    llama: Llama,
    inputs: BatchInputs,
    loss: Tensor,
}

fn record(profile: &Profile, config: &ModelConfig, batch_size: usize, sequence_length: usize) -> Recorded {
    let mut rec = Recorder::new(profile);
    let llama = Llama::new(&mut rec, config, Gradients::None);
    let inputs = BatchInputs::new(&mut rec, &llama, batch_size, sequence_length);
    let loss = rec.persistent(Class::Scratch, DType::F32, "evaluation loss", &[1]);
    rec.reserve_staging(ReadbackRing::bytes(&loss, RING_SLOTS));
    rec.begin(Plan::Evaluate);
    record_loss(&mut rec, &llama, &inputs, Loss { sum: &loss, scale: 1.0, output: Output::Write });
    Recorded { rec, llama, inputs, loss }
}

/// What is needed to replay [`Plan::Evaluate`] over batches.
#[derive(Clone, Copy)]
pub(super) struct Replay<'a> {
    pub gpu: &'a Gpu,
    pub workspace: &'a Workspace,
    pub inputs: &'a BatchInputs,
}

/// Replays over the windows of `tokens` and sums the losses read back: those of part `part` of `n` of their batches.
/// Returns the sum, and the number of tokens of all parts.
pub(super) async fn evaluate(
    Replay { gpu, workspace, inputs }: Replay<'_>,
    mut throttle: Option<&mut Throttle>,
    ring: &mut ReadbackRing,
    tokens: &Tokens,
    max_tokens: usize,
    [part, n]: [usize; 2],
) -> Result<(f64, u64)> {
    let windows = Windows::new(tokens, inputs.batch, inputs.seq, Some(max_tokens))?;
    while ring.pending() > 0 {
        take(gpu, ring).await?; // left over from an evaluation that failed midway
    }
    let n_ids = inputs.batch * inputs.seq;
    let (mut ids, mut targets) = (vec![0; n_ids], vec![0; n_ids]);
    let mut sum = 0.0;
    for batch in windows.n_batches() * part / n..windows.n_batches() * (part + 1) / n {
        ids.fill(0);
        let valid_rows = windows.fill(batch, &mut ids, &mut targets)?;
        targets[valid_rows * inputs.seq..].fill(IGNORE);
        write_batch(gpu, workspace, inputs, &ids, &targets);
        if !ring.has_room() {
            sum += take(gpu, ring).await?;
        }
        let plans = [Plan::Evaluate.name()];
        match &mut throttle {
            Some(throttle) => throttle.run(gpu, workspace, &plans, Schedule::All).await?,
            None => workspace.run(gpu, &plans),
        }
        ring.send(gpu, workspace, batch as u64);
    }
    while ring.pending() > 0 {
        sum += take(gpu, ring).await?;
    }
    Ok((sum, windows.n_predicted() as u64))
}

async fn take(gpu: &Gpu, ring: &mut ReadbackRing) -> Result<f64> {
    let (_, values) = ring.take(gpu).await?.expect("a batch on its way");
    Ok(f64::from(values[0]))
}

/// Writes a batch's ids, their order by id, and its targets.
pub(crate) fn write_batch(gpu: &Gpu, workspace: &Workspace, inputs: &BatchInputs, ids: &[u32], targets: &[u32]) {
    workspace.write(gpu, &inputs.tokens.ids, ids);
    workspace.write(gpu, &inputs.targets, targets);
    let (order, starts) = TokenBatch::sorted(ids);
    workspace.write(gpu, &inputs.tokens.order, &order);
    workspace.write(gpu, &inputs.tokens.starts, &starts);
}

/// Writes the constant tables.
pub(crate) fn write_tables(gpu: &Gpu, workspace: &Workspace, inputs: &BatchInputs) {
    let (cos, sin) = inputs.rope.values();
    workspace.write(gpu, &inputs.rope.cos, &cos);
    workspace.write(gpu, &inputs.rope.sin, &sin);
    workspace.write(gpu, &inputs.rope.start, &[0u32]);
}
