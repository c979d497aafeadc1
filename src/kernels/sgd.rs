//! The update of SGD, plain and with momentum.

use super::LANES;
use crate::gpu::{Recorder, Tensor, grid, kernels};

kernels! {
    SGD = "sgd" + "step";
    SGD_MOMENTUM = "sgd_momentum" + "step";
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
    let len = weight.len();
    let constants = [("LEN", len as f64), ("LR", lr), ("WEIGHT_DECAY", weight_decay)];
    rec.dispatch(&SGD, &[weight, gradient, statistics, step], &constants, grid(len.div_ceil(LANES)));
}

/// Hyper-parameters of SGD with momentum.
#[derive(Clone, Copy, Debug)]
pub struct MomentumConstants {
    /// Learning rate before the schedule.
    pub lr: f64,
    /// Decay of the momentum buffer.
    pub momentum: f64,
    /// Nesterov's look-ahead.
    pub nesterov: bool,
    /// Decay added to the gradient.
    pub weight_decay: f64,
}

/// SGD with a momentum buffer, both in place; the buffer is zero before the first step.
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
    let len = weight.len();
    let constants = [
        ("LEN", len as f64),
        ("LR", hyper.lr),
        ("MOMENTUM", hyper.momentum),
        ("NESTEROV", f64::from(u8::from(hyper.nesterov))),
        ("WEIGHT_DECAY", hyper.weight_decay),
    ];
    let bindings = [weight, gradient, momentum_buffer, statistics, step];
    rec.dispatch(&SGD_MOMENTUM, &bindings, &constants, grid(len.div_ceil(LANES)));
}
