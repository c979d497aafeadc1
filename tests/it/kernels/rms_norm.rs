use multinorm::kernels::rms_norm;
use multinorm::reference;

use crate::support::{Case, FORMS, OUTPUTS, assert_close, sum};

/// Large: with 1e-5 a forgotten eps almost passes.
const EPS: f64 = 0.1;
/// `[rows, cols]`: fewer and more columns than lanes, and than a workgroup keeps in registers; one row, several a block of
/// either form, and a last block that is short.
const SHAPES: [[usize; 2]; 11] =
    [[1, 1], [3, 5], [7, 64], [65, 67], [130, 172], [2, 515], [64, 8], [3, 4100], [5, 4099], [2051, 12], [2051, 3]];
/// The worst seen is 1.1e-6.
const TOLERANCE: f64 = 5e-6;
/// Sums over rows of products of four factors; the worst seen is 1e-6.
const GRADIENT_TOLERANCE: f64 = 5e-6;

#[test]
fn forward_agrees_with_the_reference() {
    for form in FORMS {
        for [rows, cols] in SHAPES {
            let mut case = Case::new(form);
            let (x, x_values) = case.random(&[rows, cols], 1);
            let (weight, weight_values) = case.random(&[cols], 2);
            let y = case.output(&[rows, cols]);
            rms_norm::rms_norm(&mut case.rec, &x, &weight, &y, EPS);
            let want = reference::rms_norm::forward(&x_values, &weight_values, rows, cols, EPS);
            assert_close(format!("{form:?} {rows}x{cols}"), &case.run().read(&y), &want, TOLERANCE);
        }
    }
}

#[test]
fn the_fused_residual_add_agrees_with_the_reference() {
    for form in FORMS {
        for [rows, cols] in SHAPES {
            let mut case = Case::new(form);
            let (x, x_values) = case.random(&[rows, cols], 1);
            let (delta, delta_values) = case.random(&[rows, cols], 2);
            let (weight, weight_values) = case.random(&[cols], 3);
            let (total, y) = (case.output(&[rows, cols]), case.output(&[rows, cols]));
            rms_norm::add_rms_norm(&mut case.rec, &x, &delta, &weight, &total, &y, EPS);
            let done = case.run();
            let want = sum(&x_values, &delta_values);
            assert_close(format!("{form:?} sum {rows}x{cols}"), &done.read(&total), &want, 1e-6);
            let want = reference::rms_norm::forward(&want, &weight_values, rows, cols, EPS);
            assert_close(format!("{form:?} y {rows}x{cols}"), &done.read(&y), &want, TOLERANCE);
        }
    }
}

#[test]
fn gradients_agree_with_the_reference() {
    for form in FORMS {
        for [rows, cols] in SHAPES {
            for (dx_output, dweight_output) in OUTPUTS.into_iter().flat_map(|a| OUTPUTS.map(|b| (a, b))) {
                let mut case = Case::new(form);
                let (x, x_values) = case.random(&[rows, cols], 1);
                let (weight, weight_values) = case.random(&[cols], 2);
                let (dy, dy_values) = case.random(&[rows, cols], 3);
                let (dx, dx_before) = case.target(&[rows, cols], dx_output, 4);
                let (dweight, dweight_before) = case.target(&[cols], dweight_output, 5);
                let outputs = ((&dx, dx_output), (&dweight, dweight_output));
                rms_norm::rms_norm_backward(&mut case.rec, &x, &weight, &dy, outputs.0, outputs.1, EPS);
                let done = case.run();

                let want = reference::rms_norm::backward(&x_values, &weight_values, &dy_values, rows, cols, EPS);
                let what = |name: &str| format!("{form:?} {name} {dx_output:?} {dweight_output:?} {rows}x{cols}");
                assert_close(what("dx"), &done.read(&dx), &sum(&dx_before, &want.0), GRADIENT_TOLERANCE);
                let want = sum(&dweight_before, &want.1);
                assert_close(what("dweight"), &done.read(&dweight), &want, GRADIENT_TOLERANCE);
            }
        }
    }
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
