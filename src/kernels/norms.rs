//! Squared norms of gradients, and the clip factor that follows from them.

use super::reduction_lanes;
use crate::gpu::{Class, DType, Recorder, Tensor, kernels};

kernels! {
    SQUARED_NORM = "squared_norm" + "reduce";
    GRADIENT_STATISTICS = "gradient_statistics" + "reduce" + "finite";
    GRADIENT_CHECK = "gradient_check" + "finite";
}

/// Partial sums of one gradient.
const BLOCKS: usize = 64;

/// Where a step's numbers stand in the statistics `[3 + n]`: the loss, the clip factor, the squared norm of all
/// gradients, then the squared norm of each.
pub struct Place;

impl Place {
    /// Mean loss of the step, nats a token.
    pub const LOSS: usize = 0;
    /// What gradients are multiplied by.
    pub const CLIP: usize = 1;
    /// Squared norm of all gradients together.
    pub const SQUARED_NORM: usize = 2;
    /// First of the squared norms of each gradient.
    pub const GRADIENTS: usize = 3;
}

/// Fills statistics `[3 + n]` from n gradients; the loss stays. No clipping if `max_norm` is 0.
pub fn gradient_statistics(rec: &mut Recorder, gradients: &[Tensor], statistics: &Tensor, max_norm: f64) {
    let norms = GradientNorms::new(rec, gradients.len());
    for (index, gradient) in gradients.iter().enumerate() {
        norms.measure(rec, index, gradient);
    }
    norms.finish(rec, statistics, max_norm);
}

/// The squared norms of n gradients while they are measured, in any order.
pub struct GradientNorms {
    /// `[n, BLOCKS]`. Rows start where a binding may: 64 values are the 256 bytes that WebGPU asks for.
    partial: Tensor,
}

impl GradientNorms {
    /// Room for n gradients.
    pub fn new(rec: &mut Recorder, n: usize) -> Self {
        Self { partial: rec.transient(Class::Scratch, DType::F32, "norm partial sums", &[n, BLOCKS]) }
    }

    /// Measures gradient `index`.
    pub fn measure(&self, rec: &mut Recorder, index: usize, gradient: &Tensor) {
        let len = gradient.len();
        let lanes = reduction_lanes(&rec.profile) as f64;
        let constants = [("LEN", len as f64), ("BLOCK", len.div_ceil(BLOCKS) as f64), ("WG", lanes)];
        rec.dispatch(&SQUARED_NORM, &[gradient, &self.row(index)], &constants, [BLOCKS as u32, 1, 1]);
    }

    /// Makes the clip factor 1, or −1 if the loss, this gradient or an earlier one is not finite: for an update that
    /// does not wait for the other gradients.
    pub fn check(&self, rec: &mut Recorder, index: usize, statistics: &Tensor) {
        let constants = [("PARAMETER", index as f64), ("BLOCKS", BLOCKS as f64)];
        rec.dispatch(&GRADIENT_CHECK, &[&self.row(index), statistics], &constants, [1, 1, 1]);
    }

    /// Fills statistics `[3 + n]` when all are measured; the loss stays. No clipping if `max_norm` is 0.
    pub fn finish(&self, rec: &mut Recorder, statistics: &Tensor, max_norm: f64) {
        let n = self.partial.shape[0];
        assert_eq!(statistics.len(), Place::GRADIENTS + n, "statistics of {n} gradients");
        let lanes = reduction_lanes(&rec.profile) as f64;
        let constants = [("N_PARAMETERS", n as f64), ("BLOCKS", BLOCKS as f64), ("MAX_NORM", max_norm), ("WG", lanes)];
        rec.dispatch(&GRADIENT_STATISTICS, &[&self.partial, statistics], &constants, [1, 1, 1]);
    }

    fn row(&self, index: usize) -> Tensor {
        self.partial.rows(index..index + 1)
    }
}
