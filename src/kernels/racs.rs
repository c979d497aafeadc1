//! RACS: averaged principal singular vectors of the squared gradient, as scalings.

use super::scaled::{RowBlocks, Scaled};
use super::{WORKGROUP_SIZE, flag};
use crate::gpu::{Class, DType, Recorder, Tensor, grid, kernels};

kernels! {
    RACS_ROWS = "racs_rows" + "reduce";
    RACS_COLUMNS = "racs_columns" + "reduce";
    RACS_NORM = "racs_norm" + "reduce";
    AVERAGED_ROOT = "averaged_root" + "step";
}

/// q `[m]` and s `[n]` after `iterations` of s = Pᵀq/‖q‖², q = P·s/‖s‖², where P holds the squares of the clipped
/// gradient, starting at q = 1. Reads the gradient iterations + 1 times.
pub fn power_iteration(rec: &mut Recorder, gradient: &Tensor, statistics: &Tensor, iterations: u32) -> [Tensor; 2] {
    let x = Scaled::new(gradient);
    let [rows, cols] = x.shape();
    let RowBlocks { lanes, block, blocks } = RowBlocks::of(&rec.profile, [rows, cols]);
    let q = rec.transient(Class::Scratch, DType::F32, "q", &[rows]);
    let s = rec.transient(Class::Scratch, DType::F32, "s", &[cols]);
    let norm = rec.transient(Class::Scratch, DType::F32, "norm of s", &[2]);
    let partial = rec.transient(Class::Scratch, DType::F32, "column partial sums", &[blocks, cols]);
    let lanes = ("WG", lanes as f64);
    let [rows_, cols_] = [("ROWS", rows as f64), ("COLS", cols as f64)];
    for half in 0..=iterations {
        let [first, last] = [half == 0, half == iterations];
        let block = ("BLOCK", block as f64);
        let constants = [rows_, cols_, block, flag("FIRST", first), flag("COLUMN_SUMS", !last), lanes];
        rec.dispatch(&RACS_ROWS, &[&x.base, statistics, &s, &norm, &q, &partial], &constants, grid(blocks));
        if last {
            break;
        }
        let wg = lanes.1 as usize;
        let constants = [rows_, cols_, ("BLOCKS", blocks as f64), lanes];
        rec.dispatch(&RACS_COLUMNS, &[&partial, &q, &s], &constants, [cols.div_ceil(wg) as u32, 1, 1]);
        rec.dispatch(&RACS_NORM, &[&s, &norm], &[cols_, lanes], [1, 1, 1]);
    }
    [q, s]
}

/// average ← β·average + (1 − β)·new; returns 1/√average, or 0 where average is 0, times the clip factor if `clipped`.
pub fn averaged_root(
    rec: &mut Recorder,
    new: &Tensor,
    average: &Tensor,
    statistics: &Tensor,
    beta: f64,
    clipped: bool,
) -> Tensor {
    assert_eq!(new.shape, average.shape, "averaged_root");
    let root = rec.transient(Class::Scratch, DType::F32, "scaling", &new.shape);
    let len = new.len();
    let constants = [("LEN", len as f64), ("BETA", beta), ("REST", 1.0 - beta), flag("CLIPPED", clipped)];
    rec.dispatch(
        &AVERAGED_ROOT,
        &[new, statistics, average, &root],
        &constants,
        [len.div_ceil(WORKGROUP_SIZE) as u32, 1, 1],
    );
    root
}
