//! SubZero (Yu et al. 2024, arXiv 2410.08989, algorithm 1): MeZO whose direction for a matrix is U·Z₀·Vᵀ, with Z₀ `[r, r]` of
//! normal numbers and random orthonormal U and V that stay for T steps; vectors take MeZO's own.
//!
//! The direction is times √(mn)/r, as in the authors' code, and so as long as one of full rank.

use super::{Perturbed, State, check_rank, mezo};
use crate::Result;
use crate::config::SubzeroConfig;
use crate::gpu::{Class, DType, Recorder};
use crate::kernels::random::gaussian;
use crate::kernels::subspace::random_basis;
use crate::kernels::zeroth_order::perturb_low_rank;
use crate::kernels::{Output, matmul};
use crate::reference::random::stream;

/// Records the renewal of a matrix's subspaces, Uᵀ and Vᵀ: the states, none for a vector.
/// Errors: a rank above the smaller side.
pub(super) fn prepare(rec: &mut Recorder, parameter: &Perturbed<'_>, hyper: &SubzeroConfig) -> Result<Vec<State>> {
    let [m, n] = parameter.weight.shape[..] else { return Ok(Vec::new()) };
    let rank = check_rank(parameter.weight, parameter.name, parameter.role, hyper.rank)?;
    let shared = [parameter.step.statistics, parameter.step.step];
    let mut basis = |what: &str, len: usize| {
        let state = State::named(rec, parameter.name, what, &[rank, len]);
        random_basis(rec, &state.tensor, shared, hyper.update_interval, stream(&state.name));
        state
    };
    Ok(vec![basis("left_basis", m), basis("right_basis", n)])
}

/// One read and one write of W, and r products for each weight.
pub(super) fn record(rec: &mut Recorder, parameter: &Perturbed<'_>, states: &[State], hyper: &SubzeroConfig, lr: f64) {
    let [left, right] = states else { return mezo::record(rec, parameter, &hyper.mezo, lr) };
    let Perturbed { name, weight, how, step, .. } = *parameter;
    let (rank, [m, n]) = (left.tensor.shape[0], [weight.shape[0], weight.shape[1]]);
    let core = rec.transient(Class::Scratch, DType::F32, "random core", &[rank, rank]);
    gaussian(rec, &core, step.step, 1.0, stream(name), 1);
    let product = rec.transient(Class::Scratch, DType::F32, "left basis times core", &[m, rank]);
    matmul::tn(rec, &left.tensor, &core, &product, Output::Write);
    let scale = ((m * n) as f64).sqrt() / rank as f64;
    let constants = mezo::constants(&hyper.mezo, lr, &weight.shape);
    perturb_low_rank(rec, weight, [&product, &right.tensor], [how, step.step], scale, constants);
}
