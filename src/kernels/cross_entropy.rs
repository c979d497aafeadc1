//! Cross-entropy of rows of logits, and its gradient in their place.

use super::{Output, kept, widest};
use crate::gpu::{Kernel, Profile, Recorder, Tensor, grid, kernels};

kernels! {
    CROSS_ENTROPY = "cross_entropy" + "vec4" + "exponentials" + "reduce";
    CROSS_ENTROPY_SCALAR = "cross_entropy_scalar": "cross_entropy" + "scalar" + "exponentials" + "reduce";
    CROSS_ENTROPY_BACKWARD = "cross_entropy_backward" + "vec4" + "exponentials" + "reduce";
    CROSS_ENTROPY_BACKWARD_SCALAR =
        "cross_entropy_backward_scalar": "cross_entropy_backward" + "scalar" + "exponentials" + "reduce";
    CROSS_ENTROPY_SUM = "cross_entropy_sum" + "reduce";
}

/// A target that counts nothing: the padding of a last, partial batch.
pub const IGNORE: u32 = u32::MAX;

/// `Real`s that one lane takes at a time at most: MOST_KEPT of shaders/lib/exponentials.wgsl.
const MOST_KEPT: usize = 16;

/// losses `[N]` = −ln p(target) of each row of logits `[N, V]`, in nats; 0 where the target is [`IGNORE`].
pub fn losses(rec: &mut Recorder, logits: &Tensor, targets: &Tensor, losses: &Tensor) {
    let (kernel, constants) = of_rows(rec, [&CROSS_ENTROPY, &CROSS_ENTROPY_SCALAR], logits, targets, losses);
    rec.dispatch(kernel, &[logits, targets, losses], &constants, grid(losses.len()));
}

/// Losses as [`losses`]; and logits becomes its gradient, scale · (softmax − onehot), in place.
pub fn losses_and_gradient(rec: &mut Recorder, logits: &Tensor, targets: &Tensor, losses: &Tensor, scale: f64) {
    let widths = [&CROSS_ENTROPY_BACKWARD, &CROSS_ENTROPY_BACKWARD_SCALAR];
    let (kernel, mut constants) = of_rows(rec, widths, logits, targets, losses);
    constants.push(("SCALE", scale));
    rec.dispatch(kernel, &[logits, targets, losses], &constants, grid(losses.len()));
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
    widths: [&'static Kernel; 2],
    logits: &Tensor,
    targets: &Tensor,
    losses: &Tensor,
) -> (&'static Kernel, Vec<(&'static str, f64)>) {
    let [rows, cols] = logits.shape[..] else { panic!("cross_entropy wants logits [N, V], got {:?}", logits.shape) };
    assert_eq!([targets.len(), losses.len()], [rows, rows], "cross_entropy on {:?}", logits.shape);
    let (kernel, cols) = widest(widths, cols);
    let lanes = lanes(&rec.profile, cols) as f64;
    let kept = ("KEPT", kept(&rec.profile, MOST_KEPT));
    (kernel, vec![("ROWS", rows as f64), ("COLS", cols as f64), ("WG", lanes), kept])
}

/// Lanes of a workgroup, for rows of so many `Real`s: as few as keep a row in registers, and no more than all adapters have.
fn lanes(profile: &Profile, reals: usize) -> usize {
    if profile.software { 8 } else { reals.div_ceil(MOST_KEPT).next_power_of_two().clamp(64, 256) }
}
