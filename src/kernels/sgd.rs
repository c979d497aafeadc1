//! The SGD update, plain and with momentum.

use super::element_wise;
use crate::gpu::{Recorder, Tensor, kernels};

kernels! {
    SGD = "sgd" + "step" + "scalar";
    SGD_VEC4 = "sgd_vec4": "sgd" + "step" + "vec4";
    SGD_MOMENTUM = "sgd_momentum" + "step" + "scalar";
    SGD_MOMENTUM_VEC4 = "sgd_momentum_vec4": "sgd_momentum" + "step" + "vec4";
}

/// w −= lr (g + weight_decay w), in place; `statistics` holds the clip factor.
pub fn sgd(
    rec: &mut Recorder,
    weight: &Tensor,
    gradient: &Tensor,
    statistics: &Tensor,
    step: &Tensor,
    lr: f64,
    weight_decay: f64,
) {
    assert_eq!(weight.shape, gradient.shape, "sgd");
    let constants = [("LR", lr), ("WEIGHT_DECAY", weight_decay)];
    let bindings = [weight, gradient, statistics, step];
    element_wise(rec, [&SGD_VEC4, &SGD], &bindings, weight.len(), &constants);
}

/// Hyperparameters of SGD with momentum.
#[derive(Clone, Copy, Debug)]
pub struct MomentumConstants {
    /// Learning rate before the schedule.
    pub lr: f64,
    /// Decay of the momentum buffer.
    pub momentum: f64,
    /// Whether to use Nesterov momentum.
    pub nesterov: bool,
    /// Weight decay added to the gradient.
    pub weight_decay: f64,
}

/// SGD with momentum, weight and buffer in place; the buffer is zero before the first step.
pub fn sgd_momentum(
    rec: &mut Recorder,
    weight: &Tensor,
    gradient: &Tensor,
    momentum_buffer: &Tensor,
    statistics: &Tensor,
    step: &Tensor,
    hyper: MomentumConstants,
) {
    assert_eq!(weight.shape, gradient.shape, "sgd_momentum");
    let constants = [
        ("LR", hyper.lr),
        ("MOMENTUM", hyper.momentum),
        ("NESTEROV", f64::from(u8::from(hyper.nesterov))),
        ("WEIGHT_DECAY", hyper.weight_decay),
    ];
    let bindings = [weight, gradient, momentum_buffer, statistics, step];
    element_wise(rec, [&SGD_MOMENTUM_VEC4, &SGD_MOMENTUM], &bindings, weight.len(), &constants);
}
