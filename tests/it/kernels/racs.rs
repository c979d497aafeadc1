use multinorm::kernels::racs::{averaged_root, power_iteration};
use multinorm::kernels::scaled::{Scaled, materialize};
use multinorm::reference;

use super::scaled::uneven;
use super::sgd::{clipped, halted, statistics};
use crate::support::{Case, FORMS, assert_close, random};

#[test]
fn power_iteration_finds_the_references_vectors_at_any_scale() {
    for form in FORMS {
        for [m, n] in [[1, 1], [7, 13], [300, 67], [3, 2049]] {
            for (iterations, scale) in [(1, 1.0f32), (5, 1.0), (5, 1e-9), (5, 1e6)] {
                let g: Vec<f32> = uneven(m, n, 3).iter().map(|g| scale * g).collect();
                let mut case = Case::new(form);
                let (gradient, statistics) = (case.input(&[m, n], &g), statistics(&mut case));
                let found = power_iteration(&mut case.rec, &gradient, &statistics, iterations);
                let kept = [case.output(&[m]), case.output(&[n])];
                for (found, kept) in found.iter().zip(&kept) {
                    materialize(&mut case.rec, &Scaled::new(found), kept);
                }
                let done = case.run();
                let want = reference::racs::scalings(&clipped(&g), m, n, iterations);
                for (kept, want) in kept.iter().zip(&want) {
                    assert_close(format!("{form:?} {m}x{n} {iterations} {scale}"), &done.read(kept), want, 2e-5);
                }
            }
        }
    }
}

#[test]
fn a_zero_gradient_and_a_halted_run_make_no_nan() {
    let mut case = Case::new(FORMS[0]);
    let (gradient, running) = (case.input(&[6, 9], &[0.0f32; 54]), statistics(&mut case));
    let [q, s] = power_iteration(&mut case.rec, &gradient, &running, 5);
    let average = case.input(&[6], &[0.0f32; 6]);
    let root = averaged_root(&mut case.rec, &q, &average, &running, 0.9, true);
    let kept = [case.output(&[6]), case.output(&[9])];
    materialize(&mut case.rec, &Scaled::new(&root), &kept[0]);
    materialize(&mut case.rec, &Scaled::new(&s), &kept[1]);
    let (alone, halted) = (case.input(&[9], &random(9, 4)), halted(&mut case));
    averaged_root(&mut case.rec, &s, &alone, &halted, 0.9, false);
    let done = case.run();
    assert!(kept.iter().all(|kept| done.read(kept).iter().all(|x| *x == 0.0)));
    assert_eq!(done.read(&alone), random(9, 4));
}
