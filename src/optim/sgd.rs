//! Stochastic gradient descent, stateless unless it has momentum.

use super::{State, StepTensors, Update};
use crate::config::SgdConfig;
use crate::gpu::Recorder;
use crate::kernels::sgd::{MomentumConstants, sgd, sgd_momentum};

pub(super) fn record(
    rec: &mut Recorder,
    update: &Update<'_>,
    step: StepTensors<'_>,
    hyper: &SgdConfig,
    lr: f64,
) -> Option<State> {
    let SgdConfig { momentum, weight_decay, nesterov } = *hyper;
    if momentum == 0.0 {
        sgd(rec, update.weight, update.gradient, step.statistics, step.step, lr, weight_decay);
        return None;
    }
    let buffer = State::like_weight(rec, update, "momentum_buffer");
    let constants = MomentumConstants { lr, momentum, nesterov, weight_decay };
    sgd_momentum(rec, update.weight, update.gradient, &buffer.tensor, step.statistics, step.step, constants);
    Some(buffer)
}
