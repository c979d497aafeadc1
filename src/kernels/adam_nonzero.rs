//! The Adam update with a second moment that does not start at 0.

use super::{WORKGROUP_SIZE, log_decay};
use crate::gpu::{Recorder, Tensor, grid, kernels};

kernels! {
    ADAM_NONZERO = "adam_nonzero" + "step" + "random";
}

/// Hyperparameters of the update.
#[derive(Clone, Copy, Debug)]
pub struct AdamNonzeroConstants {
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
    /// Factor on the initial second moment.
    pub start: f64,
    /// Batches used to estimate the initial second moment; 0 draws it at random.
    pub batches: u32,
    /// Random stream of the initial values.
    pub stream: u32,
    /// Whether to correct the second moment as if it had started at 0.
    pub bias_correction: bool,
}

/// Updates weight, exp_avg and exp_avg_sq in place, all of one shape; `statistics` holds the clip factor.
pub fn adam_nonzero(
    rec: &mut Recorder,
    weight: &Tensor,
    gradient: &Tensor,
    moments: [&Tensor; 2],
    [statistics, step]: [&Tensor; 2],
    hyper: AdamNonzeroConstants,
) {
    assert_eq!(weight.shape, gradient.shape, "adam_nonzero");
    let len = weight.len();
    let constants = [
        ("LEN", len as f64),
        ("LR", hyper.lr),
        ("BETA1", hyper.beta1),
        ("BETA2", hyper.beta2),
        ("ONE_MINUS_BETA1", 1.0 - hyper.beta1),
        ("ONE_MINUS_BETA2", 1.0 - hyper.beta2),
        ("LOG_BETA1", log_decay(hyper.beta1)),
        ("LOG_BETA2", log_decay(hyper.beta2)),
        ("EPS", hyper.eps),
        ("WEIGHT_DECAY", hyper.weight_decay),
        ("START", hyper.start),
        ("BATCHES", hyper.batches.into()),
        ("STREAM", hyper.stream.into()),
        ("CORRECTS", f64::from(u8::from(hyper.bias_correction))),
    ];
    let bindings = [weight, gradient, moments[0], moments[1], statistics, step];
    rec.dispatch(&ADAM_NONZERO, &bindings, &constants, grid(len.div_ceil(WORKGROUP_SIZE)));
}
