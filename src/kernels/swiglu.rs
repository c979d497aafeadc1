//! SwiGLU (Shazeer, 2020): silu(gate) · up.

use super::LANES;
use crate::gpu::{Kernel, Recorder, Tensor, grid, kernels};

kernels! {
    SWIGLU = "swiglu";
    SWIGLU_BACKWARD = "swiglu_backward";
}

/// y = silu(gate) · up, all of one shape.
pub fn swiglu(rec: &mut Recorder, gate: &Tensor, up: &Tensor, y: &Tensor) {
    record(rec, &SWIGLU, [gate, up, y]);
}

/// In place: gate becomes its gradient, up becomes its gradient, dy becomes y.
pub fn swiglu_backward(rec: &mut Recorder, gate: &Tensor, up: &Tensor, dy: &Tensor) {
    record(rec, &SWIGLU_BACKWARD, [gate, up, dy]);
}

fn record(rec: &mut Recorder, kernel: &'static Kernel, tensors: [&Tensor; 3]) {
    assert!(tensors.iter().all(|t| t.shape == tensors[0].shape), "swiglu on {tensors:?}");
    let len = tensors[0].len();
    rec.dispatch(kernel, &tensors, &[("LEN", len as f64)], grid(len.div_ceil(LANES)));
}
