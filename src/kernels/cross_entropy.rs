//! Cross-entropy of rows of logits, and its gradient in place.

use super::{Output, kept, of_type, widest};
use crate::gpu::{Kernel, Need, Profile, Recorder, Tensor, grid, kernels};

kernels! {
    CROSS_ENTROPY = "cross_entropy" + "vec4" + "single" + "exponentials" + "reduce";
    CROSS_ENTROPY_SCALAR = "cross_entropy_scalar": "cross_entropy" + "scalar" + "single" + "exponentials" + "reduce";
    CROSS_ENTROPY_HALF = "cross_entropy_half": "cross_entropy" + "vec4" + "half" + "exponentials" + "reduce",
        with (Stored = "vec4<f16>"), needs Need::F16;
    CROSS_ENTROPY_HALF_SCALAR =
        "cross_entropy_half_scalar": "cross_entropy" + "scalar" + "half" + "exponentials" + "reduce",
        with (Stored = "f16"), needs Need::F16;
    CROSS_ENTROPY_BACKWARD = "cross_entropy_backward" + "vec4" + "single" + "exponentials" + "reduce";
    CROSS_ENTROPY_BACKWARD_SCALAR =
        "cross_entropy_backward_scalar": "cross_entropy_backward" + "scalar" + "single" + "exponentials" + "reduce";
    CROSS_ENTROPY_BACKWARD_HALF =
        "cross_entropy_backward_half": "cross_entropy_backward" + "vec4" + "half" + "exponentials" + "reduce",
        with (Stored = "vec4<f16>"), needs Need::F16;
    CROSS_ENTROPY_BACKWARD_HALF_SCALAR =
        "cross_entropy_backward_half_scalar": "cross_entropy_backward" + "scalar" + "half" + "exponentials" + "reduce",
        with (Stored = "f16"), needs Need::F16;
    CROSS_ENTROPY_SUM = "cross_entropy_sum" + "reduce";
}

/// A target that is ignored: the padding of a last, partial batch.
pub const IGNORE: u32 = u32::MAX;

/// Most `Real`s per lane: MOST_KEPT of shaders/lib/exponentials.wgsl.
const MOST_KEPT: usize = 16;

/// losses `[N]` = −ln p(target) of each row of logits `[N, V]`, in nats; 0 if the target is [`IGNORE`]. Logits are f32
/// or f16.
pub fn losses(rec: &mut Recorder, logits: &Tensor, targets: &Tensor, losses: &Tensor) {
    let forms = [[&CROSS_ENTROPY, &CROSS_ENTROPY_SCALAR], [&CROSS_ENTROPY_HALF, &CROSS_ENTROPY_HALF_SCALAR]];
    let (kernel, constants) = of_rows(rec, forms, logits, targets, losses);
    rec.dispatch(kernel, &[logits, targets, losses], &constants, grid(losses.len()));
}

/// Computes [`losses`] and overwrites logits with the gradient, scale · loss scale · (softmax − onehot). The loss scale
/// is `[1]`, or 1 if none is given.
pub fn losses_and_gradient(
    rec: &mut Recorder,
    logits: &Tensor,
    targets: &Tensor,
    losses: &Tensor,
    scale: f64,
    loss_scale: Option<&Tensor>,
) {
    let single = [&CROSS_ENTROPY_BACKWARD, &CROSS_ENTROPY_BACKWARD_SCALAR];
    let half = [&CROSS_ENTROPY_BACKWARD_HALF, &CROSS_ENTROPY_BACKWARD_HALF_SCALAR];
    let (kernel, mut constants) = of_rows(rec, [single, half], logits, targets, losses);
    constants.push(("SCALE", scale));
    let factor = loss_scale.cloned().unwrap_or_else(|| rec.one());
    rec.dispatch(kernel, &[logits, targets, losses, &factor], &constants, grid(losses.len()));
}

/// loss `[1]` (+)= scale · Σ losses.
pub fn sum(rec: &mut Recorder, losses: &Tensor, loss: &Tensor, scale: f64, output: Output) {
    let lanes = if rec.profile.software { 8.0 } else { 256.0 };
    let constants = [("ROWS", losses.len() as f64), ("SCALE", scale), ("WG", lanes), output.constant()];
    rec.dispatch(&CROSS_ENTROPY_SUM, &[losses, loss], &constants, [1, 1, 1]);
}

/// The kernel for rows of logits, and its constants.
fn of_rows(
    rec: &Recorder,
    forms: [[&'static Kernel; 2]; 2],
    logits: &Tensor,
    targets: &Tensor,
    losses: &Tensor,
) -> (&'static Kernel, Vec<(&'static str, f64)>) {
    let [rows, cols] = logits.shape[..] else { panic!("cross_entropy wants logits [N, V], got {:?}", logits.shape) };
    assert_eq!([targets.len(), losses.len()], [rows, rows], "cross_entropy on {:?}", logits.shape);
    let (kernel, cols) = widest(of_type(logits.dtype, forms), cols);
    let lanes = lanes(&rec.profile, cols) as f64;
    let kept = ("KEPT", kept(&rec.profile, MOST_KEPT));
    (kernel, vec![("ROWS", rows as f64), ("COLS", cols as f64), ("WG", lanes), kept])
}

/// Workgroup size for rows of `reals` `Real`s: the fewest lanes that keep a row in registers, within the default limit.
fn lanes(profile: &Profile, reals: usize) -> usize {
    if profile.software { 8 } else { reals.div_ceil(MOST_KEPT).next_power_of_two().clamp(64, 256) }
}
