//! Extrapolated SGD (Lin, Kong, Stich & Jaggi 2020, arXiv 2006.05720): the gradient is taken at
//! w½ = w − γ̂·(the gradient of the step before), and w moves along it.
//!
//! The extrapolation stands at the beginning of a step's first plan, before the forward pass, and the update takes it
//! back; evaluations and checkpoints see w itself. One state a weight: the last gradient.

use super::{Group, Kept, StepTensors};
use crate::config::ExtrapolatedSgdConfig;
use crate::gpu::Recorder;
use crate::kernels::extrapolated_sgd::{extrapolate, extrapolated_sgd};

/// Records what comes before the forward pass; the last gradient, which the update wants.
pub(super) fn record_ahead(
    rec: &mut Recorder,
    group: &Group<'_>,
    step: StepTensors<'_>,
    hyper: &ExtrapolatedSgdConfig,
    lr: f64,
) -> Kept {
    let previous = group.state(rec, "previous_gradient");
    extrapolate(rec, &group.weight, &previous.tensor, step.step, hyper.extrapolation * lr);
    previous
}

/// Panics without what [`record_ahead`] returned.
pub(super) fn record(
    rec: &mut Recorder,
    group: &Group<'_>,
    step: StepTensors<'_>,
    hyper: &ExtrapolatedSgdConfig,
    lr: f64,
) -> Kept {
    let previous = group.ahead.clone().expect("the extrapolation was recorded before the update");
    let shared = [step.statistics, step.step];
    let rates = [lr, hyper.extrapolation * lr, hyper.weight_decay];
    extrapolated_sgd(rec, &group.weight, &group.gradient, &previous.tensor, shared, rates);
    previous
}
