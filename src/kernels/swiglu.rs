//! SwiGLU (Shazeer, 2020): silu(gate) · up.

use super::{REAL_LANES, of_type, widest};
use crate::gpu::{Kernel, Need, Recorder, Tensor, grid, kernels};

kernels! {
    SWIGLU = "swiglu" + "vec4" + "single";
    SWIGLU_SCALAR = "swiglu_scalar": "swiglu" + "scalar" + "single";
    SWIGLU_HALF = "swiglu_half": "swiglu" + "vec4" + "half", with (Stored = "vec4<f16>"), needs Need::F16;
    SWIGLU_HALF_SCALAR = "swiglu_half_scalar": "swiglu" + "scalar" + "half", with (Stored = "f16"), needs Need::F16;
    SWIGLU_BACKWARD = "swiglu_backward" + "vec4" + "single";
    SWIGLU_BACKWARD_SCALAR = "swiglu_backward_scalar": "swiglu_backward" + "scalar" + "single";
    SWIGLU_BACKWARD_HALF =
        "swiglu_backward_half": "swiglu_backward" + "vec4" + "half", with (Stored = "vec4<f16>"), needs Need::F16;
    SWIGLU_BACKWARD_HALF_SCALAR =
        "swiglu_backward_half_scalar": "swiglu_backward" + "scalar" + "half", with (Stored = "f16"), needs Need::F16;
}

/// y = silu(gate) · up, all of one shape and type.
pub fn swiglu(rec: &mut Recorder, gate: &Tensor, up: &Tensor, y: &Tensor) {
    let forms = [[&SWIGLU, &SWIGLU_SCALAR], [&SWIGLU_HALF, &SWIGLU_HALF_SCALAR]];
    record(rec, forms, [gate, up, y]);
}

/// In place: gate becomes its gradient, up becomes its gradient, dy becomes y.
pub fn swiglu_backward(rec: &mut Recorder, gate: &Tensor, up: &Tensor, dy: &Tensor) {
    let single = [&SWIGLU_BACKWARD, &SWIGLU_BACKWARD_SCALAR];
    let half = [&SWIGLU_BACKWARD_HALF, &SWIGLU_BACKWARD_HALF_SCALAR];
    record(rec, [single, half], [gate, up, dy]);
}

fn record(rec: &mut Recorder, forms: [[&'static Kernel; 2]; 2], tensors: [&Tensor; 3]) {
    assert!(tensors.iter().all(|t| t.shape == tensors[0].shape), "swiglu on {tensors:?}");
    let (kernel, len) = widest(of_type(tensors[0].dtype, forms), tensors[0].len());
    rec.dispatch(kernel, &tensors, &[("LEN", len as f64)], grid(len.div_ceil(REAL_LANES)));
}
