use multinorm::kernels::extrapolated_sgd::{extrapolate, extrapolated_sgd};
use multinorm::kernels::scaled::{Scaled, materialize};

use super::sgd::{CLIP, halted, statistics};
use crate::support::{Case, FORMS, assert_close, random, widen};

const SHAPE: [usize; 2] = [9, 31];
const LEN: usize = 9 * 31;

#[test]
fn it_goes_ahead_and_back_and_along() {
    for form in FORMS {
        let mut case = Case::new(form);
        let (weight, w) = case.random(&SHAPE, 1);
        let (gradient, g) = case.random(&SHAPE, 2);
        let (previous, before) = case.random(&SHAPE, 3);
        let shared = [statistics(&mut case), case.input(&[4], &[0.5f32.to_bits(), 4, 0, 0])];
        extrapolate(&mut case.rec, &weight, &previous, &shared[1], 0.2);
        let lookahead = case.output(&SHAPE);
        materialize(&mut case.rec, &Scaled::new(&weight), &lookahead);
        let both = [&shared[0], &shared[1]];
        extrapolated_sgd(&mut case.rec, &weight, &gradient, &previous, both, [0.3, 0.2, 0.1]);
        let done = case.run();
        let at: Vec<f64> = w.iter().zip(&before).map(|(w, p)| w - 0.1 * p).collect();
        assert_close(format!("{form:?} ahead"), &done.read(&lookahead), &at, 1e-6);
        let along = |(w, g): (&f64, &f64)| w - 0.15 * (f64::from(CLIP) * g + 0.1 * w);
        let want: Vec<f64> = w.iter().zip(&g).map(along).collect();
        assert_close(format!("{form:?} w"), &done.read(&weight), &want, 1e-6);
        let want: Vec<f64> = g.iter().map(|g| f64::from(CLIP) * g).collect();
        assert_close(format!("{form:?} last gradient"), &done.read(&previous), &want, 1e-6);
    }
}

#[test]
fn a_halted_run_goes_back_and_no_further() {
    let mut case = Case::new(FORMS[0]);
    let [weight, gradient, previous] = [1, 2, 3].map(|seed| case.input(&SHAPE, &random(LEN, seed)));
    let shared = [halted(&mut case), case.input(&[4], &[1.0f32.to_bits(), 4, 0, 0])];
    extrapolate(&mut case.rec, &weight, &previous, &shared[1], 0.2);
    extrapolated_sgd(&mut case.rec, &weight, &gradient, &previous, [&shared[0], &shared[1]], [0.3, 0.2, 0.1]);
    let done = case.run();
    assert_close("w", &done.read(&weight), &widen(&random(LEN, 1)), 3e-7);
    assert_eq!(done.read(&previous), random(LEN, 3));
}
