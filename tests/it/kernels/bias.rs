use multinorm::kernels::bias::{add_bias, column_sum};
use multinorm::kernels::{Output, Target};
use multinorm::reference::bias;

use crate::support::{Case, assert_close, assert_close_in, devices_and_types};

/// Rows and columns: one of each, primes, multiples of 4, and more rows than a workgroup has lanes.
const SHAPES: [[usize; 2]; 6] = [[1, 1], [1, 8], [7, 13], [5, 12], [300, 20], [1031, 37]];

#[test]
fn a_bias_is_added_to_every_row() {
    for (gpu, dtype) in devices_and_types() {
        for [rows, cols] in SHAPES {
            let mut case = Case::on(gpu);
            let (y, before) = case.random_in(dtype, &[rows, cols], 1);
            let (b, values) = case.random(&[cols], 2);
            add_bias(&mut case.rec, &y, &b);
            let want = bias::forward(&before, &values);
            // One rounding; the worst seen is 1.6e-7.
            assert_close_in(dtype, format!("{dtype:?} {rows}x{cols}"), &case.run().read(&y), &want, 1e-6);
        }
    }
}

#[test]
fn its_gradient_is_the_sum_of_the_rows() {
    for (gpu, dtype) in devices_and_types() {
        for [rows, cols] in SHAPES {
            for output in [Output::Write, Output::Accumulate] {
                let mut case = Case::on(gpu);
                let (dy, values) = case.random_in(dtype, &[rows, cols], 1);
                let (db, before) = case.random(&[cols], 2);
                column_sum(&mut case.rec, &dy, Target::new(&db, output));
                let mut want = bias::backward(&values, cols);
                if output == Output::Accumulate {
                    want.iter_mut().zip(&before).for_each(|(sum, before)| *sum += before);
                }
                // The summands are exact in either type; the worst seen is 6e-7.
                assert_close(format!("{dtype:?} {rows}x{cols} {output:?}"), &case.run().read(&db), &want, 3e-6);
            }
        }
    }
}
