//! GaLore (Zhao et al. 2024, arXiv 2403.03507, algorithm 2), as the authors' galore-torch 1.0 computes it: Adam in the
//! coordinates of the gradient's leading singular vectors along its smaller side, which are found anew every T steps.
//!
//! The moments stay as they are when the basis changes, as in the authors' code. The authors take a full singular value
//! decomposition; here the device makes a randomized one, so that nothing waits for the host.

use super::{State, StepTensors, Update, check_matrix, check_rank};
use crate::Result;
use crate::config::GaloreConfig;
use crate::gpu::{Class, DType, Recorder, Tensor};
use crate::kernels::scaled::{Scaled, StepConstants, apply};
use crate::kernels::subspace::{SubspaceConstants, moments, project, project_back, renew_basis};
use crate::reference::random::stream;

/// A gradient in its subspace, and what Adam makes of it there.
pub(super) struct InSubspace {
    pub states: [State; 3],
    pub projected: Tensor,
    /// Adam's step there.
    pub direction: Tensor,
    /// Squared norms by channel, of the step and of the projected gradient.
    pub sums: Tensor,
}

impl InSubspace {
    /// The basis: the first of the states.
    pub fn basis(&self) -> &Tensor {
        &self.states[0].tensor
    }
}

/// Two products of a matrix m×n with one of the smaller side by r, one read and one write of W.
/// Errors: a vector, a rank above the smaller side.
pub(super) fn record(
    rec: &mut Recorder,
    update: &Update<'_>,
    step: StepTensors<'_>,
    hyper: &GaloreConfig,
    lr: f64,
) -> Result<Vec<State>> {
    let shape = check_matrix(update, "GaLore projects a matrix")?;
    let within = in_subspace(rec, update, step, hyper)?;
    let whole = project_back(rec, &within.direction, within.basis(), shape);
    let constants = StepConstants { lr, scale: hyper.scale, weight_decay: hyper.weight_decay };
    apply(rec, &Scaled::new(&whole), update.weight, step.statistics, step.step, constants);
    Ok(within.states.into())
}

/// Renews the basis when it is due, projects, and moves the moments.
pub(super) fn in_subspace(
    rec: &mut Recorder,
    update: &Update<'_>,
    step: StepTensors<'_>,
    hyper: &GaloreConfig,
) -> Result<InSubspace> {
    let rank = check_rank(update.weight, update.name, update.role, hyper.rank)?;
    let [m, n] = [update.weight.shape[0], update.weight.shape[1]];
    let basis = State::new(rec, update, "ortho_matrix", &[m.min(n), rank]);
    let [exp_avg, exp_avg_sq] = ["exp_avg", "exp_avg_sq"].map(|what| State::new(rec, update, what, &[m.max(n), rank]));
    let shared = [step.statistics, step.step];
    renew_basis(rec, update.gradient, &basis.tensor, shared, hyper.update_interval, stream(update.name));
    let projected = project(rec, update.gradient, &basis.tensor);
    let GaloreConfig { beta1, beta2, eps, .. } = *hyper;
    let states = [&exp_avg.tensor, &exp_avg_sq.tensor];
    let direction = rec.transient(Class::Scratch, DType::F32, "direction", &projected.shape);
    let constants = SubspaceConstants { beta1, beta2, eps };
    let sums = moments(rec, &projected, states, shared, constants, Some(&direction));
    Ok(InSubspace { states: [basis, exp_avg, exp_avg_sq], projected, direction, sums })
}
