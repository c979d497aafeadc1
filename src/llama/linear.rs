//! A linear layer without a bias.

use super::gradients::GradientSink;
use super::parameters::Parameter;
use crate::Result;
use crate::gpu::{Class, Recorder, Tensor};
use crate::kernels::{Output, matmul};

/// y = x wᵀ, w `[out, in]`.
#[derive(Clone, Copy)]
pub(super) struct Linear<'a>(pub &'a Parameter);

impl Linear<'_> {
    /// `[N, out]` of x `[N, in]`.
    pub fn forward(&self, rec: &mut Recorder, x: &Tensor) -> Tensor {
        let y = rec.transient(Class::Activations, x.dtype, "linear", &[x.shape[0], self.0.weight.shape[0]]);
        self.forward_to(rec, x, &y);
        y
    }

    /// The same into a tensor that is there.
    pub fn forward_to(&self, rec: &mut Recorder, x: &Tensor, y: &Tensor) {
        matmul::nt(rec, x, &self.0.weight, y, Output::Write);
    }

    /// dx (+)= dy w.
    pub fn input_gradient(&self, rec: &mut Recorder, dy: &Tensor, dx: &Tensor, output: Output) {
        matmul::nn(rec, dy, &self.0.weight, dx, output);
    }

    /// dw (+)= dyᵀ x, after which nothing reads w any more: the input's gradient comes first.
    pub fn weight_gradient(
        &self,
        rec: &mut Recorder,
        dy: &Tensor,
        x: &Tensor,
        sink: &mut GradientSink<'_, '_>,
    ) -> Result<()> {
        matmul::weight_gradient(rec, dy, x, sink.target(self.0));
        sink.whole(rec, self.0)
    }
}
