//! Adafactor (Shazeer & Stern 2018, arXiv 1804.04235, algorithms 4 and 5): the second moment of a matrix m×n as m + n
//! averages, an update whose root mean square is at most d, and a rate relative to the weight's own.

use super::{State, StepTensors, Update, check_width};
use crate::Result;
use crate::config::AdafactorConfig;
use crate::gpu::Recorder;
use crate::kernels::factored::{FactoredConstants, Factors, average_squares, over_root};
use crate::kernels::rated::{RateConstants, apply_rated, update_rates};

/// Four reads of G and three of W, one write of W. Errors: a matrix too wide for the kernels.
pub(super) fn record(
    rec: &mut Recorder,
    update: &Update<'_>,
    step: StepTensors<'_>,
    hyper: &AdafactorConfig,
    lr: f64,
) -> Result<Vec<State>> {
    check_width(update)?;
    let n = *update.weight.shape.last().expect("a weight has a side");
    let row = match update.weight.shape[..] {
        [m, _] => Some(State::new(rec, update, "exp_avg_sq_row", &[m])),
        _ => None,
    };
    let col = State::new(rec, update, if row.is_some() { "exp_avg_sq_col" } else { "exp_avg_sq" }, &[n]);
    let factors = Factors { row: row.as_ref().map(|row| &row.tensor), col: &col.tensor };
    let StepTensors { statistics, step } = step;
    let constants = FactoredConstants { decay_rate: hyper.decay_rate, eps: hyper.eps1 };
    average_squares(rec, update.gradient, factors, statistics, step, constants);
    let x = over_root(rec, update.gradient, factors, statistics);
    let constants = RateConstants {
        lr,
        clip_threshold: hyper.clip_threshold,
        relative: hyper.relative_step,
        least_rms: hyper.scale_parameter.then_some(hyper.eps2),
    };
    let rates = update_rates(rec, &x, update.weight, step, constants);
    apply_rated(rec, &x, update.weight, &rates, [statistics, step], [1.0, hyper.weight_decay]);
    Ok(row.into_iter().chain([col]).collect())
}
