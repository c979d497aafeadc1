//! Where the backward pass leaves the gradients of parameters.

use super::parameters::Parameter;
use crate::Result;
use crate::gpu::Recorder;
use crate::kernels::Output;

/// Called when the gradient of a parameter is whole and nothing in the backward pass reads its weight any more.
pub type OnGradient<'a> = dyn FnMut(&mut Recorder, &Parameter) -> Result<()> + 'a;

/// What every block's backward pass is given.
pub(super) struct GradientSink<'a, 'b> {
    /// Whether gradients of parameters are written, or added to those of earlier micro-batches.
    pub output: Output,
    pub on_gradient: &'a mut OnGradient<'b>,
}

impl GradientSink<'_, '_> {
    /// Tells that a parameter's gradient is whole.
    pub fn whole(&mut self, rec: &mut Recorder, parameter: &Parameter) -> Result<()> {
        (self.on_gradient)(rec, parameter)
    }
}
