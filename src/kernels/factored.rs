//! A second moment factored into row and column averages: for Adafactor, AdaLomo and H-Fac.

use super::scaled::{RowBlocks, Scaled};
use super::{WORKGROUP_SIZE, flag, reduction_lanes};
use crate::gpu::{Class, DType, Recorder, Tensor, grid, kernels};

kernels! {
    FACTORED_ROWS = "factored_rows" + "reduce" + "step";
    FACTORED_COLUMNS = "factored_columns" + "step";
    FACTORED_SCALINGS = "factored_scalings" + "reduce";
}

/// Averages of the squares of a gradient m×n; a vector has only columns.
#[derive(Clone, Copy, Debug)]
pub struct Factors<'a> {
    /// Of rows, `[m]`.
    pub row: Option<&'a Tensor>,
    /// Of columns, `[n]`.
    pub col: &'a Tensor,
}

/// How the averages are updated.
#[derive(Clone, Copy, Debug)]
pub struct FactoredConstants {
    /// The decay in step t is 1 − t^−decay_rate.
    pub decay_rate: f64,
    /// Added to every square.
    pub eps: f64,
}

/// Updates the averages with the squares of `gradient`, times the clip factor of `statistics`, in place.
pub fn average_squares(
    rec: &mut Recorder,
    gradient: &Tensor,
    factors: Factors<'_>,
    statistics: &Tensor,
    step: &Tensor,
    hyper: FactoredConstants,
) {
    let x = Scaled::new(gradient);
    let [rows, cols] = x.shape();
    let RowBlocks { lanes, block, blocks } = RowBlocks::of(&rec.profile, [rows, cols]);
    let partial = rec.transient(Class::Scratch, DType::F32, "column partial sums", &[blocks, cols]);
    // A vector's single row average is computed and discarded.
    let unused = rec.transient(Class::Scratch, DType::F32, "row average", &[rows]);
    let row = factors.row.unwrap_or(&unused);
    let [eps, decay] = [("EPS", hyper.eps), ("DECAY", hyper.decay_rate)];
    let [rows_, cols_] = [("ROWS", rows as f64), ("COLS", cols as f64)];
    let constants = [rows_, cols_, ("BLOCK", block as f64), eps, decay, ("WG", lanes as f64)];
    rec.dispatch(&FACTORED_ROWS, &[&x.base, statistics, row, &partial, step], &constants, grid(blocks));
    let constants = [rows_, cols_, ("BLOCKS", blocks as f64), eps, decay];
    let groups = [cols.div_ceil(WORKGROUP_SIZE) as u32, 1, 1];
    rec.dispatch(&FACTORED_COLUMNS, &[&partial, statistics, factors.col, step], &constants, groups);
}

/// The clipped gradient over the root of row·col/mean(row), as scalings of the gradient.
pub fn over_root(rec: &mut Recorder, gradient: &Tensor, factors: Factors<'_>, statistics: &Tensor) -> Scaled {
    let mut x = Scaled::new(gradient);
    let [rows, cols] = x.shape();
    let r = rec.transient(Class::Scratch, DType::F32, "row scaling", &[rows]);
    let c = rec.transient(Class::Scratch, DType::F32, "column scaling", &[cols]);
    let lanes = ("WG", reduction_lanes(&rec.profile) as f64);
    let constants = [("ROWS", rows as f64), ("COLS", cols as f64), flag("HAS_ROWS", factors.row.is_some()), lanes];
    let row = factors.row.unwrap_or(factors.col);
    rec.dispatch(&FACTORED_SCALINGS, &[row, factors.col, statistics, &r, &c], &constants, [1, 1, 1]);
    (x.r, x.c) = (Some(r), Some(c));
    x
}
