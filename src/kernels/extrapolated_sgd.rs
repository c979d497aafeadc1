//! SGD with gradients taken at extrapolated points.

use super::WORKGROUP_SIZE;
use crate::gpu::{Recorder, Tensor, grid, kernels};

kernels! {
    EXTRAPOLATE = "extrapolate" + "step";
    EXTRAPOLATED_SGD = "extrapolated_sgd" + "step";
}

/// w −= rate · previous, in place; `rate` is before the schedule.
pub fn extrapolate(rec: &mut Recorder, weight: &Tensor, previous: &Tensor, step: &Tensor, rate: f64) {
    assert_eq!(weight.shape, previous.shape, "extrapolate");
    let len = weight.len();
    let constants = [("LEN", len as f64), ("LR", rate)];
    rec.dispatch(&EXTRAPOLATE, &[weight, previous, step], &constants, grid(len.div_ceil(WORKGROUP_SIZE)));
}

/// w += ahead · previous; w −= lr (g + weight_decay w); previous ← g; `statistics` holds the clip factor.
pub fn extrapolated_sgd(
    rec: &mut Recorder,
    weight: &Tensor,
    gradient: &Tensor,
    previous: &Tensor,
    [statistics, step]: [&Tensor; 2],
    [lr, lookahead, weight_decay]: [f64; 3],
) {
    assert_eq!(weight.shape, gradient.shape, "extrapolated_sgd");
    let len = weight.len();
    let constants = [("LEN", len as f64), ("LR", lr), ("LOOKAHEAD", lookahead), ("WEIGHT_DECAY", weight_decay)];
    let bindings = [weight, gradient, previous, statistics, step];
    rec.dispatch(&EXTRAPOLATED_SGD, &bindings, &constants, grid(len.div_ceil(WORKGROUP_SIZE)));
}
