//! RACS (Gong, Scetbon, Ma & Meeds 2025, arXiv 2502.07752, algorithm 1): rows and columns scaled by the averaged principal
//! singular vectors of G⊙G, which power iteration finds, and a limit on how fast the update's norm may grow.
//!
//! It is not Sinkhorn's iteration: after it no row or column has a norm of its own.

use super::{State, StepTensors, Update, check_matrix, check_width};
use crate::Result;
use crate::config::RacsConfig;
use crate::gpu::Recorder;
use crate::kernels::racs::{averaged_root, power_iteration};
use crate::kernels::rated::{LimitConstants, apply_rated, growth_limit};
use crate::kernels::scaled::Scaled;

/// Iterations + 3 reads of G, one read and one write of W. Errors: a vector, a matrix too wide for the kernels.
pub(super) fn record(
    rec: &mut Recorder,
    update: &Update<'_>,
    step: StepTensors<'_>,
    hyper: &RacsConfig,
    lr: f64,
) -> Result<Vec<State>> {
    let [m, n] = check_matrix(update, "RACS scales the rows and columns of a matrix")?;
    check_width(update)?;
    let row = State::new(rec, update, "row_scaling", &[m]);
    let col = State::new(rec, update, "column_scaling", &[n]);
    let last = State::new(rec, update, "update_norm", &[1]);
    let StepTensors { statistics, step } = step;
    let [q, s] = power_iteration(rec, update.gradient, statistics, hyper.iterations);
    let mut x = Scaled::new(update.gradient);
    x.r = Some(averaged_root(rec, &q, &row.tensor, statistics, hyper.beta, true));
    x.c = Some(averaged_root(rec, &s, &col.tensor, statistics, hyper.beta, false));
    let constants = LimitConstants { lr, growth_limit: hyper.growth_limit, eps: 0.0, corrected: None };
    let rates = growth_limit(rec, &x, &last.tensor, statistics, step, constants);
    apply_rated(rec, &x, update.weight, &rates, [statistics, step], [hyper.scale, hyper.weight_decay]);
    Ok(vec![row, col, last])
}
