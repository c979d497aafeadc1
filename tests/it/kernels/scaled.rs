use multinorm::config::Pass::{self, Column, Frobenius, Max, Row, Sign, Standardize};
use multinorm::gpu::{Recorder, Tensor};
use multinorm::kernels::scaled::{MAX_COLS, StepConstants, apply};
use multinorm::optim::{Iterate, reference_pass};
use multinorm::reference::passes;

use super::sgd::{halted, schedule, statistics, step};
use crate::support::{Case, FORMS, Form, assert_close, random, widen};

/// For ten passes; the worst seen is 9e-7.
const TOLERANCE: f64 = 1e-5;

/// Vectors, odd sizes, several blocks of 8 rows; rows that need several lanes' registers, and blocks above 8 rows.
const SHAPES: [[usize; 2]; 9] =
    [[1, 1], [1, 37], [37, 1], [7, 13], [64, 172], [130, 515], [3, 4100], [2100, 3], [2, MAX_COLS]];

/// A gradient without zeros, with rows and columns of very different sizes, as in training.
pub fn uneven(m: usize, n: usize, seed: u64) -> Vec<f32> {
    let (g, rows, columns) = (random(m * n, seed), random(m, seed + 1), random(n, seed + 2));
    (0..m * n).map(|at| g[at] * (rows[at / n] + columns[at % n]).exp()).collect()
}

/// `row, column`, repeated this many times.
fn row_column(iterations: usize) -> Vec<Pass> {
    [Row, Column].repeat(iterations)
}

fn iterate(rec: &mut Recorder, gradient: &Tensor, list: &[Pass]) -> Iterate {
    let mut iterate = Iterate::new(gradient).unwrap();
    iterate.passes(rec, list);
    iterate
}

/// X after the passes.
pub fn normalized(form: Form, g: &[f32], [m, n]: [usize; 2], list: &[Pass]) -> Vec<f32> {
    let mut case = Case::new(form);
    let gradient = case.input(&[m, n], g);
    let x = case.output(&[m, n]);
    let iterate = iterate(&mut case.rec, &gradient, list);
    multinorm::kernels::scaled::materialize(&mut case.rec, &iterate.x, &x);
    case.run().read(&x)
}

/// The same with the reference.
pub fn reference_of(g: &[f32], [m, n]: [usize; 2], list: &[Pass]) -> Vec<f64> {
    list.iter().fold(widen(g), |x, pass| reference_pass(*pass, &x, [m, n]))
}

fn frobenius(x: &[f32]) -> f64 {
    x.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt()
}

#[test]
fn every_list_of_passes_agrees_with_the_reference() {
    let lists: [&[Pass]; 18] = [
        &[Row],
        &[Column],
        &[Row, Column],
        &[Column, Row],
        &[Row, Row],
        &[Column, Column],
        &[Row, Column, Column, Row],
        &[Column, Row, Column],
        &[Row, Column, Row, Column, Row],
        &[Standardize],
        &[Row, Column, Standardize, Column],
        &[Frobenius],
        &[Column, Frobenius, Row],
        &[Max],
        &[Standardize, Row, Max],
        &[Sign],
        &[Row, Sign, Frobenius, Column],
        &[Sign, Standardize, Sign],
    ];
    for form in FORMS {
        for list in lists {
            for shape in [[1, 1], [7, 13], [37, 1], [21, 70], [2, 300]] {
                let g = uneven(shape[0], shape[1], 1);
                let what = format!("{form:?} {list:?} of {shape:?}");
                assert_close(what, &normalized(form, &g, shape, list), &reference_of(&g, shape, list), TOLERANCE);
            }
        }
    }
}

#[test]
fn every_shape_agrees_with_the_reference() {
    for form in FORMS {
        for shape in SHAPES {
            for list in [row_column(5), vec![Standardize, Frobenius], vec![Max, Column]] {
                let g = uneven(shape[0], shape[1], 1);
                let what = format!("{form:?} {list:?} of {shape:?}");
                assert_close(what, &normalized(form, &g, shape, &list), &reference_of(&g, shape, &list), TOLERANCE);
            }
        }
    }
}

