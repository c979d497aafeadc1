//! Where the backward pass puts the parameters' gradients.

use super::parameters::Parameter;
use crate::Result;
use crate::gpu::Recorder;
use crate::kernels::loss_scale::LossScale;
use crate::kernels::{Output, Target};

/// Called when a parameter's gradient is complete and the backward pass no longer reads its weight.
pub type OnGradient<'a> = dyn FnMut(&mut Recorder, &Parameter) -> Result<()> + 'a;

/// What every block's backward pass receives.
pub(super) struct GradientSink<'a, 'b> {
    /// Whether to write parameter gradients, or to add to those of earlier micro-batches.
    pub output: Output,
    /// The factor on activation gradients; `None` if they are unscaled.
    pub loss_scale: Option<&'a LossScale>,
    pub on_gradient: &'a mut OnGradient<'b>,
}

impl GradientSink<'_, '_> {
    /// The target for a parameter's gradient.
    pub fn target<'t>(&'t self, parameter: &'t Parameter) -> Target<'t> {
        let factor = self.loss_scale.map(|loss_scale| &loss_scale.inverse);
        Target { tensor: parameter.gradient(), output: self.output, factor }
    }

    /// Reports that a parameter's gradient is complete.
    pub fn whole(&mut self, rec: &mut Recorder, parameter: &Parameter) -> Result<()> {
        (self.on_gradient)(rec, parameter)
    }
}
