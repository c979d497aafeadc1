//! SwiGLU (Shazeer, 2020): silu(gate) · up.

use super::matmul::{self, HALF_UNITS, Layout, Product, Variant};
use super::{Output, REAL_LANES, of_type, widest};
use crate::gpu::{Kernel, Need, Profile, Recorder, Tensor, grid, kernels};

kernels! {
    SWIGLU = "swiglu" + "silu" + "vec4" + "single";
    SWIGLU_SCALAR = "swiglu_scalar": "swiglu" + "silu" + "scalar" + "single";
    SWIGLU_HALF = "swiglu_half": "swiglu" + "silu" + "vec4" + "half", with (Stored = "vec4<f16>"), needs Need::F16;
    SWIGLU_HALF_SCALAR =
        "swiglu_half_scalar": "swiglu" + "silu" + "scalar" + "half", with (Stored = "f16"), needs Need::F16;
    MATMUL_SWIGLU_HALF_UNITS =
        "matmul_swiglu_half_units" + "half_units" + "units_32" + "silu" + "vec4" + "half", with (Stored = "vec4<f16>"),
        needs Need::F16, Need::MatrixUnits, Need::Subgroups(32), Need::WorkgroupBytes(24_576);
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

/// gate = x·w_gateᵀ, up = x·w_upᵀ and y = silu(gate) · up for x `[M, K]`, both weights `[N, K]`, and gate, up and y
/// `[M, N]`.
///
/// One kernel computes all three if [`matmul::select`] would choose [`HALF_UNITS`] in one part for each product;
/// otherwise two products and [`swiglu`] do, with bit-identical results.
pub fn swiglu_of_products(rec: &mut Recorder, x: &Tensor, weights: [&Tensor; 2], [gate, up, y]: [&Tensor; 3]) {
    let [product, other] = [0, 1].map(|at| Product::of(Layout::Nt, [x, weights[at]], [gate, up][at]));
    assert_eq!(product, other, "products of a SwiGLU");
    assert_eq!((y.dtype, &y.shape), (gate.dtype, &gate.shape), "swiglu of products");
    if !is_one_kernel(&rec.profile, &product) {
        matmul::nt(rec, x, weights[0], gate, Output::Write);
        matmul::nt(rec, x, weights[1], up, Output::Write);
        return swiglu(rec, gate, up, y);
    }
    let (kernel, [m, n, k], flops) = (&MATMUL_SWIGLU_HALF_UNITS, product.mnk, 2 * product.flops());
    // Not measured itself: it follows the choice for its two products.
    rec.chose(format!("swiglu of {}", product.what(&rec.profile)), kernel.name.into(), flops);
    let constants = [("M", m as f64), ("N", n as f64), ("K", k as f64)];
    let [rows, cols] = HALF_UNITS.extent;
    let groups = [n.div_ceil(cols / 2) as u32, m.div_ceil(rows) as u32, 1];
    rec.dispatch(kernel, &[x, weights[0], weights[1], gate, up, y], &constants, groups);
    rec.flops(flops);
}

/// Whether one kernel can compute two such products: they use its tile, in one part.
fn is_one_kernel(profile: &Profile, product: &Product) -> bool {
    product.matrices == 1 && matmul::select(profile, product) == Variant { tile: &HALF_UNITS, parts: 1 }
}

/// In place: gate and up become their gradients, dy becomes y.
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
