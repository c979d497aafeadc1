//! Multi-normalized gradient descent (arXiv 2502.06742, algorithms 1 and 2): `W ← W − lr · α · passes(G)`.
//!
//! SinkGD (algorithms 3 and 4) is `row, column` five times. Without momentum nothing is carried from step to step.

use super::iterate::Iterate;
use super::{Group, Kept, StepTensors};
use crate::Result;
use crate::config::{MomentumPlacement, PassProgram};
use crate::gpu::{Class, DType, Recorder};
use crate::kernels::momentum::{Average, average};
use crate::kernels::scaled::{StepConstants, apply, apply_momentum};

/// Records momentum, passes and step.
///
/// SinkGD with L iterations costs L + 1 reads of G, one read and one write of W.
/// Errors: a matrix too wide for the passes.
pub(super) fn record(
    rec: &mut Recorder,
    group: &Group<'_>,
    step: StepTensors<'_>,
    program: &PassProgram,
    lr: f64,
) -> Result<Option<Kept>> {
    let momentum = (program.momentum > 0.0).then(|| group.state(rec, "momentum_buffer"));
    let hyper = Average { beta: program.momentum, nesterov: program.nesterov };
    let gradient = match (&momentum, program.momentum_placement) {
        (Some(state), MomentumPlacement::Before) => {
            let ahead = rec.transient(Class::Scratch, DType::F32, "averaged gradient", &group.gradient.shape);
            average(rec, &group.gradient, &state.tensor, &ahead, step.statistics, hyper);
            ahead
        }
        _ => group.gradient.clone(),
    };
    let mut iterate = Iterate::batch(&gradient, group.names.len(), &group.shape)?;
    if program.row_threshold > 0.0 {
        iterate.drop_rows(rec, program.row_threshold);
    }
    if program.tolerance > 0.0 {
        iterate.passes_until_settled(rec, &program.passes, program.iterations as usize, program.tolerance);
    } else {
        iterate.passes(rec, &program.unrolled());
    }
    let [m, n] = iterate.x.shape();
    let last = *program.passes.last().expect("a list of passes is not empty");
    let factor = match program.scale_rule.factor(last, m, n) {
        Some(factor) => factor,
        None => {
            iterate.rescale_to_norm(rec, &gradient);
            1.0
        }
    };
    let step_constants = StepConstants { lr, scale: program.scale * factor, weight_decay: program.weight_decay };
    let StepTensors { statistics, step } = step;
    match (&momentum, program.momentum_placement) {
        (Some(state), MomentumPlacement::After) => {
            let tensors = [&group.weight, &state.tensor];
            apply_momentum(rec, &iterate.x, tensors, statistics, step, step_constants, hyper);
        }
        _ => apply(rec, &iterate.x, &group.weight, statistics, step, step_constants),
    }
    Ok(momentum)
}
