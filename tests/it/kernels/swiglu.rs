use multinorm::kernels::swiglu;
use multinorm::reference;

use crate::support::{Case, FORMS, assert_close, random, widen};

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
    for form in FORMS {
        for [rows, cols] in [[1, 1], [1, 64], [7, 13], [65, 67], [7, 172], [1, 4]] {
            let mut case = Case::new(form);
            let (shape, gate_values) = ([rows, cols], gates(rows * cols));
            let gate = case.input(&shape, &gate_values);
            let (up, up_values) = case.random(&shape, 2);
            let (dy, dy_values) = case.random(&shape, 3);
            let y = case.output(&shape);
            swiglu::swiglu(&mut case.rec, &gate, &up, &y);
            swiglu::swiglu_backward(&mut case.rec, &gate, &up, &dy);
            let done = case.run();

            let gate_values = widen(&gate_values);
            let what = |name: &str| format!("{form:?} {name} {shape:?}");
            let want = reference::swiglu::forward(&gate_values, &up_values);
            assert_close(what("y"), &done.read(&y), &want, TOLERANCE);
            assert_close(what("y made again"), &done.read(&dy), &want, TOLERANCE);
            let (dgate, dup) = reference::swiglu::backward(&gate_values, &up_values, &dy_values);
            assert_close(what("dgate"), &done.read(&gate), &dgate, TOLERANCE);
            assert_close(what("dup"), &done.read(&up), &dup, TOLERANCE);
        }
    }
}
