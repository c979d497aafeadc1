//! Stochastic gradient descent, stateless unless it has momentum.

use super::{Group, Kept, StepTensors};
use crate::config::SgdConfig;
use crate::gpu::Recorder;
use crate::kernels::sgd::{MomentumConstants, sgd, sgd_momentum};

pub(super) fn record(
    rec: &mut Recorder,
    group: &Group<'_>,
    step: StepTensors<'_>,
    hyper: &SgdConfig,
    lr: f64,
) -> Option<Kept> {
    let SgdConfig { momentum, weight_decay, nesterov } = *hyper;
    if momentum == 0.0 {
        sgd(rec, &group.weight, &group.gradient, step.statistics, step.step, lr, weight_decay);
        return None;
    }
    let buffer = group.state(rec, "momentum_buffer");
    let constants = MomentumConstants { lr, momentum, nesterov, weight_decay };
    sgd_momentum(rec, &group.weight, &group.gradient, &buffer.tensor, step.statistics, step.step, constants);
    Some(buffer)
}
