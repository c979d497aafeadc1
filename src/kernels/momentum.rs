//! Momentum before the passes.

use super::{element_wise, flag};
use crate::gpu::{Recorder, Tensor, kernels};

kernels! {
    AVERAGE = "average" + "scalar";
    AVERAGE_VEC4 = "average_vec4": "average" + "vec4";
}

/// M ← β·M + (1 − β)·X.
#[derive(Clone, Copy, Debug)]
pub struct Average {
    /// β.
    pub beta: f64,
    /// Nesterov momentum: passes on β·M + (1 − β)·X instead of M.
    pub nesterov: bool,
}

impl Average {
    pub(super) fn constants(self) -> [(&'static str, f64); 3] {
        [("BETA", self.beta), ("REST", 1.0 - self.beta), flag("NESTEROV", self.nesterov)]
    }
}

/// Averages the gradient into the momentum and writes the result for the passes to `lookahead`; all have one shape.
/// `statistics` holds the clip factor.
pub fn average(
    rec: &mut Recorder,
    gradient: &Tensor,
    momentum: &Tensor,
    lookahead: &Tensor,
    statistics: &Tensor,
    hyper: Average,
) {
    assert_eq!(gradient.shape, momentum.shape, "average: gradient and momentum");
    assert_eq!(gradient.shape, lookahead.shape, "average: gradient and what goes on");
    let bindings = [gradient, momentum, lookahead, statistics];
    element_wise(rec, [&AVERAGE_VEC4, &AVERAGE], &bindings, gradient.len(), &hyper.constants());
}
