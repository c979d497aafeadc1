//! Cross-entropy over chunks of the vocabulary: the logits of a full batch are never stored whole.

use super::{LANES, reduction_lanes};
use crate::gpu::{Recorder, Tensor, grid, kernels};
use crate::kernels::Output;

kernels! {
    CROSS_ENTROPY_STATISTICS = "cross_entropy_statistics" + "reduce";
    CROSS_ENTROPY_LOSS = "cross_entropy_loss" + "reduce";
    CROSS_ENTROPY_BACKWARD = "cross_entropy_backward";
}

/// A target that counts nothing: the padding of a last, partial batch.
pub const IGNORE: u32 = u32::MAX;

/// Takes one chunk of logits `[N, chunk]`, ids `first_id..first_id + chunk`, into the statistics `[N, 4]` of each row.
///
/// `output` is [`Output::Write`] for the first chunk.
pub fn statistics(
    rec: &mut Recorder,
    logits: &Tensor,
    targets: &Tensor,
    statistics: &Tensor,
    first_id: usize,
    output: Output,
) {
    let [rows, cols] = rows_cols(logits, targets, statistics);
    let constants = [
        ("ROWS", rows as f64),
        ("COLS", cols as f64),
        ("FIRST_ID", first_id as f64),
        ("BEGIN", f64::from(u8::from(output == Output::Write))),
        ("WG", reduction_lanes(&rec.profile) as f64),
    ];
    rec.dispatch(&CROSS_ENTROPY_STATISTICS, &[logits, targets, statistics], &constants, grid(rows));
}

/// loss `[1]` (+)= scale · Σ over rows of the negative log-likelihood, in nats.
pub fn loss(rec: &mut Recorder, statistics: &Tensor, targets: &Tensor, loss: &Tensor, scale: f64, output: Output) {
    let lanes = reduction_lanes(&rec.profile) as f64;
    let constants = [("ROWS", targets.len() as f64), ("SCALE", scale), ("WG", lanes), output.constant()];
    rec.dispatch(&CROSS_ENTROPY_LOSS, &[statistics, targets, loss], &constants, [1, 1, 1]);
}

/// One chunk of logits becomes its gradient, scale · (softmax − onehot), in place.
pub fn backward(
    rec: &mut Recorder,
    logits: &Tensor,
    targets: &Tensor,
    statistics: &Tensor,
    first_id: usize,
    scale: f64,
) {
    let [rows, cols] = rows_cols(logits, targets, statistics);
    let constants = [("ROWS", rows as f64), ("COLS", cols as f64), ("FIRST_ID", first_id as f64), ("SCALE", scale)];
    let groups = grid((rows * cols).div_ceil(LANES));
    rec.dispatch(&CROSS_ENTROPY_BACKWARD, &[logits, targets, statistics], &constants, groups);
}

fn rows_cols(logits: &Tensor, targets: &Tensor, statistics: &Tensor) -> [usize; 2] {
    let [rows, cols] = logits.shape[..] else { panic!("cross_entropy wants logits [N, V], got {:?}", logits.shape) };
    assert_eq!((targets.len(), &statistics.shape[..]), (rows, &[rows, 4][..]), "cross_entropy on {:?}", logits.shape);
    [rows, cols]
}
