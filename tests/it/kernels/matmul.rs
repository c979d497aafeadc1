use multinorm::kernels::{Output, matmul};
use multinorm::reference;

use crate::support::{Case, FORMS, OUTPUTS, assert_close, sum};

/// `[M, N, K]` below, at and beyond blocks of 8 and tiles of 64, each dimension once no multiple of 4.
/// The vec4 forms want K (nt), K and N (nn), M and N (tn) in fours; else, the strided form is tested instead.
const SHAPES: [[usize; 3]; 11] = [
    [1, 515, 130], // one row: matvec
    [65, 132, 36],
    [132, 68, 37],
    [65, 67, 68],
    [72, 64, 16],
    [12, 20, 28],
    [4, 4, 4],
    [7, 13, 12],
    [9, 65, 17],
    [3, 200, 1],
    [1, 1, 1],
];

/// With the first so many shapes every kernel comes up, and they are added to what is there as well.
const ACCUMULATED: usize = 3;

/// Sums of K products of normal numbers; the worst seen is 1.1e-6.
const TOLERANCE: f64 = 6e-6;

#[test]
fn the_three_layouts_agree_with_the_reference() {
    for form in FORMS {
        for (index, [m, n, k]) in SHAPES.into_iter().enumerate() {
            let mut case = Case::new(form);
            let (mk, mk_values) = case.random(&[m, k], 1);
            let (nk, nk_values) = case.random(&[n, k], 2);
            let (kn, kn_values) = case.random(&[k, n], 3);
            let (km, km_values) = case.random(&[k, m], 4);
            let products = [
                ("nt", reference::matmul::nt(&mk_values, &nk_values, [m, n, k])),
                ("nn", reference::matmul::nn(&mk_values, &kn_values, [m, n, k])),
                ("tn", reference::matmul::tn(&km_values, &kn_values, [m, n, k])),
            ];
            let mut checks = Vec::new();
            for output in if index < ACCUMULATED { &OUTPUTS[..] } else { &OUTPUTS[..1] } {
                for (layout, product) in &products {
                    let (y, before) = case.target(&[m, n], *output, 5);
                    match *layout {
                        "nt" => matmul::nt(&mut case.rec, &mk, &nk, &y, *output),
                        "nn" => matmul::nn(&mut case.rec, &mk, &kn, &y, *output),
                        _ => matmul::tn(&mut case.rec, &km, &kn, &y, *output),
                    }
                    checks.push((format!("{form:?} {layout} {output:?} {m}x{n}x{k}"), y, sum(&before, product)));
                }
            }
            let done = case.run();
            for (what, y, want) in checks {
                assert_close(what, &done.read(&y), &want, TOLERANCE);
            }
        }
    }
}

#[test]
fn a_matrix_times_itself_reads_one_buffer_twice() {
    for form in FORMS {
        let mut case = Case::new(form);
        let (x, values) = case.random(&[12, 20], 1);
        let y = case.output(&[12, 12]);
        matmul::nt(&mut case.rec, &x, &x, &y, Output::Write);
        let want = reference::matmul::nt(&values, &values, [12, 12, 20]);
        assert_close(format!("{form:?} x xT"), &case.run().read(&y), &want, TOLERANCE);
    }
}

#[test]
#[should_panic(expected = "matmul nt: x [2, 4], w [3, 5]")]
fn inner_dimensions_that_differ_panic_with_both_shapes() {
    let mut case = Case::new(FORMS[0]);
    let [x, w, y] = [[2, 4], [3, 5], [2, 3]].map(|shape| case.output(&shape));
    matmul::nt(&mut case.rec, &x, &w, &y, OUTPUTS[0]);
}
