//! H-Fac: momentum and second moment factored into rows and columns.

use super::scaled::{RowBlocks, Scaled};
use super::{WORKGROUP_SIZE, log_decay};
use crate::gpu::{Class, DType, Recorder, Tensor, grid, kernels};

kernels! {
    H_FAC_ROWS = "h_fac_rows" + "reduce" + "step";
    H_FAC_COLUMNS = "h_fac_columns" + "step";
    H_FAC_APPLY = "h_fac_apply" + "step";
}

/// Averages of a gradient m×n.
#[derive(Clone, Copy, Debug)]
pub struct Averages<'a> {
    /// Of the row means and of the means of row squares, `[m]` each.
    pub rows: [&'a Tensor; 2],
    /// The same for columns, `[n]` each.
    pub cols: [&'a Tensor; 2],
}

/// Hyperparameters of the averages.
#[derive(Clone, Copy, Debug)]
pub struct AverageConstants {
    /// Decay of the means.
    pub beta1: f64,
    /// Decay of the squares.
    pub beta2: f64,
    /// Added to every square.
    pub eps: f64,
}

/// Updates the averages with `gradient`, times the clip factor of `statistics`, in place; returns the row and column
/// parts of the momentum term, `[m]` and `[n]`.
pub fn average(
    rec: &mut Recorder,
    gradient: &Tensor,
    averages: Averages<'_>,
    statistics: &Tensor,
    step: &Tensor,
    hyper: AverageConstants,
) -> [Tensor; 2] {
    let x = Scaled::new(gradient);
    let [rows, cols] = x.shape();
    let RowBlocks { lanes, block, blocks } = RowBlocks::of(&rec.profile, [rows, cols]);
    let partial = rec.transient(Class::Scratch, DType::F32, "column partial sums", &[2, blocks, cols]);
    let lookahead = [("momentum of rows", rows), ("momentum of columns", cols)]
        .map(|(name, len)| rec.transient(Class::Scratch, DType::F32, name, &[len]));
    let [log1, log2] = [hyper.beta1, hyper.beta2].map(log_decay);
    let mut constants = vec![
        ("ROWS", rows as f64),
        ("COLS", cols as f64),
        ("BLOCKS", blocks as f64),
        ("EPS", hyper.eps),
        ("BETA1", hyper.beta1),
        ("BETA2", hyper.beta2),
        ("LOG_BETA1", log1),
        ("LOG_BETA2", log2),
    ];
    let [mean, sq] = averages.cols;
    let groups = [cols.div_ceil(WORKGROUP_SIZE) as u32, 1, 1];
    let of_columns = constants.clone();
    constants.extend([("BLOCK", block as f64), ("WG", lanes as f64)]);
    let [row_mean, row_sq] = averages.rows;
    let bindings = [&x.base, statistics, row_mean, row_sq, &lookahead[0], &partial, step];
    rec.dispatch(&H_FAC_ROWS, &bindings, &constants, grid(blocks));
    rec.dispatch(&H_FAC_COLUMNS, &[&partial, statistics, mean, sq, &lookahead[1], step], &of_columns, groups);
    lookahead
}

/// Applies the step, in place: half of each momentum term, and X times `rates[1]`.
pub fn apply(
    rec: &mut Recorder,
    x: &Scaled,
    weight: &Tensor,
    lookahead: [&Tensor; 2],
    rates: &Tensor,
    [statistics, step]: [&Tensor; 2],
    weight_decay: f64,
) {
    assert_eq!(weight.len(), x.base.len(), "h_fac: weight {:?}, X {:?}", weight.shape, x.base.shape);
    let [rows, cols] = x.shape();
    let [base, r, c] = x.bindings();
    let constants = [("ROWS", rows as f64), ("COLS", cols as f64), ("WEIGHT_DECAY", weight_decay)];
    let bindings = [weight, base, r, c, lookahead[0], lookahead[1], rates, statistics, step];
    rec.dispatch(&H_FAC_APPLY, &bindings, &constants, grid(weight.len().div_ceil(WORKGROUP_SIZE)));
}