#[test]
fn a_step_goes_along_x_by_the_scheduled_rate_and_shrinks_the_weight() {
    let ([m, n], [lr, scale, weight_decay]) = ([7, 13], [0.8, 0.25, 0.3]);
    for form in FORMS {
        for list in [vec![Row], row_column(1), vec![Sign], vec![Row, Column, Sign], vec![Standardize]] {
            let g = uneven(m, n, 2);
            let mut case = Case::new(form);
            let (weight, before) = case.random(&[m, n], 1);
            let gradient = case.input(&[m, n], &g);
            let (statistics, numbers) = (statistics(&mut case), step(&mut case));
            let x = iterate(&mut case.rec, &gradient, &list).x;
            apply(&mut case.rec, &x, &weight, &statistics, &numbers, StepConstants { lr, scale, weight_decay });
            let done = case.allocate();
            done.write(&numbers, &[schedule(3).to_bits(), 3, 0, 0]);
            done.run();
            let lr = lr * f64::from(schedule(3));
            let x = reference_of(&g, [m, n], &list);
            let want: Vec<f64> = before.iter().zip(x).map(|(w, x)| w - lr * (scale * x + weight_decay * w)).collect();
            assert_close(format!("{form:?} {list:?}"), &done.read(&weight), &want, TOLERANCE);
        }
    }
}

#[test]
fn a_halted_run_leaves_the_weight_alone() {
    for form in FORMS {
        let mut case = Case::new(form);
        let (weight, before) = case.random(&[7, 13], 1);
        let gradient = case.input(&[7, 13], &uneven(7, 13, 2));
        let (halted, numbers) = (halted(&mut case), case.input(&[4], &[1.0f32.to_bits(), 1, 0, 0]));
        let x = iterate(&mut case.rec, &gradient, &row_column(1)).x;
        let hyper = StepConstants { lr: 1.0, scale: 1.0, weight_decay: 0.1 };
        apply(&mut case.rec, &x, &weight, &halted, &numbers, hyper);
        assert_close(format!("{form:?} weight"), &case.run().read(&weight), &before, 0.0);
    }
}

#[test]
fn every_pass_ends_on_one_sphere_and_the_last_on_exact_columns() {
    for form in FORMS {
        for [m, n] in SHAPES {
            let g = uneven(m, n, 3);
            for iterations in [1, 5] {
                let mut list = row_column(iterations);
                let x = normalized(form, &g, [m, n], &list);
                let sphere = frobenius(&x) / ((m * n) as f64).sqrt();
                assert!((sphere - 1.0).abs() < 1e-5, "{form:?} {m}x{n}, {list:?}: frobenius/√(mn) is {sphere}");
                for (column, norm) in passes::column_norms(&widen(&x), m, n).into_iter().enumerate() {
                    let ratio = norm / (m as f64).sqrt();
                    assert!((ratio - 1.0).abs() < 1e-5, "{form:?} {m}x{n}, {list:?}: column {column} has {ratio}");
                }
                list.push(Row);
                let x = normalized(form, &g, [m, n], &list);
                let sphere = frobenius(&x) / ((m * n) as f64).sqrt();
                assert!((sphere - 1.0).abs() < 1e-5, "{form:?} {m}x{n}, {list:?}: frobenius/√(mn) is {sphere}");
            }
        }
    }
}

#[test]
fn signs_and_zeros_are_kept() {
    let [m, n] = [9, 70];
    let mut g = uneven(m, n, 4);
    (0..n).for_each(|j| g[2 * n + j] = 0.0); // a whole row
    (0..m).for_each(|i| g[i * n + 65] = 0.0); // a whole column
    g[1] = 0.0;
    for form in FORMS {
        for list in [vec![Row], vec![Column], row_column(5), vec![Frobenius], vec![Max], vec![Sign]] {
            let x = normalized(form, &g, [m, n], &list);
            for (at, (g, x)) in g.iter().zip(&x).enumerate() {
                let kept = x.is_finite() && (*g == 0.0) == (*x == 0.0) && g * x >= 0.0;
                assert!(kept, "{form:?} {list:?}: element {at}, {g}, became {x}");
            }
        }
    }
}

#[test]
fn zero_matrices_and_constant_rows_become_zero() {
    for form in FORMS {
        for pass in [Row, Column, Standardize, Sign, Frobenius, Max, "spectral".parse().unwrap()] {
            let x = normalized(form, &[0.0; 7 * 13], [7, 13], &[pass, pass]);
            assert!(x.iter().all(|x| *x == 0.0), "{form:?} {pass}: {x:?}");
        }
        // The mean of 0.1s is not exact in f32: what remains is rounding error, not a direction.
        let mut g = vec![0.1f32; 300];
        g.extend(uneven(1, 300, 5));
        let (x, want) = (normalized(form, &g, [2, 300], &[Standardize]), reference_of(&g, [2, 300], &[Standardize]));
        assert_close(format!("{form:?} constant row"), &x, &want, TOLERANCE);
        assert!(want[..300].iter().all(|x| *x == 0.0) && want[300] != 0.0);
        assert!(normalized(form, &uneven(5, 1, 6), [5, 1], &[Standardize]).iter().all(|x| *x == 0.0), "one column");
    }
}

