//! Fira (Chen et al. 2024, arXiv 2410.01623, algorithm 1), as the authors' fira 1.0.2 computes it: GaLore's step, and what
//! its subspace does not hold of the gradient, scaled channel by channel as Adam scales what it holds, with a limit on
//! how fast the norm of that part may grow.

use super::galore::in_subspace;
use super::{State, StepTensors, Update, check_matrix};
use crate::Result;
use crate::config::FiraConfig;
use crate::gpu::Recorder;
use crate::kernels::apollo::factors_of;
use crate::kernels::rated::{LimitConstants, apply_rated, growth_limit};
use crate::kernels::scaled::{Scaled, StepConstants, apply};
use crate::kernels::subspace::{project_back, subtract};

/// Three products of a matrix m×n with one of the smaller side by r, two reads and writes of W.
/// Errors: a vector, a rank above the smaller side.
pub(super) fn record(
    rec: &mut Recorder,
    update: &Update<'_>,
    step: StepTensors<'_>,
    hyper: &FiraConfig,
    lr: f64,
) -> Result<Vec<State>> {
    let shape @ [m, n] = check_matrix(update, "Fira projects a matrix")?;
    let last = State::new(rec, update, "residual_norm", &[1]);
    let within = in_subspace(rec, update, step, &hyper.as_galore())?;
    let StepTensors { statistics, step } = step;
    let basis = within.basis();

    let residual = project_back(rec, &within.projected, basis, shape);
    subtract(rec, update.gradient, &residual, hyper.scale);
    let mut x = Scaled::new(&residual);
    let factors = factors_of(rec, &within.direction.sums, statistics, false);
    *(if m >= n { &mut x.r } else { &mut x.c }) = Some(factors);
    let corrected = Some([hyper.beta1, hyper.beta2]);
    let constants = LimitConstants { lr, growth_limit: hyper.growth_limit, eps: 1e-8, corrected };
    let rates = growth_limit(rec, &x, &last.tensor, statistics, step, constants);
    apply_rated(rec, &x, update.weight, &rates, [statistics, step], [1.0, hyper.weight_decay]);

    let whole = project_back(rec, &within.direction.step, basis, shape);
    let constants = StepConstants { lr, scale: hyper.scale, weight_decay: 0.0 };
    apply(rec, &Scaled::new(&whole), update.weight, statistics, step, constants);
    Ok(within.states.into_iter().chain([last]).collect())
}
