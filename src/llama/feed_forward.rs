//! The feed-forward block: SwiGLU, with optional adapters.

use super::adapter::Adapters;
use super::gradients::GradientSink;
use super::linear::Linear;
use super::rms_norm::{ResidualGradient, RmsNorm, Stream};
use super::units::LayerUnits;
use crate::Result;
use crate::gpu::{Class, Recorder, Tensor};
use crate::kernels::Output;
use crate::kernels::swiglu::{swiglu, swiglu_backward, swiglu_of_products};

/// delta = down( silu(gate(h)) ⊙ up(h) ), with h the norm of the residual stream.
pub(super) struct FeedForward<'a> {
    pub norm: RmsNorm<'a>,
    pub gate: Linear<'a>,
    pub up: Linear<'a>,
    pub down: Linear<'a>,
    /// Before gate, before up and after down.
    pub adapters: Option<Adapters<'a>>,
    /// Of the input of `down`.
    pub units: Option<LayerUnits>,
}

/// What the backward pass needs; N tokens, C hidden, F intermediate.
pub(super) struct Saved {
    /// `[N, C]` residual stream before the block.
    residual: Tensor,
    /// `[N, F]`.
    gate: Tensor,
    /// `[N, F]`.
    up: Tensor,
}

impl FeedForward<'_> {
    /// The block's contribution to the residual stream, `[N, C]`.
    pub fn forward(&self, rec: &mut Recorder, stream: &Stream) -> (Tensor, Saved) {
        let (saved, activated) = self.activated(rec, stream);
        if let Some(units) = &self.units {
            units.apply(rec, &activated);
        }
        let mut delta = self.down.forward(rec, &activated);
        if let Some(adapters) = &self.adapters {
            delta = adapters.after_down.forward(rec, &delta);
        }
        (delta, saved)
    }

    /// silu(gate(h)) ⊙ up(h), `[N, F]`, and the tensors it was computed from.
    fn activated(&self, rec: &mut Recorder, stream: &Stream) -> (Saved, Tensor) {
        let like =
            |rec: &mut Recorder, gate: &Tensor| rec.transient(Class::Activations, gate.dtype, "activated", &gate.shape);
        // Gate and up have the same input, and each is a single product, so one kernel can compute both with the
        // activation.
        if let (None, Some(to_gate), Some(to_up)) = (&self.adapters, self.gate.only_weight(), self.up.only_weight()) {
            let x = &stream.normed;
            let [gate, up] = [self.gate, self.up].map(|linear| linear.output(rec, x));
            let activated = like(rec, &gate);
            swiglu_of_products(rec, x, [to_gate, to_up], [&gate, &up, &activated]);
            return (Saved { residual: stream.residual.clone(), gate, up }, activated);
        }
        let saved = self.forward_saved(rec, stream);
        let activated = like(rec, &saved.gate);
        swiglu(rec, &saved.gate, &saved.up, &activated);
        (saved, activated)
    }

    /// The forward pass, as far as the backward pass needs it.
    pub fn forward_saved(&self, rec: &mut Recorder, stream: &Stream) -> Saved {
        let normed = &stream.normed;
        let [to_gate, to_up] = match &self.adapters {
            Some(adapters) => [&adapters.before_gate, &adapters.before_up].map(|adapter| adapter.forward(rec, normed)),
            None => [normed.clone(), normed.clone()],
        };
        let gate = self.gate.forward(rec, &to_gate);
        let up = self.up.forward(rec, &to_up);
        Saved { residual: stream.residual.clone(), gate, up }
    }

    /// Turns the gradient of the residual stream after the block into the gradient before it, in place. The saved gate
    /// and up are overwritten with their gradients.
    ///
    /// Panics in a model with adapters, which are trained without gradients.
    pub fn backward(
        &self,
        rec: &mut Recorder,
        Saved { residual, gate, up }: &Saved,
        dresidual: &ResidualGradient,
        sink: &mut GradientSink<'_, '_>,
    ) -> Result<()> {
        assert!(self.adapters.is_none(), "adapters have no backward pass");
        // Starts as the gradient of silu(gate) ⊙ up; `swiglu_backward` overwrites it with silu(gate) ⊙ up itself.
        let activated = rec.transient(Class::Activations, gate.dtype, "gradient of activated", &gate.shape);
        self.down.input_gradient(rec, &dresidual.read, &activated, Output::Write);
        swiglu_backward(rec, gate, up, &activated);
        self.down.weight_gradient(rec, &dresidual.read, &activated, sink)?;
        let (dgate, dup) = (gate, up);
        self.norm.backward_from(rec, residual, &[(self.gate, dgate), (self.up, dup)], dresidual, sink)
    }
}
