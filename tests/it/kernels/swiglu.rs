use multinorm::kernels::swiglu;
use multinorm::reference;

use crate::support::{Case, assert_close_in, devices_and_types, random};

/// One exponential and one division; the worst seen is 1.3e-6.
const TOLERANCE: f64 = 1e-5;

/// Gates of some size, and two where a naive exponential leaves f32.
fn gates(len: usize) -> Vec<f32> {
    let mut gates: Vec<f32> = random(len, 1).iter().map(|x| 3.0 * x).collect();
    if let [first, second, ..] = &mut gates[..] {
        [*first, *second] = [-120.0, 120.0];
    }
    gates
}

#[test]
fn forward_and_gradients_agree_with_the_reference() {
    for (gpu, dtype) in devices_and_types() {
        for [rows, cols] in [[1, 1], [1, 64], [7, 13], [65, 67], [7, 172], [1, 4]] {
            let mut case = Case::on(gpu);
            let shape = [rows, cols];
            let (gate, gate_values) = case.numbers(dtype, &shape, &gates(rows * cols));
            let (up, up_values) = case.random_in(dtype, &shape, 2);
            let (dy, dy_values) = case.random_in(dtype, &shape, 3);
            let y = case.output_in(dtype, &shape);
            swiglu::swiglu(&mut case.rec, &gate, &up, &y);
            swiglu::swiglu_backward(&mut case.rec, &gate, &up, &dy);
            let done = case.run();

            let what = |name: &str| format!("software: {}, {dtype:?} {name} {shape:?}", gpu.profile.software);
            let want = reference::swiglu::forward(&gate_values, &up_values);
            assert_close_in(dtype, what("y"), &done.read(&y), &want, TOLERANCE);
            assert_close_in(dtype, what("y made again"), &done.read(&dy), &want, TOLERANCE);
            let (dgate, dup) = reference::swiglu::backward(&gate_values, &up_values, &dy_values);
            assert_close_in(dtype, what("dgate"), &done.read(&gate), &dgate, TOLERANCE);
            assert_close_in(dtype, what("dup"), &done.read(&up), &dup, TOLERANCE);
        }
    }
}
