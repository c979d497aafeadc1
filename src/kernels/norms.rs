//! Norms of gradients, and the clip factor computed from them.
//!
//! Squares are summed relative to the largest element, so that gradients of 1e25 and of 1e-30 have finite, nonzero
//! norms; NaN and infinity are detected by their bit patterns.

use super::{flag, lane_width, lanes_within, of_width, reduction_lanes, reduction_rounds};
use crate::gpu::{Class, DType, Profile, Recorder, Tensor, grid, kernels};

kernels! {
    SQUARED_NORM = "squared_norm" + "reduce" + "wide_norm" + "scalar";
    SQUARED_NORM_VEC4 = "squared_norm_vec4": "squared_norm" + "reduce" + "wide_norm" + "vec4";
    GRADIENT_NORMS = "gradient_norms" + "reduce" + "wide_norm";
    GRADIENT_STATISTICS = "gradient_statistics" + "reduce" + "wide_norm" + "finite" + "halt";
    GRADIENT_CHECK = "gradient_check" + "reduce" + "wide_norm" + "finite" + "halt";
}

/// Layout of a step's statistics `[3 + n]`: the loss, the clip factor, the norm of all gradients, then the norm of
/// each. A norm that overflows is clamped to the largest finite number; that of a non-finite gradient is not finite.
pub struct Statistics;

impl Statistics {
    /// Mean loss of the step, nats per token.
    pub const LOSS: usize = 0;
    /// Factor on the gradients; below 0 if the step updates nothing.
    pub const CLIP: usize = 1;
    /// The clip factor of a step skipped because its gradients overflowed: SKIPPED of shaders/lib/halt.wgsl. In a
    /// halted run it is less.
    pub const SKIPPED: f32 = -0.5;
    /// Norm of all gradients together.
    pub const NORM: usize = 2;
    /// Index of the first gradient's norm.
    pub const GRADIENTS: usize = 3;
}

/// Fills statistics `[3 + n]` from n gradients, except for the loss. No clipping if `max_norm` is 0.
pub fn gradient_statistics(rec: &mut Recorder, gradients: &[Tensor], statistics: &Tensor, max_norm: f64) {
    let norms = GradientNorms::new(rec, gradients.len(), false);
    for (index, gradient) in gradients.iter().enumerate() {
        norms.measure(rec, index, gradient);
    }
    norms.gather(rec);
    norms.finish(rec, statistics, max_norm);
}

/// The norms of n gradients, measured in any order.
pub struct GradientNorms {
    /// `[n, blocks, 2]`. Rows must be valid binding offsets: 64 pairs are 512 bytes.
    partial: Tensor,
    /// `[n, 2]`: the totals of `partial`.
    norms: Tensor,
    /// Whether a non-finite gradient only skips the step, because it overflowed under a loss scale.
    loss_scaled: bool,
}

/// Space for partial sums of a gradient: a large one must keep a GPU busy by itself.
fn room(profile: &Profile) -> usize {
    if profile.software { 64 } else { 256 }
}

/// Workgroups for a gradient of `len` numbers, independent of which others are measured with it.
fn blocks(profile: &Profile, len: usize) -> usize {
    /// Gives each lane several vec4s.
    const NUMBERS: usize = 8192;
    if profile.software { room(profile) } else { len.div_ceil(NUMBERS).min(room(profile)) }
}

impl GradientNorms {
    /// Allocates for n gradients; with `loss_scaled` a non-finite one skips the step instead of halting the run.
    pub fn new(rec: &mut Recorder, n: usize, loss_scaled: bool) -> Self {
        let room = room(&rec.profile);
        let partial = rec.transient(Class::Scratch, DType::U32, "norm partial sums", &[n, room, 2]);
        Self { partial, norms: rec.transient(Class::Scratch, DType::U32, "norms", &[n, 2]), loss_scaled }
    }

    /// Measures gradient `index`.
    pub fn measure(&self, rec: &mut Recorder, index: usize, gradient: &Tensor) {
        self.measure_all(rec, index, 1, gradient);
    }

    /// Measures `count` gradients of one length, stacked in `gradients`, starting with index `first`.
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

    /// Computes the norm of each gradient from its partial sums, once all are measured.
    pub fn gather(&self, rec: &mut Recorder) {
        let n = self.norms.shape[0];
        let constants = [("GRADIENTS", n as f64), self.partials(), ("WG", reduction_lanes(&rec.profile) as f64)];
        rec.dispatch(&GRADIENT_NORMS, &[&self.partial, &self.norms], &constants, grid(n));
    }

    /// Replaces [`GradientNorms::gather`] for an update that does not wait for the other gradients. Computes this
    /// gradient's norm, and a clip factor of 1, or below 0 if the loss, this gradient or an earlier one is not finite.
    pub fn check(&self, rec: &mut Recorder, index: usize, statistics: &Tensor) {
        let lanes = reduction_lanes(&rec.profile) as f64;
        let scaled = flag("LOSS_SCALED", self.loss_scaled);
        let constants = [("PARAMETER", index as f64), self.partials(), scaled, ("WG", lanes)];
        let partial = self.partial.rows(index..index + 1);
        rec.dispatch(&GRADIENT_CHECK, &[&partial, &self.norms, statistics], &constants, [1, 1, 1]);
    }

    /// Fills statistics `[3 + n]`, except for the loss, once all are gathered or checked. No clipping if `max_norm` is
    /// 0.
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
