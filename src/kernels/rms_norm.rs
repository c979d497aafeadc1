//! RMSNorm (Zhang & Sennrich, 2019), alone and fused with the residual add before it, and its gradients.

use super::{LANES, Output, reduction_lanes};
use crate::gpu::{Class, DType, Recorder, Tensor, grid, kernels};

kernels! {
    RMS_NORM = "rms_norm" + "reduce";
    ADD_RMS_NORM = "add_rms_norm" + "reduce";
    RMS_NORM_BACKWARD = "rms_norm_backward" + "reduce";
    RMS_NORM_WEIGHT_BACKWARD = "rms_norm_weight_backward";
    COLUMN_SUM = "column_sum";
}

/// Rows that one lane sums before the blocks are added up.
const BLOCK: usize = 64;

/// y = x / rms(x) · weight for x, y `[rows, cols]` and weight `[cols]`.
pub fn rms_norm(rec: &mut Recorder, x: &Tensor, weight: &Tensor, y: &Tensor, eps: f64) {
    let (rows, constants) = sizes(rec, x, weight, eps);
    rec.dispatch(&RMS_NORM, &[x, weight, y], &constants, grid(rows));
}

/// sum = x + delta and y = sum / rms(sum) · weight.
pub fn add_rms_norm(
    rec: &mut Recorder,
    x: &Tensor,
    delta: &Tensor,
    weight: &Tensor,
    sum: &Tensor,
    y: &Tensor,
    eps: f64,
) {
    assert_eq!(x.shape, delta.shape, "add_rms_norm");
    let (rows, constants) = sizes(rec, x, weight, eps);
    rec.dispatch(&ADD_RMS_NORM, &[x, delta, weight, sum, y], &constants, grid(rows));
}

/// dx (+)= gradient of x, and dweight (+)= gradient of the weight, from dy.
pub fn rms_norm_backward(
    rec: &mut Recorder,
    x: &Tensor,
    weight: &Tensor,
    dy: &Tensor,
    dx: (&Tensor, Output),
    dweight: (&Tensor, Output),
    eps: f64,
) {
    let (rows, cols) = (x.shape[0], x.shape[1]);
    assert_eq!((&dy.shape, dweight.0.len()), (&x.shape, cols), "rms_norm_backward");
    let inverse_rms = rec.transient(Class::Scratch, DType::F32, "inverse rms", &[rows]);
    let (_, mut constants) = sizes(rec, x, weight, eps);
    constants.push(dx.1.constant());
    rec.dispatch(&RMS_NORM_BACKWARD, &[x, weight, dy, dx.0, &inverse_rms], &constants, grid(rows));

    let blocks = rows.div_ceil(BLOCK);
    let partial = rec.transient(Class::Scratch, DType::F32, "norm weight partial sums", &[blocks, cols]);
    let constants = [("ROWS", rows as f64), ("COLS", cols as f64), ("BLOCK", BLOCK as f64)];
    let columns = cols.div_ceil(LANES) as u32;
    rec.dispatch(&RMS_NORM_WEIGHT_BACKWARD, &[x, dy, &inverse_rms, &partial], &constants, [columns, blocks as u32, 1]);
    let constants = [("ROWS", blocks as f64), ("COLS", cols as f64), dweight.1.constant()];
    rec.dispatch(&COLUMN_SUM, &[&partial, dweight.0], &constants, [columns, 1, 1]);
}

fn sizes(rec: &Recorder, x: &Tensor, weight: &Tensor, eps: f64) -> (usize, Vec<(&'static str, f64)>) {
    let [rows, cols] = x.shape[..] else { panic!("rms_norm wants [rows, cols], got {:?}", x.shape) };
    assert_eq!(weight.len(), cols, "rms_norm weight for {:?}", x.shape);
    let lanes = reduction_lanes(&rec.profile) as f64;
    (rows, vec![("ROWS", rows as f64), ("COLS", cols as f64), ("EPS", eps), ("WG", lanes)])
}
