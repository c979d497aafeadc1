//! SwiGLU (Shazeer, 2020): silu(gate) · up.

use super::{REAL_LANES, widest};
use crate::gpu::{Kernel, Recorder, Tensor, grid, kernels};

kernels! {
    SWIGLU = "swiglu" + "vec4";
    SWIGLU_SCALAR = "swiglu_scalar": "swiglu" + "scalar";
    SWIGLU_BACKWARD = "swiglu_backward" + "vec4";
    SWIGLU_BACKWARD_SCALAR = "swiglu_backward_scalar": "swiglu_backward" + "scalar";
}

/// y = silu(gate) · up, all of one shape.
pub fn swiglu(rec: &mut Recorder, gate: &Tensor, up: &Tensor, y: &Tensor) {
    record(rec, [&SWIGLU, &SWIGLU_SCALAR], [gate, up, y]);
}

/// In place: gate becomes its gradient, up becomes its gradient, dy becomes y.
pub fn swiglu_backward(rec: &mut Recorder, gate: &Tensor, up: &Tensor, dy: &Tensor) {
    record(rec, [&SWIGLU_BACKWARD, &SWIGLU_BACKWARD_SCALAR], [gate, up, dy]);
}

fn record(rec: &mut Recorder, widths: [&'static Kernel; 2], tensors: [&Tensor; 3]) {
    assert!(tensors.iter().all(|t| t.shape == tensors[0].shape), "swiglu on {tensors:?}");
    let (kernel, len) = widest(widths, tensors[0].len());
    rec.dispatch(kernel, &tensors, &[("LEN", len as f64)], grid(len.div_ceil(REAL_LANES)));
}
