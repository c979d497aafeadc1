//! Squared norms of gradients, and the clip factor that follows from them.

use super::reduction_lanes;
use crate::gpu::{Class, Kernel, Recorder, Tensor, kernel};

pub(super) const KERNELS: &[Kernel] = &[kernel!("squared_norm", "reduce"), kernel!("gradient_statistics", "reduce")];

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
    assert_eq!(statistics.len(), Place::GRADIENTS + gradients.len(), "statistics of {} gradients", gradients.len());
    let lanes = reduction_lanes(&rec.profile) as f64;
    // Rows start where a binding may: 64 values are the 256 bytes that WebGPU asks for.
    let partial = rec.transient(Class::Scratch, "norm partial sums", &[gradients.len(), BLOCKS]);
    for (index, gradient) in gradients.iter().enumerate() {
        let len = gradient.len();
        let constants = [("LEN", len as f64), ("BLOCK", len.div_ceil(BLOCKS) as f64), ("WG", lanes)];
        let row = partial.rows(index..index + 1);
        rec.dispatch(&KERNELS[0], &[gradient, &row], &constants, [BLOCKS as u32, 1, 1]);
    }
    let constants =
        [("N_PARAMETERS", gradients.len() as f64), ("BLOCKS", BLOCKS as f64), ("MAX_NORM", max_norm), ("WG", lanes)];
    rec.dispatch(&KERNELS[1], &[&partial, statistics], &constants, [1, 1, 1]);
}
