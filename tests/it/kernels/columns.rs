use multinorm::kernels::columns;
use multinorm::reference;

use crate::support::{Case, assert_close, devices_and_types};

const ROWS: usize = 7;
/// Columns of the whole matrix, the part's first column and its width: divisible by 4 or not, in several combinations.
const SIZES: [[usize; 3]; 5] = [[12, 4, 8], [300, 128, 128], [13, 4, 8], [12, 3, 4], [9, 8, 1]];

#[test]
fn columns_are_taken_as_they_are() {
    for (gpu, dtype) in devices_and_types() {
        for [m, first, p] in SIZES {
            let mut case = Case::on(gpu);
            let (whole, values) = case.random_in(dtype, &[ROWS, m], 1);
            let part = case.output_in(dtype, &[ROWS, p]);
            columns::take_columns(&mut case.rec, &whole, first, &part);
            let want = reference::columns::take(&values, m, first, p);
            assert_close(format!("{dtype:?} {p} of {m} from {first}"), &case.run().read(&part), &want, 0.0);
        }
    }
}

#[test]
fn columns_are_put_beside_others_which_stay() {
    for (gpu, dtype) in devices_and_types() {
        for [m, first, p] in SIZES {
            let mut case = Case::on(gpu);
            let (whole, before) = case.random_in(dtype, &[ROWS, m], 1);
            let (part, values) = case.random_in(dtype, &[ROWS, p], 2);
            columns::put_columns(&mut case.rec, &part, &whole, first);
            let want = reference::columns::put(&before, m, first, &values, p);
            assert_close(format!("{dtype:?} {p} of {m} from {first}"), &case.run().read(&whole), &want, 0.0);
        }
    }
}
