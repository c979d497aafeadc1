//! Fira (Chen et al. 2024, arXiv 2410.01623, algorithm 1), as the authors' fira 1.0.2 computes it: GaLore's step, and what
//! its subspace does not hold of the gradient, scaled channel by channel as Adam scales what it holds, with a limit on
//! how fast the norm of that part may grow.

use super::apollo::{LIMIT_EPS, limited_step};
use super::galore::in_subspace;
use super::{State, StepTensors, Update, check_matrix};
use crate::Result;
use crate::config::{FiraConfig, GaloreConfig};
use crate::gpu::Recorder;
use crate::kernels::apollo::channel_factors;
use crate::kernels::rated::LimitConstants;
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
    let shape = check_matrix(update, "Fira projects a matrix")?;
    let last = State::new(rec, update, "residual_norm", &[1]);
    let within = in_subspace(rec, update, step, &hyper.galore)?;
    let StepTensors { statistics, step } = step;
    let basis = within.basis();

    let residual = project_back(rec, &within.projected, basis, shape);
    subtract(rec, update.gradient, &residual, hyper.galore.scale);
    let factors = channel_factors(rec, &within.sums, statistics, false);
    let GaloreConfig { beta1, beta2, scale, weight_decay, .. } = hyper.galore;
    let (growth_limit, corrected) = (hyper.growth_limit, Some([beta1, beta2]));
    let limit = LimitConstants { lr, growth_limit, eps: LIMIT_EPS, corrected };
    limited_step(rec, update, &residual, factors, &last.tensor, [statistics, step], limit, [1.0, weight_decay]);

    let whole = project_back(rec, &within.direction, basis, shape);
    let constants = StepConstants { lr, scale, weight_decay: 0.0 };
    apply(rec, &Scaled::new(&whole), update.weight, statistics, step, constants);
    Ok(within.states.into_iter().chain([last]).collect())
}
