use multinorm::kernels::factored::{FactoredConstants, Factors, average_squares, over_root};
use multinorm::kernels::scaled::materialize;

use super::scaled::uneven;
use super::sgd::{CLIP, halted, statistics};
use crate::support::{Case, FORMS, Form, assert_close, random, widen};

const HYPER: FactoredConstants = FactoredConstants { decay_rate: 0.8, eps: 0.01 };

/// One averaging step, step 5, from random averages, for a matrix, or a vector if m is 0.
fn check(form: Form, m: usize, n: usize) {
    let shape: &[usize] = if m == 0 { &[n] } else { &[m, n] };
    let mut case = Case::new(form);
    let values = uneven(m.max(1), n, 5);
    let gradient = case.input(shape, &values);
    let averages = |len: usize, seed| random(len, seed).iter().map(|x| x * x + 0.1).collect::<Vec<f32>>();
    let [row_before, col_before] = [averages(m.max(1), 1), averages(n, 2)];
    let [row, col] = [case.input(&[m.max(1)], &row_before), case.input(&[n], &col_before)];
    let (statistics, step) = (statistics(&mut case), case.input(&[4], &[1.0f32.to_bits(), 5, 0, 0]));
    let factors = Factors { row: (m > 0).then_some(&row), col: &col };
    average_squares(&mut case.rec, &gradient, factors, &statistics, &step, HYPER);
    let x = over_root(&mut case.rec, &gradient, factors, &statistics);
    let out = case.output(&[m.max(1), n]);
    materialize(&mut case.rec, &x, &out);
    let done = case.run();

    let g: Vec<f64> = values.iter().map(|g| f64::from(CLIP) * f64::from(*g)).collect();
    let rest = 5f64.powf(-0.8);
    let square = |i: usize, j: usize| g[i * n + j].powi(2) + 0.01;
    let rows: Vec<f64> = (0..m.max(1))
        .map(|i| (1.0 - rest) * f64::from(row_before[i]) + rest * (0..n).map(|j| square(i, j)).sum::<f64>() / n as f64)
        .collect();
    let cols: Vec<f64> = (0..n)
        .map(|j| {
            let mean = (0..m.max(1)).map(|i| square(i, j)).sum::<f64>() / m.max(1) as f64;
            (1.0 - rest) * f64::from(col_before[j]) + rest * mean
        })
        .collect();
    let what = format!("{form:?} {m}x{n}");
    assert_close(format!("{what} columns"), &done.read(&col), &cols, 1e-5);
    if m > 0 {
        assert_close(format!("{what} rows"), &done.read(&row), &rows, 1e-5);
    } else {
        assert_eq!(done.read(&row), row_before, "a vector has no row");
    }
    let mean = rows.iter().sum::<f64>() / rows.len() as f64;
    let of = |i: usize| if m > 0 { rows[i] / mean } else { 1.0 };
    let want: Vec<f64> = (0..g.len()).map(|at| g[at] / (of(at / n) * cols[at % n]).sqrt()).collect();
    assert_close(format!("{what} update"), &done.read(&out), &want, 1e-5);
}

#[test]
fn averages_and_what_they_make_of_the_gradient() {
    for form in FORMS {
        for (m, n) in [(1, 1), (7, 13), (300, 67), (3, 2049), (0, 1), (0, 130)] {
            check(form, m, n);
        }
    }
}

#[test]
fn a_halted_run_leaves_the_averages_alone() {
    let mut case = Case::new(FORMS[0]);
    let gradient = case.input(&[8, 8], &random(64, 1));
    let [row, col] = [2, 3].map(|seed| case.input(&[8], &random(8, seed)));
    let (statistics, step) = (halted(&mut case), case.input(&[4], &[1.0f32.to_bits(), 5, 0, 0]));
    let factors = Factors { row: Some(&row), col: &col };
    average_squares(&mut case.rec, &gradient, factors, &statistics, &step, HYPER);
    let done = case.run();
    assert_eq!((widen(&done.read(&row)), widen(&done.read(&col))), (widen(&random(8, 2)), widen(&random(8, 3))));
}
