//! Pruning by policy gradient: masks over groups of heads and over channels, and the scores they are drawn from
//! (arXiv 2406.10576).
#![cfg_attr(
    target_arch = "wasm32",
    expect(dead_code, reason = "a page prunes nothing, and does not list these kernels")
)]

use super::{WORKGROUP_SIZE, lanes_within, reduction_lanes, reduction_rounds};
use crate::gpu::{Recorder, Tensor, grid, kernels};

kernels! {
    DRAW_MASK = "draw_mask" + "step" + "random";
    MASK_COLUMNS = "mask_columns";
    LOSS_BASELINE = "loss_baseline" + "step" + "finite";
    SCORE_STEP = "score_step" + "step" + "finite";
    PROJECT_SCORES = "project_scores" + "reduce";
}

/// mask = 1 with the probability that `scores` gives for each unit, else 0, drawn for this step from a stream.
pub fn draw_mask(rec: &mut Recorder, scores: &Tensor, mask: &Tensor, step: &Tensor, stream: u32) {
    assert_eq!(scores.len(), mask.len(), "a mask of {:?} for scores {:?}", mask.shape, scores.shape);
    let len = scores.len();
    let constants = [("LEN", len as f64), ("STREAM", stream.into())];
    rec.dispatch(&DRAW_MASK, &[scores, mask, step], &constants, grid(len.div_ceil(WORKGROUP_SIZE)));
}

/// Multiplies the columns of x `[N, C]` by the first `units` numbers of `mask`: C / units adjacent columns per unit.
pub fn mask_columns(rec: &mut Recorder, mask: &Tensor, units: usize, x: &Tensor) {
    let cols = x.shape[1];
    assert!(units <= mask.len() && cols.is_multiple_of(units), "{units} of {:?} for {:?}", mask.shape, x.shape);
    let len = x.len();
    let constants = [("LEN", len as f64), ("COLS", cols as f64), ("WIDTH", (cols / units) as f64)];
    rec.dispatch(&MASK_COLUMNS, &[mask, x], &constants, grid(len.div_ceil(WORKGROUP_SIZE)));
}

/// The moving mean `[1]` over about `window` steps of losses, the first numbers of the rows of `[samples, pitch]`.
pub fn loss_baseline(rec: &mut Recorder, losses: &Tensor, baseline: &Tensor, step: &Tensor, window: f64) {
    let [samples, pitch] = sides(losses);
    let constants = [("SAMPLES", samples as f64), ("PITCH", pitch as f64), ("WINDOW", window)];
    rec.dispatch(&LOSS_BASELINE, &[losses, baseline, step], &constants, [1, 1, 1]);
}

/// What [`score_step`] reads.
#[derive(Clone, Copy)]
pub struct Trials<'a> {
    /// `[samples, units]`.
    pub masks: &'a Tensor,
    /// `[samples, pitch]`, a loss at the start of each row; at least two.
    pub losses: &'a Tensor,
    /// `[1]`.
    pub baseline: &'a Tensor,
}

/// One step of `scores` `[units]` against the estimated gradient of the expected loss.
pub fn score_step(rec: &mut Recorder, trials: Trials<'_>, scores: &Tensor, step: &Tensor, lr: f64) {
    let Trials { masks, losses, baseline } = trials;
    let ([samples, pitch], len) = (sides(losses), scores.len());
    assert!(samples > 1 && masks.len() == samples * len, "masks {:?} for {samples} losses", masks.shape);
    let constants = [("LEN", len as f64), ("SAMPLES", samples as f64), ("PITCH", pitch as f64), ("LR", lr)];
    let bindings = [masks, losses, baseline, scores, step];
    rec.dispatch(&SCORE_STEP, &bindings, &constants, grid(len.div_ceil(WORKGROUP_SIZE)));
}

/// Projects the scores of each of `scopes` equal parts onto [0, 1] and a sum of at most `budget`.
pub fn project_scores(rec: &mut Recorder, scores: &Tensor, scopes: usize, budget: f64) {
    assert_eq!(scores.len() % scopes, 0, "{scopes} scopes of {:?}", scores.shape);
    let len = scores.len() / scopes;
    let lanes = lanes_within(&rec.profile, reduction_lanes(&rec.profile), |lanes| project_rounds(len, lanes));
    let constants = [("LEN", len as f64), ("BUDGET", budget), ("WG", lanes as f64)];
    rec.dispatch(&PROJECT_SCORES, &[scores], &constants, [scopes as u32, 1, 1]);
}

fn sides(tensor: &Tensor) -> [usize; 2] {
    let [rows, cols] = tensor.shape[..] else { panic!("expected a matrix, got {:?}", tensor.shape) };
    [rows, cols]
}

/// Loop iterations per lane of `project_scores`.
fn project_rounds(len: usize, lanes: usize) -> usize {
    let share = len.div_ceil(lanes);
    let sum = share + reduction_rounds(lanes);
    2 * share + reduction_rounds(lanes) + sum + 21 * (1 + sum)
}
