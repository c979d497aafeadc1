//! Where the backward pass leaves the gradients of parameters.

use super::parameters::Parameter;
use crate::Result;
use crate::gpu::Recorder;
use crate::kernels::loss_scale::LossScale;
use crate::kernels::{Output, Target};

/// Called when the gradient of a parameter is whole and nothing in the backward pass reads its weight any more.
pub type OnGradient<'a> = dyn FnMut(&mut Recorder, &Parameter) -> Result<()> + 'a;

/// What every block's backward pass is given.
pub(super) struct GradientSink<'a, 'b> {
    /// Whether gradients of parameters are written, or added to those of earlier micro-batches.
    pub output: Output,
    /// What activations' gradients are multiplied by; none where they are what they are.
    pub loss_scale: Option<&'a LossScale>,
    pub on_gradient: &'a mut OnGradient<'b>,
}

impl GradientSink<'_, '_> {
    /// Where the gradient of a parameter goes.
    pub fn target<'t>(&'t self, parameter: &'t Parameter) -> Target<'t> {
        let factor = self.loss_scale.map(|loss_scale| &loss_scale.inverse);
        Target { tensor: parameter.gradient(), output: self.output, factor }
    }

    /// Tells that a parameter's gradient is whole.
    pub fn whole(&mut self, rec: &mut Recorder, parameter: &Parameter) -> Result<()> {
        (self.on_gradient)(rec, parameter)
    }
}
