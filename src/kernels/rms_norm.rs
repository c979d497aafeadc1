//! RMSNorm (Zhang & Sennrich, 2019), alone and fused with the preceding residual add, and its gradients.

use super::bias::column_sum;
use super::{Output, Target, flag, kept, of_type, widest};
use crate::gpu::{Class, DType, Kernel, Need, Profile, Recorder, Tensor, grid, kernels};

kernels! {
    RMS_NORM = "rms_norm" + "vec4" + "single" + "reduce";
    RMS_NORM_SCALAR = "rms_norm_scalar": "rms_norm" + "scalar" + "single" + "reduce";
    RMS_NORM_HALF =
        "rms_norm_half": "rms_norm" + "vec4" + "half" + "reduce", with (Stored = "vec4<f16>"), needs Need::F16;
    RMS_NORM_HALF_SCALAR =
        "rms_norm_half_scalar": "rms_norm" + "scalar" + "half" + "reduce", with (Stored = "f16"), needs Need::F16;
    ADD_RMS_NORM = "add_rms_norm" + "vec4" + "single" + "reduce";
    ADD_RMS_NORM_SCALAR = "add_rms_norm_scalar": "add_rms_norm" + "scalar" + "single" + "reduce";
    ADD_RMS_NORM_HALF =
        "add_rms_norm_half": "add_rms_norm" + "vec4" + "half" + "reduce", with (Stored = "vec4<f16>"), needs Need::F16;
    ADD_RMS_NORM_HALF_SCALAR =
        "add_rms_norm_half_scalar": "add_rms_norm" + "scalar" + "half" + "reduce", with (Stored = "f16"), needs Need::F16;
    RMS_NORM_BACKWARD = "rms_norm_backward" + "vec4" + "single" + "reduce_pair";
    RMS_NORM_BACKWARD_SCALAR = "rms_norm_backward_scalar": "rms_norm_backward" + "scalar" + "single" + "reduce_pair";
    RMS_NORM_BACKWARD_HALF = "rms_norm_backward_half": "rms_norm_backward" + "vec4" + "half" + "reduce_pair",
        with (Stored = "vec4<f16>"), needs Need::F16;
    RMS_NORM_BACKWARD_HALF_SCALAR = "rms_norm_backward_half_scalar": "rms_norm_backward" + "scalar" + "half" + "reduce_pair",
        with (Stored = "f16"), needs Need::F16;
}

/// Most `Real`s of a row that one lane keeps in registers: MOST_KEPT in the kernels.
const MOST_KEPT: usize = 4;

/// y = x / rms(x) · weight for x, y `[rows, cols]` and weight `[cols]`; y is f32 or f16.
pub fn rms_norm(rec: &mut Recorder, x: &Tensor, weight: &Tensor, y: &Tensor, eps: f64) {
    assert_eq!(x.shape, y.shape, "rms_norm");
    let forms = of_type(y.dtype, [[&RMS_NORM, &RMS_NORM_SCALAR], [&RMS_NORM_HALF, &RMS_NORM_HALF_SCALAR]]);
    let (kernel, constants) = of_rows(rec, forms, x, weight, eps);
    rec.dispatch(kernel, &[x, weight, y], &constants, grid(x.shape[0]));
}

/// sum = x + delta and y = sum / rms(sum) · weight; delta and y are f32 or f16.
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
    let [single, half] = [[&ADD_RMS_NORM, &ADD_RMS_NORM_SCALAR], [&ADD_RMS_NORM_HALF, &ADD_RMS_NORM_HALF_SCALAR]];
    let (kernel, constants) = of_rows(rec, of_type(y.dtype, [single, half]), x, weight, eps);
    rec.dispatch(kernel, &[x, delta, weight, sum, y], &constants, grid(x.shape[0]));
}

/// The gradient of a norm's input.
#[derive(Clone, Copy)]
pub struct InputGradient<'a> {
    /// The f32 tensor to write or add to.
    pub tensor: &'a Tensor,
    /// Whether to write or to add.
    pub output: Output,
    /// A copy in the type of the norm's output, if products need one.
    pub copy: Option<&'a Tensor>,
}

/// dx (+)= gradient of x, and dweight (+)= gradient of the weight, from dy in f32 or f16.
pub fn rms_norm_backward(
    rec: &mut Recorder,
    x: &Tensor,
    weight: &Tensor,
    dy: &Tensor,
    dx: InputGradient<'_>,
    dweight: Target<'_>,
    eps: f64,
) {
    let (rows, cols) = (x.shape[0], x.shape[1]);
    assert_eq!((&dy.shape, dweight.tensor.len()), (&x.shape, cols), "rms_norm_backward");
    let block = block_rows(&rec.profile, rows);
    let blocks = rows.div_ceil(block);
    let partial = rec.transient(Class::Scratch, DType::F32, "norm weight partial sums", &[blocks, cols]);
    let single = [&RMS_NORM_BACKWARD, &RMS_NORM_BACKWARD_SCALAR];
    let half = [&RMS_NORM_BACKWARD_HALF, &RMS_NORM_BACKWARD_HALF_SCALAR];
    let (kernel, mut constants) = of_rows(rec, of_type(dy.dtype, [single, half]), x, weight, eps);
    constants.extend([("BLOCK", block as f64), dx.output.constant(), flag("COPY", dx.copy.is_some())]);
    let nothing = rec.transient(Class::Scratch, dy.dtype, "no copy", &[4]);
    let bindings = [x, weight, dy, dx.tensor, &partial, dx.copy.unwrap_or(&nothing)];
    rec.dispatch(kernel, &bindings, &constants, [blocks as u32, 1, 1]);
    column_sum(rec, &partial, dweight);
}

/// Rows per workgroup of the backward pass: on a GPU, few enough for about a thousand workgroups.
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

/// Workgroup size for rows of `reals` `Real`s: the fewest lanes that keep a row in registers.
fn lanes(profile: &Profile, reals: usize) -> usize {
    if profile.software { 8 } else { reals.div_ceil(MOST_KEPT).next_power_of_two().clamp(32, 256) }
}
