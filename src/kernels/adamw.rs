//! The Adam and AdamW update.

use super::{element_wise, log_decay};
use crate::gpu::{Recorder, Tensor, kernels};

kernels! {
    ADAMW = "adamw" + "step" + "scalar";
    ADAMW_VEC4 = "adamw_vec4": "adamw" + "step" + "vec4";
}

/// Hyperparameters of the update.
#[derive(Clone, Copy, Debug)]
pub struct AdamwConstants {
    /// Learning rate before the schedule.
    pub lr: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
}

/// Updates weight, exp_avg and exp_avg_sq in place, all of one shape; `statistics` holds the clip factor.
pub fn adamw(
    rec: &mut Recorder,
    weight: &Tensor,
    gradient: &Tensor,
    moments: [&Tensor; 2],
    statistics: &Tensor,
    step: &Tensor,
    hyper: AdamwConstants,
) {
    assert_eq!(weight.shape, gradient.shape, "adamw");
    let constants = [
        ("LR", hyper.lr),
        ("BETA1", hyper.beta1),
        ("BETA2", hyper.beta2),
        ("ONE_MINUS_BETA1", 1.0 - hyper.beta1),
        ("ONE_MINUS_BETA2", 1.0 - hyper.beta2),
        ("LOG_BETA1", log_decay(hyper.beta1)),
        ("LOG_BETA2", log_decay(hyper.beta2)),
        ("EPS", hyper.eps),
        ("WEIGHT_DECAY", hyper.weight_decay),
    ];
    let bindings = [weight, gradient, moments[0], moments[1], statistics, step];
    element_wise(rec, [&ADAMW_VEC4, &ADAMW], &bindings, weight.len(), &constants);
}
