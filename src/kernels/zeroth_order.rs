//! Steps from two losses without a gradient: the weights move to w + d and w − d along a random direction and back.

use super::WORKGROUP_SIZE;
use crate::gpu::{Recorder, Tensor, grid, kernels};

kernels! {
    TWO_POINT = "two_point" + "step" + "finite" + "perturb";
    PERTURB = "perturb" + "step" + "random" + "perturb";
    PERTURB_LOW_RANK = "perturb_low_rank" + "step" + "perturb";
}

/// The next move of a step's weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// From w to w + d.
    Plus,
    /// From w + d to w − d.
    Minus,
    /// From w − d back to w, and on along the step's last direction.
    Back,
    /// From w along an earlier direction of the step.
    Along,
}

/// The inputs and results of a two-point gradient estimate.
#[derive(Clone, Copy, Debug)]
pub struct TwoPoint<'a> {
    /// `[1]` each: the losses at w + d and w − d.
    pub losses: [&'a Tensor; 2],
    /// `[directions per step]`: the gradient along each.
    pub along: &'a Tensor,
    /// `[3]`: loss, clip factor and root mean square of the gradient, over the step's directions.
    pub statistics: &'a Tensor,
    /// `[4]`, for [`perturb`].
    pub how: &'a Tensor,
    /// ε.
    pub eps: f64,
    /// Limit on the gradient along a direction; 0 does not clip.
    pub max_norm: f64,
}

/// Fills `how` for the stage; once both losses are known, also the gradient along the direction, (L₊ − L₋)/2ε, and the
/// statistics.
pub fn two_point(rec: &mut Recorder, step: &Tensor, of: TwoPoint<'_>, stage: Stage) {
    let number = match stage {
        Stage::Plus => 0.0,
        Stage::Minus => 1.0,
        Stage::Back => 2.0,
        Stage::Along => 3.0,
    };
    let [plus, minus] = of.losses;
    let constants = [("STAGE", number), ("EPS", of.eps), ("MAX_NORM", of.max_norm)];
    rec.dispatch(&TWO_POINT, &[plus, minus, of.along, of.statistics, of.how, step], &constants, [1, 1, 1]);
}

/// How far the weights move, and how an update moves them.
#[derive(Clone, Copy, Debug)]
pub struct PerturbConstants {
    /// ε.
    pub eps: f64,
    /// Learning rate.
    pub lr: f64,
    /// Weight decay: added to the gradient, times the weight.
    pub weight_decay: f64,
}

impl PerturbConstants {
    /// All moves are multiples of this power of two, at most ε/16.
    pub fn quantum(&self) -> f64 {
        (self.eps.log2().floor() - 4.0).exp2()
    }

    /// The largest move, a power of two, at least 16 ε.
    pub fn reach(&self) -> f64 {
        (self.eps.log2().ceil() + 4.0).exp2()
    }

    fn list(self) -> [(&'static str, f64); 5] {
        let Self { eps, lr, weight_decay } = self;
        [("EPS", eps), ("QUANTUM", self.quantum()), ("REACH", self.reach()), ("LR", lr), ("WEIGHT_DECAY", weight_decay)]
    }
}

/// Moves a weight according to `how` along a direction of standard normal numbers, which differ by step, seed and
/// stream; it uses those from index `first` on.
pub fn perturb(
    rec: &mut Recorder,
    weight: &Tensor,
    [how, step]: [&Tensor; 2],
    (stream, first): (u32, usize),
    constants: PerturbConstants,
) {
    let len = weight.len();
    let mut constants = [&[("LEN", len as f64), ("STREAM", stream.into())][..], &constants.list()].concat();
    if first > 0 {
        constants.push(("FIRST", first as f64));
    }
    rec.dispatch(&PERTURB, &[weight, how, step], &constants, grid(len.div_ceil(WORKGROUP_SIZE)));
}

/// Moves a weight m×n according to `how` along scale·left·right; `left` `[m, r]`, `right` `[r, n]`.
pub fn perturb_low_rank(
    rec: &mut Recorder,
    weight: &Tensor,
    [left, right]: [&Tensor; 2],
    [how, step]: [&Tensor; 2],
    scale: f64,
    constants: PerturbConstants,
) {
    let [m, n] = weight.shape[..] else { panic!("perturb_low_rank wants a matrix, got {:?}", weight.shape) };
    let rank = right.shape[0];
    assert_eq!((&left.shape[..], &right.shape[..]), (&[m, rank][..], &[rank, n][..]), "perturb_low_rank of {m}×{n}");
    let own = [("ROWS", m as f64), ("COLS", n as f64), ("RANK", rank as f64), ("SCALE", scale)];
    let constants = [&own[..], &constants.list()].concat();
    rec.dispatch(
        &PERTURB_LOW_RANK,
        &[weight, left, right, how, step],
        &constants,
        grid((m * n).div_ceil(WORKGROUP_SIZE)),
    );
}
