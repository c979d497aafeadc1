//! Norms of gradients, and the clip factor that follows from them.
//!
//! Squares are added in a unit that follows from the largest number, so that gradients of 1e25 and of 1e-30 have their
//! norms too; what is NaN or infinite is found by its bits.

use super::{flag, lane_width, lanes_within, of_width, reduction_lanes, reduction_rounds};
use crate::gpu::{Class, DType, Profile, Recorder, Tensor, grid, kernels};

kernels! {
    SQUARED_NORM = "squared_norm" + "reduce" + "wide_norm" + "scalar";
    SQUARED_NORM_VEC4 = "squared_norm_vec4": "squared_norm" + "reduce" + "wide_norm" + "vec4";
    GRADIENT_NORMS = "gradient_norms" + "reduce" + "wide_norm";
    GRADIENT_STATISTICS = "gradient_statistics" + "reduce" + "wide_norm" + "finite" + "halt";
    GRADIENT_CHECK = "gradient_check" + "reduce" + "wide_norm" + "finite" + "halt";
}

/// Where a step's numbers stand in the statistics `[3 + n]`: the loss, the clip factor, the norm of all gradients, then
/// the norm of each. A norm beyond the largest number is that number; that of a gradient that is not finite is not finite.
pub struct Statistics;

impl Statistics {
    /// Mean loss of the step, nats a token.
    pub const LOSS: usize = 0;
    /// What gradients are multiplied by; below 0 in a step that moves nothing.
    pub const CLIP: usize = 1;
    /// What stands there in a step that was skipped because its gradients overflowed: SKIPPED of shaders/lib/halt.wgsl. In a
    /// run that was halted it is less.
    pub const SKIPPED: f32 = -0.5;
    /// Norm of all gradients together.
    pub const NORM: usize = 2;
    /// First of the norms of each gradient.
    pub const GRADIENTS: usize = 3;
}

/// Fills statistics `[3 + n]` from n gradients; the loss stays. No clipping if `max_norm` is 0.
pub fn gradient_statistics(rec: &mut Recorder, gradients: &[Tensor], statistics: &Tensor, max_norm: f64) {
    let norms = GradientNorms::new(rec, gradients.len(), false);
    for (index, gradient) in gradients.iter().enumerate() {
        norms.measure(rec, index, gradient);
    }
    norms.gather(rec);
    norms.finish(rec, statistics, max_norm);
}

/// The norms of n gradients while they are measured, in any order.
pub struct GradientNorms {
    /// `[n, blocks, 2]`. Rows start where a binding may: 64 pairs are 512 bytes.
    partial: Tensor,
    /// `[n, 2]`: what `partial` comes to.
    norms: Tensor,
    /// Whether a gradient that is not finite skips the step alone: it has overflowed under a loss scale.
    loss_scaled: bool,
}

/// Partial sums that a gradient has room for. A large one alone must keep a GPU busy.
fn room(profile: &Profile) -> usize {
    if profile.software { 64 } else { 256 }
}

/// Workgroups that a gradient of `len` numbers is shared out to; they do not depend on what is measured beside it.
fn blocks(profile: &Profile, len: usize) -> usize {
    /// So that a lane has some vec4s.
    const NUMBERS: usize = 8192;
    if profile.software { room(profile) } else { len.div_ceil(NUMBERS).min(room(profile)) }
}

impl GradientNorms {
    /// Room for n gradients; `loss_scaled` where one that is not finite skips the step, and does not halt the run.
    pub fn new(rec: &mut Recorder, n: usize, loss_scaled: bool) -> Self {
        let room = room(&rec.profile);
        let partial = rec.transient(Class::Scratch, DType::U32, "norm partial sums", &[n, room, 2]);
        Self { partial, norms: rec.transient(Class::Scratch, DType::U32, "norms", &[n, 2]), loss_scaled }
    }

    /// Measures gradient `index`.
    pub fn measure(&self, rec: &mut Recorder, index: usize, gradient: &Tensor) {
        self.measure_all(rec, index, 1, gradient);
    }

    /// Measures `count` gradients of one length, which lie one after the other in `gradients`: number `first` and the next.
    pub fn measure_all(&self, rec: &mut Recorder, first: usize, count: usize, gradients: &Tensor) {
        assert!(gradients.len().is_multiple_of(count), "{count} gradients in {:?}", gradients.shape);
        let len = gradients.len() / count;
        let width = lane_width(&rec.profile, len);
        let reals = len / width;
        let block = reals.div_ceil(blocks(&rec.profile, len));
        let blocks = reals.div_ceil(block);
        let room = self.partial.shape[1];
        let lanes = lanes_within(&rec.profile, reduction_lanes(&rec.profile), |lanes| {
            2 * block.div_ceil(lanes) + 2 * reduction_rounds(lanes) + room.div_ceil(blocks * lanes)
        });
        let constants = [
            ("GRADIENTS", count as f64),
            ("LEN", reals as f64),
            ("BLOCK", block as f64),
            ("BLOCKS", blocks as f64),
            ("PARTIALS", room as f64),
            ("WG", lanes as f64),
        ];
        let kernel = of_width(width, [&SQUARED_NORM_VEC4, &SQUARED_NORM]);
        let partial = self.partial.rows(first..first + count);
        rec.dispatch(kernel, &[gradients, &partial], &constants, grid(count * blocks));
    }

    /// Makes the norm of each gradient of its partial sums, when all are measured.
    pub fn gather(&self, rec: &mut Recorder) {
        let n = self.norms.shape[0];
        let constants = [("GRADIENTS", n as f64), self.partials(), ("WG", reduction_lanes(&rec.profile) as f64)];
        rec.dispatch(&GRADIENT_NORMS, &[&self.partial, &self.norms], &constants, grid(n));
    }

    /// Instead of [`GradientNorms::gather`], for an update that does not wait for the other gradients: makes the norm of this
    /// gradient, and the clip factor 1, or one below 0 if the loss, this gradient or an earlier one is not finite.
    pub fn check(&self, rec: &mut Recorder, index: usize, statistics: &Tensor) {
        let lanes = reduction_lanes(&rec.profile) as f64;
        let scaled = flag("LOSS_SCALED", self.loss_scaled);
        let constants = [("PARAMETER", index as f64), self.partials(), scaled, ("WG", lanes)];
        let partial = self.partial.rows(index..index + 1);
        rec.dispatch(&GRADIENT_CHECK, &[&partial, &self.norms, statistics], &constants, [1, 1, 1]);
    }

    /// Fills statistics `[3 + n]` when all are gathered or checked; the loss stays. No clipping if `max_norm` is 0.
    pub fn finish(&self, rec: &mut Recorder, statistics: &Tensor, max_norm: f64) {
        let n = self.norms.shape[0];
        assert_eq!(statistics.len(), Statistics::GRADIENTS + n, "statistics of {n} gradients");
        let lanes = reduction_lanes(&rec.profile) as f64;
        let scaled = flag("LOSS_SCALED", self.loss_scaled);
        let constants = [("N_PARAMETERS", n as f64), ("MAX_NORM", max_norm), scaled, ("WG", lanes)];
        rec.dispatch(&GRADIENT_STATISTICS, &[&self.norms, statistics], &constants, [1, 1, 1]);
    }

    fn partials(&self) -> (&'static str, f64) {
        ("PARTIALS", self.partial.shape[1] as f64)
    }
}
