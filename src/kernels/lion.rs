//! The Lion update.

use super::element_wise;
use crate::gpu::{Recorder, Tensor, kernels};

kernels! {
    LION = "lion" + "step" + "scalar";
    LION_VEC4 = "lion_vec4": "lion" + "step" + "vec4";
}

/// Hyperparameters of Lion.
#[derive(Clone, Copy, Debug)]
pub struct LionConstants {
    /// Learning rate before the schedule.
    pub lr: f64,
    /// Weight of the momentum in the update.
    pub beta1: f64,
    /// Decay of the momentum.
    pub beta2: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
}

/// Updates the weight and its momentum in place; `statistics` holds the clip factor.
pub fn lion(
    rec: &mut Recorder,
    weight: &Tensor,
    gradient: &Tensor,
    exp_avg: &Tensor,
    statistics: &Tensor,
    step: &Tensor,
    hyper: LionConstants,
) {
    assert_eq!(weight.shape, gradient.shape, "lion");
    assert_eq!(weight.shape, exp_avg.shape, "lion");
    let constants = [
        ("LR", hyper.lr),
        ("BETA1", hyper.beta1),
        ("BETA2", hyper.beta2),
        ("ONE_MINUS_BETA1", 1.0 - hyper.beta1),
        ("ONE_MINUS_BETA2", 1.0 - hyper.beta2),
        ("WEIGHT_DECAY", hyper.weight_decay),
    ];
    let bindings = [weight, gradient, exp_avg, statistics, step];
    element_wise(rec, [&LION_VEC4, &LION], &bindings, weight.len(), &constants);
}
