//! APOLLO (Zhu et al. 2024, arXiv 2412.05270, algorithm 1), as the authors' apollo-torch 1.0.3 computes it: Adam's moments
//! of a random projection say how long each channel's step should be, and the gradient itself gives the direction.
//!
//! The projection is drawn anew from the run's seed at every step and kept by nobody; another one every T steps.

use super::{State, StepTensors, Update, check_matrix, check_rank};
use crate::Result;
use crate::config::{ApolloConfig, ScaleOf};
use crate::gpu::{Class, Recorder};
use crate::kernels::apollo::{MomentConstants, channel_factors};
use crate::kernels::rated::{LimitConstants, apply_rated, growth_limit};
use crate::kernels::scaled::Scaled;
use crate::kernels::{Output, matmul, random::gaussian};
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
    let rank = check_rank(update, hyper.rank)?;
    let (channels, small) = (m.max(n), m.min(n));
    let [exp_avg, exp_avg_sq] = ["exp_avg", "exp_avg_sq"].map(|what| State::new(rec, update, what, &[channels, rank]));
    let last = State::new(rec, update, "update_norm", &[1]);
    let StepTensors { statistics, step } = step;

    let projection = rec.transient(Class::Scratch, "random projection", &[small, rank]);
    let scale = (rank as f64).sqrt().recip();
    gaussian(rec, &projection, step, scale, stream(update.name), hyper.update_interval);
    let projected = rec.transient(Class::Scratch, "projected gradient", &[channels, rank]);
    if m >= n {
        matmul::nn(rec, update.gradient, &projection, &projected, Output::Write);
    } else {
        matmul::tn(rec, update.gradient, &projection, &projected, Output::Write);
    }
    let ApolloConfig { beta1, beta2, eps, .. } = *hyper;
    let whole = hyper.scale_of == ScaleOf::Tensor;
    let moments = [&exp_avg.tensor, &exp_avg_sq.tensor];
    let factors = channel_factors(rec, &projected, moments, statistics, MomentConstants { beta1, beta2, eps, whole });
    let mut x = Scaled::new(update.gradient);
    *(if m >= n { &mut x.r } else { &mut x.c }) = Some(factors);
    let corrected = Some([beta1, beta2]);
    let constants = LimitConstants { lr, growth_limit: hyper.growth_limit, eps: 1e-8, corrected };
    let rates = growth_limit(rec, &x, &last.tensor, statistics, step, constants);
    apply_rated(rec, &x, update.weight, &rates, [statistics, step], [hyper.scale.sqrt(), hyper.weight_decay]);
    Ok(vec![exp_avg, exp_avg_sq, last])
}
