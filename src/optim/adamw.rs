//! Adam (Kingma & Ba, 2015) and AdamW (Loshchilov & Hutter, 2019): two moments a weight.

use super::{Group, Kept, StepTensors};
use crate::config::AdamwConfig;
use crate::gpu::Recorder;
use crate::kernels::adamw::{AdamwConstants, adamw};

pub(super) fn record(
    rec: &mut Recorder,
    group: &Group<'_>,
    step: StepTensors<'_>,
    hyper: &AdamwConfig,
    lr: f64,
) -> [Kept; 2] {
    let states = ["exp_avg", "exp_avg_sq"].map(|what| group.state(rec, what));
    let AdamwConfig { beta1, beta2, eps, weight_decay } = *hyper;
    let constants = AdamwConstants { lr, beta1, beta2, eps, weight_decay };
    let moments = [&states[0].tensor, &states[1].tensor];
    adamw(rec, &group.weight, &group.gradient, moments, step.statistics, step.step, constants);
    states
}
