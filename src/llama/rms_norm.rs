//! The norms before each block and before the head, and the residual stream that they read.

use super::gradients::GradientSink;
use super::linear::Linear;
use super::parameters::Parameter;
use crate::Result;
use crate::gpu::{Class, DType, Recorder, Tensor};
use crate::kernels::Output;
use crate::kernels::rms_norm::{InputGradient, add_rms_norm, rms_norm, rms_norm_backward};

/// y = x · rsqrt(mean(x²) + eps) · weight, per row.
#[derive(Clone, Copy)]
pub(super) struct RmsNorm<'a> {
    pub weight: &'a Parameter,
    pub eps: f64,
    /// Type of y, and of all activations up to the next residual stream.
    pub activations: DType,
}

/// The residual stream between two blocks.
#[derive(Clone)]
pub(super) struct Stream {
    /// `[N, C]` the sum of the embedding and all block outputs so far.
    pub residual: Tensor,
    /// `[N, C]` its norm, the input of the next block.
    pub normed: Tensor,
}

/// The gradient of the residual stream during the backward pass.
pub(super) struct ResidualGradient {
    /// `[N, C]`, f32: a sum over blocks.
    pub sum: Tensor,
    /// The tensor that products read: `sum` itself, or an f16 copy.
    pub read: Tensor,
}

impl ResidualGradient {
    /// For blocks with activations of this type.
    pub fn new(rec: &mut Recorder, shape: &[usize], activations: DType) -> Self {
        let sum = rec.transient(Class::Activations, DType::F32, "gradient of residual", shape);
        let read = match activations {
            DType::F32 => sum.clone(),
            other => rec.transient(Class::Activations, other, "gradient of residual, copied", shape),
        };
        Self { sum, read }
    }
}

impl RmsNorm<'_> {
    /// The norm of x, both `[N, C]`.
    pub fn forward(&self, rec: &mut Recorder, x: &Tensor) -> Tensor {
        let normed = rec.transient(Class::Activations, self.activations, "normed", &x.shape);
        rms_norm(rec, x, &self.weight.weight, &normed, self.eps);
        normed
    }

    /// The residual stream `[N, C]` together with its norm.
    pub fn stream(&self, rec: &mut Recorder, residual: Tensor) -> Stream {
        let normed = self.forward(rec, &residual);
        Stream { residual, normed }
    }

    /// Adds a block's output to the residual stream and normalizes the sum, in one kernel.
    pub fn add(&self, rec: &mut Recorder, stream: &Stream, delta: &Tensor) -> Stream {
        let shape = &stream.residual.shape;
        let residual = rec.transient(Class::Activations, DType::F32, "residual", shape);
        let normed = rec.transient(Class::Activations, self.activations, "normed", shape);
        add_rms_norm(rec, &stream.residual, delta, &self.weight.weight, &residual, &normed, self.eps);
        Stream { residual, normed }
    }

    /// dx (+)= the gradient through the norm of x, and the weight's gradient.
    pub fn backward(
        &self,
        rec: &mut Recorder,
        x: &Tensor,
        dnormed: &Tensor,
        (dx, output): (&ResidualGradient, Output),
        sink: &mut GradientSink<'_, '_>,
    ) -> Result<()> {
        let copy = (dx.read != dx.sum).then_some(&dx.read);
        let dx = InputGradient { tensor: &dx.sum, output, copy };
        rms_norm_backward(rec, x, &self.weight.weight, dnormed, dx, sink.target(self.weight), self.eps);
        sink.whole(rec, self.weight)
    }

    /// Backpropagates through linear layers that read the norm of x, and through the norm; adds the result to `dx`, the
    /// gradient of the residual stream. The norm is recomputed.
    pub fn backward_from(
        &self,
        rec: &mut Recorder,
        x: &Tensor,
        readers: &[(Linear<'_>, &Tensor)],
        dx: &ResidualGradient,
        sink: &mut GradientSink<'_, '_>,
    ) -> Result<()> {
        let normed = self.forward(rec, x);
        let dnormed = rec.transient(Class::Activations, self.activations, "gradient of normed", &x.shape);
        for (index, (reader, dy)) in readers.iter().enumerate() {
            let output = if index == 0 { Output::Write } else { Output::Accumulate };
            reader.input_gradient(rec, dy, &dnormed, output);
            reader.weight_gradient(rec, dy, &normed, sink)?;
        }
        self.backward(rec, x, &dnormed, (dx, Output::Accumulate), sink)
    }
}
