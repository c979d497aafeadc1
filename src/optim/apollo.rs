//! APOLLO (Zhu et al. 2024, arXiv 2412.05270, algorithm 1), as the authors' apollo-torch 1.0.3 computes it: Adam's moments
//! of a random projection say how long each channel's step should be, and the gradient itself gives the direction.
//!
//! The projection is drawn anew from the run's seed at every step and kept by nobody; another one every T steps.

use super::{State, StepTensors, Update, check_matrix, check_rank};
use crate::Result;
use crate::config::{ApolloConfig, ScaleOf};
use crate::gpu::{Class, DType, Recorder, Tensor};
use crate::kernels::apollo::channel_factors;
use crate::kernels::random::gaussian;
use crate::kernels::rated::{LimitConstants, apply_rated, growth_limit};
use crate::kernels::scaled::Scaled;
use crate::kernels::subspace::{self, SubspaceConstants, project};
use crate::reference::random::stream;

/// One product of G with the projection, two more reads of G, one read and one write of W.
/// Errors: a vector, a rank above the smaller side.
pub(super) fn record(
    rec: &mut Recorder,
    update: &Update<'_>,
    step: StepTensors<'_>,
    hyper: &ApolloConfig,
    lr: f64,
) -> Result<Vec<State>> {
    let [m, n] = check_matrix(update, "APOLLO scales the channels of a matrix")?;
    let rank = check_rank(update.weight, update.name, update.role, hyper.rank)?;
    let (channels, small) = (m.max(n), m.min(n));
    let [exp_avg, exp_avg_sq] = ["exp_avg", "exp_avg_sq"].map(|what| State::new(rec, update, what, &[channels, rank]));
    let last = State::new(rec, update, "update_norm", &[1]);
    let StepTensors { statistics, step } = step;

    let projection = rec.transient(Class::Scratch, DType::F32, "random projection", &[small, rank]);
    let scale = (rank as f64).sqrt().recip();
    gaussian(rec, &projection, step, scale, stream(update.name), hyper.update_interval);
    let projected = project(rec, update.gradient, &projection);
    let ApolloConfig { beta1, beta2, eps, growth_limit, weight_decay, .. } = *hyper;
    let moments = [&exp_avg.tensor, &exp_avg_sq.tensor];
    let constants = SubspaceConstants { beta1, beta2, eps };
    let sums = subspace::moments(rec, &projected, moments, [statistics, step], constants, None);
    let factors = channel_factors(rec, &sums, statistics, hyper.scale_of == ScaleOf::Tensor);
    let limit = LimitConstants { lr, growth_limit, eps: LIMIT_EPS, corrected: Some([beta1, beta2]) };
    let step = [statistics, step];
    limited_step(rec, update, update.gradient, factors, &last.tensor, step, limit, [hyper.scale.sqrt(), weight_decay]);
    Ok(vec![exp_avg, exp_avg_sq, last])
}

/// Beside the norm that the limiter divides by, as the authors of Fira and APOLLO have it.
pub(super) const LIMIT_EPS: f64 = 1e-8;

/// A step along `base`, m×n, with a factor for each channel along the larger side, whose norm may not grow by more than the
/// limit; `last` `[1]` is the norm of the last one.
#[expect(clippy::too_many_arguments, reason = "what a step is made of")]
pub(super) fn limited_step(
    rec: &mut Recorder,
    update: &Update<'_>,
    base: &Tensor,
    factors: Tensor,
    last: &Tensor,
    [statistics, step]: [&Tensor; 2],
    limit: LimitConstants,
    scale_and_decay: [f64; 2],
) {
    let mut x = Scaled::new(base);
    let [m, n] = x.shape();
    *(if m >= n { &mut x.r } else { &mut x.c }) = Some(factors);
    let rates = growth_limit(rec, &x, last, statistics, step, limit);
    apply_rated(rec, &x, update.weight, &rates, [statistics, step], scale_and_decay);
}
