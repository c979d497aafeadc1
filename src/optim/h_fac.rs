//! H-Fac (Nguyen, Chen, Liu & Liu 2024, arXiv 2406.09958): Adam's two moments of a matrix m×n as 2(m + n) averages.

use super::{State, StepTensors, Update, check_matrix, check_width};
use crate::Result;
use crate::config::HFacConfig;
use crate::gpu::Recorder;
use crate::kernels::factored::{Factors, over_root};
use crate::kernels::h_fac::{AverageConstants, Averages, apply, average};
use crate::kernels::rated::{RateConstants, update_rates};

/// Four reads of G, one read and one write of W. Errors: a vector, a matrix too wide for the kernels.
pub(super) fn record(
    rec: &mut Recorder,
    update: &Update<'_>,
    step: StepTensors<'_>,
    hyper: &HFacConfig,
    lr: f64,
) -> Result<Vec<State>> {
    let [m, n] = check_matrix(update, "H-Fac averages the rows and columns of a matrix")?;
    check_width(update)?;
    let [row_mean, row_sq] = ["exp_avg_row", "exp_avg_sq_row"].map(|what| State::new(rec, update, what, &[m]));
    let [col_mean, col_sq] = ["exp_avg_col", "exp_avg_sq_col"].map(|what| State::new(rec, update, what, &[n]));
    let StepTensors { statistics, step } = step;
    let averages = Averages { rows: [&row_mean.tensor, &row_sq.tensor], cols: [&col_mean.tensor, &col_sq.tensor] };
    let HFacConfig { beta1, beta2, eps, .. } = *hyper;
    let constants = AverageConstants { beta1, beta2, eps };
    let ahead = average(rec, update.gradient, averages, statistics, step, constants);
    let factors = Factors { row: Some(&row_sq.tensor), col: &col_sq.tensor };
    let x = over_root(rec, update.gradient, factors, statistics);
    let constants = RateConstants { lr, clip_threshold: hyper.clip_threshold, relative: false, least_rms: None };
    let rates = update_rates(rec, &x, update.weight, step, constants);
    apply(rec, &x, update.weight, [&ahead[0], &ahead[1]], &rates, [statistics, step], hyper.weight_decay);
    Ok(vec![row_mean, row_sq, col_mean, col_sq])
}