#[test]
fn rows_below_the_threshold_stay_out_of_every_later_pass() {
    let [m, n] = [21, 30];
    let mut g = uneven(m, n, 7);
    g[..2 * n].iter_mut().for_each(|g| *g *= 1e-4);
    (0..n).for_each(|j| g[5 * n + j] = 0.0);
    let threshold = 0.01;
    let dropped = passes::drop_rows(&widen(&g), m, n, threshold);
    let narrow: Vec<f32> = dropped.iter().map(|x| *x as f32).collect();
    assert!(dropped[..2 * n].iter().all(|x| *x == 0.0) && dropped[2 * n] != 0.0);
    for form in FORMS {
        for list in [row_column(3), vec![Row], vec![Standardize], vec![Sign], vec![Column, Row], vec![]] {
            let mut case = Case::new(form);
            let (gradient, x) = (case.input(&[m, n], &g), case.output(&[m, n]));
            let mut iterate = Iterate::new(&gradient).unwrap();
            iterate.drop_rows(&mut case.rec, threshold);
            iterate.passes(&mut case.rec, &list);
            multinorm::kernels::scaled::materialize(&mut case.rec, &iterate.x, &x);
            let want = reference_of(&narrow, [m, n], &list);
            assert_close(format!("{form:?} {list:?}"), &case.run().read(&x), &want, TOLERANCE);
        }
    }
}

#[test]
fn the_limit_ignores_positive_scales_of_rows_and_columns() {
    let [m, n] = [13, 19];
    let (g, rows, columns) = (random(m * n, 5), random(m, 6), random(n, 7));
    let scaled: Vec<f32> = (0..m * n).map(|at| g[at] * (rows[at / n] + columns[at % n]).exp()).collect();
    for form in FORMS {
        let [limit, scaled] = [&g, &scaled].map(|g| normalized(form, g, [m, n], &row_column(100)));
        assert_close(format!("{form:?} limit"), &scaled, &widen(&limit), 1e-4);
    }
}

#[test]
fn rank_one_gives_the_sign_in_one_iteration() {
    for form in FORMS {
        for [m, n] in [[4, 9], [65, 131]] {
            let (u, v) = (random(m, 8), random(n, 9));
            let g: Vec<f32> = u.iter().flat_map(|u| v.iter().map(move |v| u * v)).collect();
            let sign: Vec<f64> = g.iter().map(|g| f64::from(*g).signum()).collect();
            assert_close(format!("{form:?} {m}x{n}"), &normalized(form, &g, [m, n], &row_column(1)), &sign, TOLERANCE);
        }
    }
}

#[test]
fn the_gradients_scale_does_not_matter() {
    let [m, n] = [64, 172];
    let g = uneven(m, n, 10);
    for form in FORMS {
        for list in [row_column(5), vec![Column, Row], vec![Standardize], vec![Frobenius], vec![Max], vec![Row]] {
            let want = reference_of(&g, [m, n], &list);
            for scale in [1e-30, 1e-12, 1e12, 1e30] {
                let scaled: Vec<f32> = g.iter().map(|g| scale * g).collect();
                let what = format!("{form:?} {list:?} of a gradient times {scale:e}");
                assert_close(what, &normalized(form, &scaled, [m, n], &list), &want, TOLERANCE);
            }
        }
    }
}

#[test]
fn the_largest_entry_of_a_row_is_found_in_every_column() {
    // Its square is out of range, in a unit that the other entries would give.
    for form in FORMS {
        for n in [67, 260] {
            let g: Vec<f32> = (0..n * n).map(|at| if at / n == at % n { 1e25 } else { 1.0 }).collect();
            let got = normalized(form, &g, [n, n], &[Pass::Row]);
            assert_close(format!("{form:?} {n}"), &got, &reference_of(&g, [n, n], &[Pass::Row]), TOLERANCE);
        }
    }
}

#[test]
fn a_matrix_beyond_the_registers_is_refused() {
    let mut case = Case::new(FORMS[0]);
    let gradient = case.output(&[1, MAX_COLS + 1]);
    let message = Iterate::new(&gradient).unwrap_err().to_string();
    assert!(message.contains("1×16385 is too wide") && message.contains("at most 16384"), "{message}");
}
