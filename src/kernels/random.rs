//! Random matrices, generated where they are used.

use super::{WORKGROUP_SIZE, of_type};
use crate::gpu::{Need, Recorder, Tensor, grid, kernels};

kernels! {
    GAUSSIAN = "gaussian" + "step" + "random" + "scalar" + "single";
    GAUSSIAN_HALF =
        "gaussian_half": "gaussian" + "step" + "random" + "scalar" + "half", with (Stored = "f16"), needs Need::F16;
}

/// Fills `out` with `scale` times standard normal numbers from a stream, redrawn every `interval` steps.
pub fn gaussian(rec: &mut Recorder, out: &Tensor, step: &Tensor, scale: f64, stream: u32, interval: u32) {
    let len = out.len();
    let constants = [("LEN", len as f64), ("SCALE", scale), ("STREAM", stream.into()), ("INTERVAL", interval.into())];
    rec.dispatch(
        of_type(out.dtype, [&GAUSSIAN, &GAUSSIAN_HALF]),
        &[out, step],
        &constants,
        grid(len.div_ceil(WORKGROUP_SIZE)),
    );
}
