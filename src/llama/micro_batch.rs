//! Records a micro-batch: its loss, alone or with every parameter's gradient.

use super::blocks::Blocks;
use super::gradients::{GradientSink, OnGradient};
use super::head::Loss;
use super::inputs::BatchInputs;
use super::parameters::Llama;
use super::units::Units;
use crate::Result;
use crate::gpu::{DType, Recorder};
use crate::kernels::loss_scale::LossScale;
use crate::settings::Recompute;

/// Records the loss of one micro-batch, without gradients.
pub fn record_loss(rec: &mut Recorder, llama: &Llama, inputs: &BatchInputs, loss: Loss<'_>) {
    record_loss_of(rec, &Blocks::of(llama, DType::F32), inputs, loss);
}

/// The same with units masked or measured.
pub fn record_loss_of_units(rec: &mut Recorder, llama: &Llama, inputs: &BatchInputs, units: Units<'_>, loss: Loss<'_>) {
    record_loss_of(rec, &Blocks::of(llama, DType::F32).with_units(units), inputs, loss);
}

fn record_loss_of(rec: &mut Recorder, blocks: &Blocks<'_>, inputs: &BatchInputs, loss: Loss<'_>) {
    let (normed, _) = blocks.forward(rec, &inputs.tokens.ids, |_| inputs.context());
    blocks.head.loss(rec, &normed, &inputs.targets, loss);
}

/// Records the loss of one micro-batch, and every gradient (+)= its derivative. With a loss scale, activations and
/// their gradients are f16, except for the residual stream.
///
/// Errors: those of `on_gradient`.
pub fn record_micro_step(
    rec: &mut Recorder,
    llama: &Llama,
    inputs: &BatchInputs,
    loss: Loss<'_>,
    recompute: Recompute,
    loss_scale: Option<&LossScale>,
    on_gradient: &mut OnGradient<'_>,
) -> Result<()> {
    let activations = if loss_scale.is_some() { DType::F16 } else { DType::F32 };
    let blocks = Blocks::of(llama, activations);
    let mut sink = GradientSink { output: loss.output, loss_scale, on_gradient };
    let (normed, saved) = blocks.forward(rec, &inputs.tokens.ids, |_| inputs.context());
    let dnormed = blocks.head.loss_and_gradient(rec, &normed, &inputs.targets, loss, &mut sink)?;
    blocks.backward(rec, saved.without(recompute), inputs, &dnormed, &mut sink)
}
