//! What is recorded of a micro-batch: its loss, alone or with the gradients of every parameter.

use super::blocks::Blocks;
use super::gradients::{GradientSink, OnGradient};
use super::head::Loss;
use super::inputs::BatchInputs;
use super::parameters::Llama;
use crate::Result;
use crate::gpu::Recorder;
use crate::settings::Recompute;

/// Records the loss of one micro-batch, without gradients.
pub fn record_loss(rec: &mut Recorder, llama: &Llama, inputs: &BatchInputs, loss: Loss<'_>) {
    let blocks = Blocks::of(llama);
    let (normed, _) = blocks.forward(rec, &inputs.tokens.ids, |_| inputs.context());
    blocks.head.loss(rec, &normed, &inputs.targets, loss);
}

/// Records the loss of one micro-batch, and every gradient (+)= its derivative.
///
/// Errors: those of `on_gradient`.
pub fn record_micro_step(
    rec: &mut Recorder,
    llama: &Llama,
    inputs: &BatchInputs,
    loss: Loss<'_>,
    recompute: Recompute,
    on_gradient: &mut OnGradient<'_>,
) -> Result<()> {
    let blocks = Blocks::of(llama);
    let mut sink = GradientSink { output: loss.output, on_gradient };
    let (normed, saved) = blocks.forward(rec, &inputs.tokens.ids, |_| inputs.context());
    let dnormed = blocks.head.loss_and_gradient(rec, &normed, &inputs.targets, loss, &mut sink)?;
    blocks.backward(rec, saved.without(recompute), inputs, &dnormed, &mut sink)
}
