//! Adam (Kingma & Ba, 2015) and AdamW (Loshchilov & Hutter, 2019): two moments a weight.

use super::{State, StepTensors, Update};
use crate::config::AdamwConfig;
use crate::gpu::Recorder;
use crate::kernels::adamw::{AdamwConstants, adamw};

pub(super) fn record(
    rec: &mut Recorder,
    update: &Update<'_>,
    step: StepTensors<'_>,
    hyper: &AdamwConfig,
    lr: f64,
) -> [State; 2] {
    let states = ["exp_avg", "exp_avg_sq"].map(|what| State::like_weight(rec, update, what));
    let AdamwConfig { beta1, beta2, eps, weight_decay } = *hyper;
    let constants = AdamwConstants { lr, beta1, beta2, eps, weight_decay };
    let moments = [&states[0].tensor, &states[1].tensor];
    adamw(rec, update.weight, update.gradient, moments, step.statistics, step.step, constants);
    states
}
