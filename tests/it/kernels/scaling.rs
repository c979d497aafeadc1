use multinorm::gpu::Form;
use multinorm::kernels::scaling::{MAX_COLS, Scaling, StepConstants};
use multinorm::reference::{self, passes};

use super::sgd::{halted, schedule, statistics, step};
use crate::support::{Case, FORMS, assert_close, random, widen};

/// Ten passes; the worst seen is 9e-7.
const TOLERANCE: f64 = 1e-5;

/// Vectors, odd sizes, several blocks of 8 rows; then rows that take several lanes' registers, and blocks above 8 rows.
const SHAPES: [[usize; 2]; 9] =
    [[1, 1], [1, 37], [37, 1], [7, 13], [64, 172], [130, 515], [3, 4100], [2100, 3], [2, MAX_COLS]];

/// A pass of the list, and whether a row pass takes the column pass after it along.
#[derive(Clone, Copy, Debug)]
enum Pass {
    Row,
    Column,
    RowColumn,
}

use Pass::{Column, Row, RowColumn};

/// A gradient without zeros, with rows and columns of very different size, as training has them.
fn uneven(m: usize, n: usize, seed: u64) -> Vec<f32> {
    let (g, rows, columns) = (random(m * n, seed), random(m, seed + 1), random(n, seed + 2));
    (0..m * n).map(|at| g[at] * (rows[at / n] + columns[at % n]).exp()).collect()
}

fn record(case: &mut Case, scaling: &mut Scaling, passes: &[Pass]) {
    for pass in passes {
        match pass {
            Row => scaling.pass(&mut case.rec, true, false),
            Column => scaling.pass(&mut case.rec, false, true),
            RowColumn => scaling.pass(&mut case.rec, true, true),
        }
    }
}

/// X after the passes, as a step along -X from zero weights leaves it.
fn normalized(form: Form, g: &[f32], [m, n]: [usize; 2], passes: &[Pass]) -> Vec<f32> {
    let mut case = Case::new(form);
    let gradient = case.input(&[m, n], g);
    let weight = case.input(&[m, n], &vec![0.0f32; m * n]);
    let numbers = case.input(&[4], &[1.0f32.to_bits(), 1, 0, 0]);
    let mut scaling = Scaling::new(&mut case.rec, &gradient);
    record(&mut case, &mut scaling, passes);
    let statistics = statistics(&mut case);
    let hyper = StepConstants { lr: 1.0, scale: -1.0, weight_decay: 0.0 };
    scaling.apply(&mut case.rec, &weight, &statistics, &numbers, hyper);
    case.run().read(&weight)
}

fn reference_of(g: &[f32], [m, n]: [usize; 2], list: &[Pass]) -> Vec<f64> {
    list.iter().fold(widen(g), |x, pass| match pass {
        Row => passes::row(&x, m, n),
        Column => passes::column(&x, m, n),
        RowColumn => passes::column(&passes::row(&x, m, n), m, n),
    })
}

fn frobenius(x: &[f32]) -> f64 {
    x.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt()
}

