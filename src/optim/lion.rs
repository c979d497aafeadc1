//! Lion (Chen et al. 2023, arXiv 2302.06675, algorithm 2): the sign of a momentum, one state a weight.

use super::{Group, Kept, StepTensors};
use crate::config::LionConfig;
use crate::gpu::Recorder;
use crate::kernels::lion::{LionConstants, lion};

pub(super) fn record(
    rec: &mut Recorder,
    group: &Group<'_>,
    step: StepTensors<'_>,
    hyper: &LionConfig,
    lr: f64,
) -> Kept {
    let exp_avg = group.state(rec, "exp_avg");
    let LionConfig { beta1, beta2, weight_decay } = *hyper;
    let constants = LionConstants { lr, beta1, beta2, weight_decay };
    lion(rec, &group.weight, &group.gradient, &exp_avg.tensor, step.statistics, step.step, constants);
    exp_avg
}
