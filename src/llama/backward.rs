//! Forward and backward in one record: the gradients of every parameter.

use super::forward::{BatchInputs, LayerActivations, forward};
use super::head;
use super::parameters::{Layer, Llama, Parameter};
use crate::Result;
use crate::gpu::{Class, DType, Recorder, Tensor};
use crate::kernels::attention::attention_backward;
use crate::kernels::embedding::embedding_backward;
use crate::kernels::fill::fill;
use crate::kernels::rms_norm::{rms_norm, rms_norm_backward};
use crate::kernels::rope::{Turn, rope};
use crate::kernels::swiglu::swiglu_backward;
use crate::kernels::{Output, matmul};

/// Called when the gradient of a parameter is whole and nothing in the backward pass reads its weight any more.
pub type OnGradient<'a> = dyn FnMut(&mut Recorder, &Parameter) -> Result<()> + 'a;

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
    let activations = forward(rec, llama, inputs);
    let dnormed = head::loss_and_gradient(rec, llama, inputs, &activations.normed, loss, scale, output);
    if !llama.config.tie_word_embeddings {
        on_gradient(rec, llama.head())?;
    }
    let eps = llama.config.rms_norm_eps;
    let norm = llama.final_norm();
    let dresidual = rec.transient(Class::Activations, DType::F32, "gradient of residual", &activations.last.shape);
    let dweight = (norm.gradient(), output);
    rms_norm_backward(rec, &activations.last, &norm.weight, &dnormed, (&dresidual, Output::Write), dweight, eps);
    on_gradient(rec, norm)?;
    for (index, kept) in activations.layers.iter().enumerate().rev() {
        let backward = LayerBackward { llama, inputs, layer: llama.layer(index), kept, output };
        backward.feed_forward(rec, &dresidual, on_gradient)?;
        backward.attention(rec, &dresidual, on_gradient)?;
    }
    let table = llama.embedding();
    if output == Output::Write && !llama.config.tie_word_embeddings {
        fill(rec, table.gradient(), 0.0);
    }
    embedding_backward(rec, &inputs.tokens, &dresidual, table.gradient());
    on_gradient(rec, table)
}

/// One layer's backward pass: each half turns the gradient of its output into that of its input, in place.
struct LayerBackward<'a> {
    llama: &'a Llama,
    inputs: &'a BatchInputs,
    layer: Layer<'a>,
    kept: &'a LayerActivations,
    output: Output,
}

impl LayerBackward<'_> {
    fn feed_forward(&self, rec: &mut Recorder, dresidual: &Tensor, on_gradient: &mut OnGradient<'_>) -> Result<()> {
        let Self { layer, kept, .. } = self;
        let dactivated = rec.transient(Class::Activations, DType::F32, "gradient of activated", &kept.gate.shape);
        matmul::nn(rec, dresidual, &layer.down.weight, &dactivated, Output::Write);
        swiglu_backward(rec, &kept.gate, &kept.up, &dactivated);
        let (dgate, dup, activated) = (&kept.gate, &kept.up, &dactivated);
        matmul::tn(rec, dresidual, activated, layer.down.gradient(), self.output);
        on_gradient(rec, layer.down)?;
        let projections = [(dgate, layer.gate), (dup, layer.up)];
        self.through_norm(rec, layer.post_norm, &kept.middle, &projections, dresidual, on_gradient)
    }

    fn attention(&self, rec: &mut Recorder, dresidual: &Tensor, on_gradient: &mut OnGradient<'_>) -> Result<()> {
        let Self { layer, kept, .. } = self;
        let shape = self.inputs.attention_shape(self.llama);
        let [q, k, v] = &kept.qkv;
        let dattended = rec.transient(Class::Activations, DType::F32, "gradient of attended", &kept.attended.shape);
        matmul::nn(rec, dresidual, &layer.o.weight, &dattended, Output::Write);
        matmul::tn(rec, dresidual, &kept.attended, layer.o.gradient(), self.output);
        on_gradient(rec, layer.o)?;
        let [dq, dk, dv] =
            [q, k, v].map(|x| rec.transient(Class::Activations, DType::F32, "gradient of q, k or v", &x.shape));
        attention_backward(rec, [q, k, v], &kept.attended, &kept.lse, &dattended, [&dq, &dk, &dv], shape);
        let turned = [(&dq, shape.heads), (&dk, shape.kv_heads)];
        rope(rec, turned, &self.inputs.rope, self.inputs.seq, Turn::Backward);
        let projections = [(&dq, layer.q), (&dk, layer.k), (&dv, layer.v)];
        self.through_norm(rec, layer.input_norm, &kept.input, &projections, dresidual, on_gradient)
    }

    /// Through linear layers that read one norm's output, and through that norm, onto the residual's gradient.
    fn through_norm(
        &self,
        rec: &mut Recorder,
        norm: &Parameter,
        residual: &Tensor,
        projections: &[(&Tensor, &Parameter)],
        dresidual: &Tensor,
        on_gradient: &mut OnGradient<'_>,
    ) -> Result<()> {
        let eps = self.llama.config.rms_norm_eps;
        let normed = rec.transient(Class::Activations, DType::F32, "normed", &residual.shape);
        rms_norm(rec, residual, &norm.weight, &normed, eps);
        let dnormed = rec.transient(Class::Activations, DType::F32, "gradient of normed", &residual.shape);
        for (index, (dy, projection)) in projections.iter().enumerate() {
            let first = if index == 0 { Output::Write } else { Output::Accumulate };
            matmul::nn(rec, dy, &projection.weight, &dnormed, first);
            matmul::tn(rec, dy, &normed, projection.gradient(), self.output);
            on_gradient(rec, projection)?;
        }
        let (dx, dweight) = ((dresidual, Output::Accumulate), (norm.gradient(), self.output));
        rms_norm_backward(rec, residual, &norm.weight, &dnormed, dx, dweight, eps);
        on_gradient(rec, norm)
    }
}
