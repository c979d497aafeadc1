//! The bias of a linear layer, and its gradient.

use super::{Output, REAL_LANES, Target, flag, lanes_within, of_type, reduction_rounds, widest};
use crate::gpu::{Need, Recorder, Tensor, grid, kernels};

kernels! {
    ADD_BIAS = "add_bias" + "vec4" + "single";
    ADD_BIAS_SCALAR = "add_bias_scalar": "add_bias" + "scalar" + "single";
    ADD_BIAS_HALF = "add_bias_half": "add_bias" + "vec4" + "half", with (Stored = "vec4<f16>"), needs Need::F16;
    ADD_BIAS_HALF_SCALAR =
        "add_bias_half_scalar": "add_bias" + "scalar" + "half", with (Stored = "f16"), needs Need::F16;
    COLUMN_SUM = "column_sum" + "vec4" + "single";
    COLUMN_SUM_SCALAR = "column_sum_scalar": "column_sum" + "scalar" + "single";
    COLUMN_SUM_HALF = "column_sum_half": "column_sum" + "vec4" + "half", with (Stored = "vec4<f16>"), needs Need::F16;
    COLUMN_SUM_HALF_SCALAR =
        "column_sum_half_scalar": "column_sum" + "scalar" + "half", with (Stored = "f16"), needs Need::F16;
}

/// y ← y + bias for y `[rows, cols]`, in f32 or f16, and bias `[cols]`.
pub fn add_bias(rec: &mut Recorder, y: &Tensor, bias: &Tensor) {
    assert_eq!(y.shape.last(), Some(&bias.len()), "bias {:?} on {:?}", bias.shape, y.shape);
    let forms = [[&ADD_BIAS, &ADD_BIAS_SCALAR], [&ADD_BIAS_HALF, &ADD_BIAS_HALF_SCALAR]];
    let (kernel, cols) = widest(of_type(y.dtype, forms), bias.len());
    let len = y.len() / bias.len() * cols;
    rec.dispatch(kernel, &[y, bias], &[("LEN", len as f64), ("COLS", cols as f64)], grid(len.div_ceil(REAL_LANES)));
}

/// y (+)= factor · Σ of the rows of x, for x `[rows, cols]`, in f32 or f16, and y `[cols]`: the gradient of a bias from
/// that of the layer's output.
pub fn column_sum(rec: &mut Recorder, x: &Tensor, y: Target<'_>) {
    assert_eq!(Some(&y.tensor.len()), x.shape.last(), "column_sum of {:?}", x.shape);
    sum_columns(rec, x, y, false);
}

/// Adds the sum of the squares of each column of x `[rows, cols]`, in f32 or f16, to the first `cols` of `sums`.
pub fn column_squares(rec: &mut Recorder, x: &Tensor, sums: &Tensor) {
    assert!(x.shape.last() <= Some(&sums.len()), "squares of {:?} into {:?}", x.shape, sums.shape);
    sum_columns(rec, x, Target::new(sums, Output::Accumulate), true);
}

fn sum_columns(rec: &mut Recorder, x: &Tensor, y: Target<'_>, squared: bool) {
    let [rows, cols] = x.shape[..] else { panic!("column sums want [rows, cols], got {:?}", x.shape) };
    let forms = [[&COLUMN_SUM, &COLUMN_SUM_SCALAR], [&COLUMN_SUM_HALF, &COLUMN_SUM_HALF_SCALAR]];
    let (kernel, cols) = widest(of_type(x.dtype, forms), cols);
    // 64 contiguous bytes per row suffice for memory bandwidth; with more lanes per column, each waits less.
    let (across, least) = if rec.profile.software { (8, 8) } else { (4, 256) };
    let rounds = |lanes: usize| rows.div_ceil(lanes / across) + reduction_rounds(lanes);
    let lanes = lanes_within(&rec.profile, least, rounds);
    let constants = [
        ("ROWS", rows as f64),
        ("COLS", cols as f64),
        ("ACROSS", across as f64),
        ("WG", lanes as f64),
        y.output.constant(),
        flag("SQUARED", squared),
    ];
    let factor = y.factor(rec);
    rec.dispatch(kernel, &[x, y.tensor, &factor], &constants, [cols.div_ceil(across) as u32, 1, 1]);
}
