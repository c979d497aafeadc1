//! RMSNorm (Zhang & Sennrich, 2019), alone and fused with the residual add before it, and its gradients.

use super::{Output, kept, widest};
use crate::gpu::{Class, DType, Kernel, Profile, Recorder, Tensor, grid, kernels};

kernels! {
    RMS_NORM = "rms_norm" + "vec4" + "reduce";
    RMS_NORM_SCALAR = "rms_norm_scalar": "rms_norm" + "scalar" + "reduce";
    ADD_RMS_NORM = "add_rms_norm" + "vec4" + "reduce";
    ADD_RMS_NORM_SCALAR = "add_rms_norm_scalar": "add_rms_norm" + "scalar" + "reduce";
    RMS_NORM_BACKWARD = "rms_norm_backward" + "vec4" + "reduce_pair";
    RMS_NORM_BACKWARD_SCALAR = "rms_norm_backward_scalar": "rms_norm_backward" + "scalar" + "reduce_pair";
    COLUMN_SUM = "column_sum" + "vec4";
    COLUMN_SUM_SCALAR = "column_sum_scalar": "column_sum" + "scalar";
}

/// `Real`s of a row that one lane keeps in registers at most: MOST_KEPT of the kernels.
const MOST_KEPT: usize = 4;

/// y = x / rms(x) · weight for x, y `[rows, cols]` and weight `[cols]`.
pub fn rms_norm(rec: &mut Recorder, x: &Tensor, weight: &Tensor, y: &Tensor, eps: f64) {
    assert_eq!(x.shape, y.shape, "rms_norm");
    let (kernel, constants) = of_rows(rec, [&RMS_NORM, &RMS_NORM_SCALAR], x, weight, eps);
    rec.dispatch(kernel, &[x, weight, y], &constants, grid(x.shape[0]));
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
    let (kernel, constants) = of_rows(rec, [&ADD_RMS_NORM, &ADD_RMS_NORM_SCALAR], x, weight, eps);
    rec.dispatch(kernel, &[x, delta, weight, sum, y], &constants, grid(x.shape[0]));
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
    let block = block_rows(&rec.profile, rows);
    let blocks = rows.div_ceil(block);
    let partial = rec.transient(Class::Scratch, DType::F32, "norm weight partial sums", &[blocks, cols]);
    let (kernel, mut constants) = of_rows(rec, [&RMS_NORM_BACKWARD, &RMS_NORM_BACKWARD_SCALAR], x, weight, eps);
    constants.extend([("BLOCK", block as f64), dx.1.constant()]);
    rec.dispatch(kernel, &[x, weight, dy, dx.0, &partial], &constants, [blocks as u32, 1, 1]);
    column_sum(rec, &partial, dweight.0, dweight.1);
}

/// y (+)= the sum over the rows of x, for x `[rows, cols]` and y `[cols]`.
fn column_sum(rec: &mut Recorder, x: &Tensor, y: &Tensor, output: Output) {
    let (kernel, cols) = widest([&COLUMN_SUM, &COLUMN_SUM_SCALAR], x.shape[1]);
    // 64 bytes of a row beside each other are enough for memory; the more lanes share a column, the shorter the wait.
    let (across, lanes) = if rec.profile.software { (8, 8) } else { (4, 256) };
    let constants = [
        ("ROWS", x.shape[0] as f64),
        ("COLS", cols as f64),
        ("ACROSS", f64::from(across)),
        ("WG", f64::from(lanes)),
        output.constant(),
    ];
    rec.dispatch(kernel, &[x, y], &constants, [(cols as u32).div_ceil(across), 1, 1]);
}

/// Rows that one workgroup of the backward pass goes through: on a GPU as few as leave about a thousand workgroups.
fn block_rows(profile: &Profile, rows: usize) -> usize {
    let least = if profile.software { 64 } else { 1 };
    rows.div_ceil(1024).max(least)
}

/// The kernel for rows of x, and its constants.
fn of_rows(
    rec: &Recorder,
    widths: [&'static Kernel; 2],
    x: &Tensor,
    weight: &Tensor,
    eps: f64,
) -> (&'static Kernel, Vec<(&'static str, f64)>) {
    let [rows, cols] = x.shape[..] else { panic!("rms_norm wants [rows, cols], got {:?}", x.shape) };
    assert_eq!(weight.len(), cols, "rms_norm weight for {:?}", x.shape);
    let (kernel, cols) = widest(widths, cols);
    let lanes = lanes(&rec.profile, cols) as f64;
    let kept = ("KEPT", kept(&rec.profile, MOST_KEPT));
    (kernel, vec![("ROWS", rows as f64), ("COLS", cols as f64), ("EPS", eps), ("WG", lanes), kept])
}

/// Lanes of a workgroup, for rows of so many `Real`s: as few as keep a row in registers.
fn lanes(profile: &Profile, reals: usize) -> usize {
    if profile.software { 8 } else { reals.div_ceil(MOST_KEPT).next_power_of_two().clamp(32, 256) }
}