#[test]
fn every_list_of_passes_agrees_with_the_reference() {
    let lists: [&[Pass]; 10] = [
        &[Row],
        &[Column],
        &[RowColumn],
        &[Row, Column],
        &[Column, Row],
        &[Row, Row],
        &[Column, Column],
        &[Row, Column, Column, Row],
        &[Column, RowColumn],
        &[RowColumn, RowColumn, Row],
    ];
    for form in FORMS {
        for list in lists {
            for shape in [[1, 1], [7, 13], [37, 1], [21, 70]] {
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
            let (g, list) = (uneven(shape[0], shape[1], 1), [RowColumn; 5]);
            let what = format!("{form:?} {shape:?}");
            assert_close(what, &normalized(form, &g, shape, &list), &reference_of(&g, shape, &list), TOLERANCE);
        }
    }
}

#[test]
fn ten_steps_of_sinkgd_agree_with_the_reference() {
    let (lr, scale, iterations) = (0.8, 0.25, 5);
    for form in FORMS {
        for [m, n] in [[1, 1], [7, 13], [64, 172]] {
            let mut case = Case::new(form);
            let (weight, mut want) = case.random(&[m, n], 1);
            let (gradient, numbers) = (case.output(&[m, n]), step(&mut case));
            let mut scaling = Scaling::new(&mut case.rec, &gradient);
            record(&mut case, &mut scaling, &vec![RowColumn; iterations]);
            let statistics = statistics(&mut case);
            scaling.apply(
                &mut case.rec,
                &weight,
                &statistics,
                &numbers,
                StepConstants { lr, scale, weight_decay: 0.0 },
            );
            let done = case.allocate();
            for number in 1..=10 {
                let values = uneven(m, n, u64::from(100 * number));
                done.write(&gradient, &values);
                done.write(&numbers, &[schedule(number).to_bits(), number, 0, 0]);
                done.run();
                let lr = lr * f64::from(schedule(number));
                reference::sinkgd::step(&mut want, &widen(&values), m, n, iterations, lr, scale);
            }
            assert_close(format!("{form:?} weight {m}x{n}"), &done.read(&weight), &want, TOLERANCE);
        }
    }
}

#[test]
fn weight_decay_shrinks_the_weight_by_the_scheduled_rate() {
    let ([m, n], [lr, scale, weight_decay]) = ([7, 13], [0.8, 0.25, 0.3]);
    for form in FORMS {
        for list in [[Row], [RowColumn]] {
            let g = uneven(m, n, 2);
            let mut case = Case::new(form);
            let (weight, before) = case.random(&[m, n], 1);
            let gradient = case.input(&[m, n], &g);
            let (statistics, numbers) = (statistics(&mut case), step(&mut case));
            let mut scaling = Scaling::new(&mut case.rec, &gradient);
            record(&mut case, &mut scaling, &list);
            let hyper = StepConstants { lr, scale, weight_decay };
            scaling.apply(&mut case.rec, &weight, &statistics, &numbers, hyper);
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
        let mut scaling = Scaling::new(&mut case.rec, &gradient);
        record(&mut case, &mut scaling, &[RowColumn]);
        let hyper = StepConstants { lr: 1.0, scale: 1.0, weight_decay: 0.1 };
        scaling.apply(&mut case.rec, &weight, &halted, &numbers, hyper);
        assert_close(format!("{form:?} weight"), &case.run().read(&weight), &before, 0.0);
    }
}

#[test]
fn every_pass_ends_on_one_sphere_and_the_last_on_exact_columns() {
    for form in FORMS {
        for [m, n] in SHAPES {
            let g = uneven(m, n, 3);
            for iterations in [1, 5] {
                let mut list = vec![RowColumn; iterations];
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
        for list in [vec![Row], vec![Column], vec![RowColumn; 5]] {
            let x = normalized(form, &g, [m, n], &list);
            for (at, (g, x)) in g.iter().zip(&x).enumerate() {
                let kept = x.is_finite() && (*g == 0.0) == (*x == 0.0) && g * x >= 0.0;
                assert!(kept, "{form:?} {list:?}: element {at}, {g}, became {x}");
            }
            assert_close(format!("{form:?} {list:?}"), &x, &reference_of(&g, [m, n], &list), TOLERANCE);
        }
    }
}

#[test]
fn a_zero_gradient_moves_nothing() {
    for form in FORMS {
        let x = normalized(form, &[0.0; 7 * 13], [7, 13], &[RowColumn; 5]);
        assert!(x.iter().all(|&x| x == 0.0), "{form:?}: {x:?}");
    }
}

#[test]
fn the_limit_ignores_positive_scales_of_rows_and_columns() {
    let [m, n] = [13, 19];
    let (g, rows, columns) = (random(m * n, 5), random(m, 6), random(n, 7));
    let scaled: Vec<f32> = (0..m * n).map(|at| g[at] * (rows[at / n] + columns[at % n]).exp()).collect();
    for form in FORMS {
        let [limit, scaled] = [&g, &scaled].map(|g| normalized(form, g, [m, n], &[RowColumn; 100]));
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
            assert_close(format!("{form:?} {m}x{n}"), &normalized(form, &g, [m, n], &[RowColumn]), &sign, TOLERANCE);
        }
    }
}

#[test]
fn the_gradients_scale_does_not_matter() {
    let [m, n] = [64, 172];
    let g = uneven(m, n, 10);
    for form in FORMS {
        for list in [vec![RowColumn; 5], vec![Column, Row]] {
            let want = reference_of(&g, [m, n], &list);
            for scale in [1e-12, 1e12] {
                let scaled: Vec<f32> = g.iter().map(|g| scale * g).collect();
                let what = format!("{form:?} {list:?} of a gradient times {scale:e}");
                assert_close(what, &normalized(form, &scaled, [m, n], &list), &want, TOLERANCE);
            }
        }
    }
}

#[test]
#[should_panic(expected = "16385 columns are above 16384")]
fn a_row_beyond_the_registers_panics() {
    let mut case = Case::new(FORMS[0]);
    let gradient = case.output(&[1, MAX_COLS + 1]);
    Scaling::new(&mut case.rec, &gradient);
}
