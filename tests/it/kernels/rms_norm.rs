use multinorm::gpu::{DType, Gpu};
use multinorm::kernels::rms_norm::{self, InputGradient};
use multinorm::kernels::{Output, Target};
use multinorm::reference;

use crate::support::{Case, FORMS, OUTPUTS, assert_close, assert_close_in, devices_and_types, sum};

/// Large, because with 1e-5 a forgotten eps almost passes.
const EPS: f64 = 0.1;
/// `[rows, cols]`: fewer and more columns than lanes, and than fit in a workgroup's registers; one row, several rows
/// per block in either form, and a short last block.
const SHAPES: [[usize; 2]; 11] =
    [[1, 1], [3, 5], [7, 64], [65, 67], [130, 172], [2, 515], [64, 8], [3, 4100], [5, 4099], [2051, 12], [2051, 3]];
/// The worst seen is 1.1e-6.
const TOLERANCE: f64 = 5e-6;
/// For sums over rows of products of four factors; the worst seen is 1e-6.
const GRADIENT_TOLERANCE: f64 = 5e-6;

#[test]
fn forward_agrees_with_the_reference() {
    for (gpu, dtype) in devices_and_types() {
        for [rows, cols] in SHAPES {
            let mut case = Case::on(gpu);
            let (x, x_values) = case.random(&[rows, cols], 1);
            let (weight, weight_values) = case.random(&[cols], 2);
            let y = case.output_in(dtype, &[rows, cols]);
            rms_norm::rms_norm(&mut case.rec, &x, &weight, &y, EPS);
            let want = reference::rms_norm::forward(&x_values, &weight_values, rows, cols, EPS);
            assert_close_in(dtype, what(gpu, dtype, "y", rows, cols), &case.run().read(&y), &want, TOLERANCE);
        }
    }
}

#[test]
fn the_fused_residual_add_agrees_with_the_reference() {
    for (gpu, dtype) in devices_and_types() {
        for [rows, cols] in SHAPES {
            let mut case = Case::on(gpu);
            let (x, x_values) = case.random(&[rows, cols], 1);
            let (delta, delta_values) = case.random_in(dtype, &[rows, cols], 2);
            let (weight, weight_values) = case.random(&[cols], 3);
            let (total, y) = (case.output(&[rows, cols]), case.output_in(dtype, &[rows, cols]));
            rms_norm::add_rms_norm(&mut case.rec, &x, &delta, &weight, &total, &y, EPS);
            let done = case.run();
            let want = sum(&x_values, &delta_values);
            assert_close(what(gpu, dtype, "sum", rows, cols), &done.read(&total), &want, 1e-6);
            let want = reference::rms_norm::forward(&want, &weight_values, rows, cols, EPS);
            assert_close_in(dtype, what(gpu, dtype, "y", rows, cols), &done.read(&y), &want, TOLERANCE);
        }
    }
}

#[test]
fn gradients_agree_with_the_reference() {
    for (gpu, dtype) in devices_and_types() {
        for [rows, cols] in SHAPES {
            for (dx_output, dweight_output) in OUTPUTS.into_iter().flat_map(|a| OUTPUTS.map(|b| (a, b))) {
                let mut case = Case::on(gpu);
                let (x, x_values) = case.random(&[rows, cols], 1);
                let (weight, weight_values) = case.random(&[cols], 2);
                let (dy, dy_values) = case.random_in(dtype, &[rows, cols], 3);
                let (dx, dx_before) = case.target(&[rows, cols], dx_output, 4);
                let copy = case.output_in(dtype, &[rows, cols]);
                let (dweight, dweight_before) = case.target(&[cols], dweight_output, 5);
                let factor = case.input(&[1], &[0.25f32]);
                // Make a copy if dx is accumulated, and pass a factor if the weight's gradient is.
                let copied = dx_output == Output::Accumulate;
                let scaled = dweight_output == Output::Accumulate;
                let to_x = InputGradient { tensor: &dx, output: dx_output, copy: copied.then_some(&copy) };
                let to_weight = Target { factor: scaled.then_some(&factor), ..Target::new(&dweight, dweight_output) };
                rms_norm::rms_norm_backward(&mut case.rec, &x, &weight, &dy, to_x, to_weight, EPS);
                let done = case.run();

                let want = reference::rms_norm::backward(&x_values, &weight_values, &dy_values, rows, cols, EPS);
                let what =
                    |name: &str| format!("{} {dx_output:?} {dweight_output:?}", what(gpu, dtype, name, rows, cols));
                let want_dx = sum(&dx_before, &want.0);
                assert_close(what("dx"), &done.read(&dx), &want_dx, GRADIENT_TOLERANCE);
                if copied {
                    assert_close_in(dtype, what("copy of dx"), &done.read(&copy), &want_dx, GRADIENT_TOLERANCE);
                }
                let factor = if scaled { 0.25 } else { 1.0 };
                let found: Vec<f64> = want.1.iter().map(|x| factor * x).collect();
                let want = sum(&dweight_before, &found);
                assert_close(what("dweight"), &done.read(&dweight), &want, GRADIENT_TOLERANCE);
            }
        }
    }
}

fn what(gpu: &Gpu, dtype: DType, name: &str, rows: usize, cols: usize) -> String {
    let kind = if gpu.profile.software { "software" } else { "GPU" };
    format!("{kind}, {dtype:?}: {name} {rows}x{cols}")
}

#[test]
fn rows_beyond_one_line_of_the_grid_are_normalized() {
    let [rows, cols] = [65_535 + 38, 3];
    for form in FORMS {
        let mut case = Case::new(form);
        let (x, x_values) = case.random(&[rows, cols], 1);
        let (weight, weight_values) = case.random(&[cols], 2);
        let y = case.output(&[rows, cols]);
        rms_norm::rms_norm(&mut case.rec, &x, &weight, &y, EPS);
        let want = reference::rms_norm::forward(&x_values, &weight_values, rows, cols, EPS);
        assert_close(format!("{form:?} {rows}x{cols}"), &case.run().read(&y), &want, TOLERANCE);
    }
}
