//! Adapters in tensor-train form: the train's two factors as small matrix products, and the operations around them.

use super::{Output, WORKGROUP_SIZE, matmul};
use crate::gpu::{Class, DType, Recorder, Tensor, grid, kernels};

kernels! {
    BIAS_RELU = "bias_relu";
    ADAPTER_RESIDUAL = "adapter_residual";
}

/// x ← max(x + bias, 0) for x `[N, C]`, bias `[C]`.
pub fn bias_relu(rec: &mut Recorder, x: &Tensor, bias: &Tensor) {
    let constants = sizes(x, bias);
    rec.dispatch(&BIAS_RELU, &[x, bias], &constants, grid(x.len().div_ceil(WORKGROUP_SIZE)));
}

/// y = x + scale · (up + bias); all are `[N, C]` except bias `[C]`.
pub fn adapter_residual(rec: &mut Recorder, [x, up]: [&Tensor; 2], bias: &Tensor, y: &Tensor, scale: f64) {
    assert!(x.shape == up.shape && x.shape == y.shape, "adapter: x {:?}, up {:?}, y {:?}", x.shape, up.shape, y.shape);
    let [len, cols] = sizes(x, bias);
    let constants = [len, cols, ("SCALE", scale)];
    rec.dispatch(&ADAPTER_RESIDUAL, &[x, up, bias, y], &constants, grid(x.len().div_ceil(WORKGROUP_SIZE)));
}

fn sizes(x: &Tensor, bias: &Tensor) -> [(&'static str, f64); 2] {
    let cols = bias.len();
    assert_eq!(x.shape.last(), Some(&cols), "bias {:?} on {:?}", bias.shape, x.shape);
    [("LEN", x.len() as f64), ("COLS", cols as f64)]
}

/// A new tensor x·W, for the matrix W given by the cores `[r, n, r']`: the first half of them forms its input side
/// `[in, r]`, the rest its output side `[r, out]`. W itself is never formed.
pub fn tensor_train(rec: &mut Recorder, x: &Tensor, cores: &[&Tensor]) -> Tensor {
    let (inputs, outputs) = cores.split_at(cores.len() / 2);
    let first = inputs.first().expect("a tensor train has cores");
    // [in so far, r] · [r, n r'] gives [in so far, n r'], read as [in so far · n, r'].
    let mut left = first.reshaped(&[first.shape[0] * first.shape[1], first.shape[2]]);
    for core in &inputs[1..] {
        let [r, n, after] = core.shape[..] else { panic!("a core has three sides, got {:?}", core.shape) };
        let product = rec.transient(Class::Scratch, DType::F32, "tensor train", &[left.shape[0], n * after]);
        matmul::nn(rec, &left, &core.reshaped(&[r, n * after]), &product, Output::Write);
        left = product.reshaped(&[left.shape[0] * n, after]);
    }
    let last = outputs.last().expect("a tensor train has cores");
    let mut right = last.reshaped(&[last.shape[0], last.shape[1] * last.shape[2]]);
    for core in outputs[..outputs.len() - 1].iter().rev() {
        let [r, n, after] = core.shape[..] else { panic!("a core has three sides, got {:?}", core.shape) };
        let product = rec.transient(Class::Scratch, DType::F32, "tensor train", &[r * n, right.shape[1]]);
        matmul::nn(rec, &core.reshaped(&[r * n, after]), &right, &product, Output::Write);
        right = product.reshaped(&[r, n * right.shape[1]]);
    }
    let inner = rec.transient(Class::Activations, DType::F32, "inside a tensor train", &[x.shape[0], left.shape[1]]);
    matmul::nn(rec, x, &left, &inner, Output::Write);
    let y = rec.transient(Class::Activations, DType::F32, "after a tensor train", &[x.shape[0], right.shape[1]]);
    matmul::nn(rec, &inner, &right, &y, Output::Write);
    y
}
