//! Multi-normalized gradient descent (arXiv 2502.06742, algorithms 1 and 2): `W ← W − lr · α · passes(G)`.
//!
//! SinkGD (algorithms 3 and 4) is `row, column` five times. Stateless: nothing is carried from step to step.

use super::{StepTensors, Update};
use crate::config::{Pass, PassProgram};
use crate::gpu::Recorder;
use crate::kernels::scaling::{MAX_COLS, Scaling, StepConstants};
use crate::{Error, Result};

/// Records the passes in scaling-vector form, and the step.
///
/// A row pass and the column pass after it share one read of the gradient, so that L iterations of SinkGD cost L + 1
/// reads of G, one read and one write of W.
/// Errors: a parameter that is no matrix, or wider than the kernel's registers.
pub(super) fn record(
    rec: &mut Recorder,
    update: &Update<'_>,
    step: StepTensors<'_>,
    program: &PassProgram,
    lr: f64,
) -> Result<()> {
    let [_, cols] = update.gradient.shape[..] else {
        return Err(Error::config(
            "optimizer.rest.passes",
            format!(
                "{} is a vector, and passes normalize matrices: choose adam, adamw or sgd for the rest",
                update.name
            ),
        ));
    };
    if cols > MAX_COLS {
        return Err(Error::TooLarge(format!(
            "{} has {cols} columns; passes take matrices of at most {MAX_COLS}",
            update.name
        )));
    }
    let mut scaling = Scaling::new(rec, update.gradient);
    let passes = program.passes.repeat(program.iterations as usize);
    let mut at = 0;
    while at < passes.len() {
        let row = passes[at] == Pass::Row;
        let column = passes[if row { at + 1 } else { at }..].first() == Some(&Pass::Column);
        scaling.pass(rec, row, column);
        at += usize::from(row) + usize::from(column);
    }
    let hyper = StepConstants { lr, scale: program.scale, weight_decay: program.weight_decay };
    scaling.apply(rec, update.weight, step.statistics, step.step, hyper);
    Ok(())
}
