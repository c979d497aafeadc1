//! What is recorded of a micro-batch: its loss, alone or with the gradients of every parameter.

use super::blocks::Blocks;
use super::gradients::{GradientSink, OnGradient};
use super::head::Loss;
use super::inputs::BatchInputs;
use super::parameters::Llama;
use crate::Result;
use crate::gpu::{Recorder, Tensor};
use crate::kernels::Output;

/// Records the mean loss over `scale`⁻¹ tokens, without gradients: loss `[1]` (+)= scale · Σ −ln p(target).
pub fn record_loss(rec: &mut Recorder, llama: &Llama, inputs: &BatchInputs, loss: &Tensor, scale: f64, output: Output) {
    let blocks = Blocks::of(llama);
    let (normed, _) = blocks.forward(rec, &inputs.tokens.ids, |_| inputs.context());
    blocks.head.loss(rec, &normed, Loss { targets: &inputs.targets, sum: loss, scale, output });
}

/// Records loss `[1]` (+)= scale · Σ −ln p(target) over one micro-batch, and every gradient (+)= its derivative.
///
/// The first micro-batch of a step writes, the others accumulate.
/// Errors: those of `on_gradient`.
pub fn record_micro_step(
    rec: &mut Recorder,
    llama: &Llama,
    inputs: &BatchInputs,
    loss: &Tensor,
    scale: f64,
    output: Output,
    on_gradient: &mut OnGradient<'_>,
) -> Result<()> {
    let blocks = Blocks::of(llama);
    let mut sink = GradientSink { output, loss_scale: None, on_gradient };
    let (normed, kept) = blocks.forward(rec, &inputs.tokens.ids, |_| inputs.context());
    let loss = Loss { targets: &inputs.targets, sum: loss, scale, output };
    let dnormed = blocks.head.loss_and_gradient(rec, &normed, loss, &mut sink)?;
    blocks.backward(rec, &kept, inputs, &dnormed, &mut sink)
}
