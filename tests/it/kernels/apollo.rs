use multinorm::kernels::apollo::channel_factors;
use multinorm::kernels::scaled::{Scaled, materialize};
use multinorm::kernels::subspace::{SubspaceConstants, moments};

use super::sgd::{CLIP, halted, statistics, step};
use crate::support::{Case, FORMS, assert_close, random, widen};

const HYPER: SubspaceConstants = SubspaceConstants { beta1: 0.75, beta2: 0.9, eps: 0.01 };

#[test]
fn factors_are_norms_of_adams_step_over_those_of_what_it_is_made_from() {
    for form in FORMS {
        for (channels, rank) in [(1, 1), (7, 5), (131, 33)] {
            for whole in [false, true] {
                let mut case = Case::new(form);
                let (projected, r) = case.random(&[channels, rank], 1);
                let (m, mut m_want) = case.random(&[channels, rank], 2);
                let squares: Vec<f32> = random(channels * rank, 3).iter().map(|x| x * x).collect();
                let v = case.input(&[channels, rank], &squares);
                let shared = [statistics(&mut case), step(&mut case)];
                let sums = moments(&mut case.rec, &projected, [&m, &v], [&shared[0], &shared[1]], HYPER, None);
                let factors = channel_factors(&mut case.rec, &sums, &shared[0], whole);
                let kept = case.output(&[channels]);
                materialize(&mut case.rec, &Scaled::new(&factors), &kept);
                let done = case.run();
                let mut sums = vec![[0.0; 2]; channels];
                for (at, v) in widen(&squares).into_iter().enumerate() {
                    let x = f64::from(CLIP) * r[at];
                    m_want[at] = 0.75 * m_want[at] + 0.25 * x;
                    let v = 0.9 * v + 0.1 * x * x;
                    sums[at / rank][0] += (m_want[at] / (v.sqrt() + 0.01)).powi(2);
                    sums[at / rank][1] += x * x;
                }
                let all = sums.iter().fold([0.0; 2], |[a, b], [c, d]| [a + c, b + d]);
                let of = |[a, b]: [f64; 2]| f64::from(CLIP) * a.sqrt() / (b.sqrt() + 1e-8);
                let want: Vec<f64> = sums.iter().map(|own| of(if whole { all } else { *own })).collect();
                assert_close(format!("{form:?} {channels}x{rank} {whole}"), &done.read(&kept), &want, 1e-5);
                assert_close(format!("{form:?} m"), &done.read(&m), &m_want, 1e-6);
            }
        }
    }
}

#[test]
fn a_halted_run_leaves_the_moments_alone() {
    let mut case = Case::new(FORMS[0]);
    let [projected, m, v] = [1, 2, 3].map(|seed| case.input(&[4, 8], &random(32, seed)));
    let shared = [halted(&mut case), step(&mut case)];
    let direction = case.input(&[4, 8], &random(32, 4));
    let both = [&shared[0], &shared[1]];
    moments(&mut case.rec, &projected, [&m, &v], both, HYPER, Some(&direction));
    let done = case.run();
    assert_eq!(done.read(&direction), random(32, 4));
    assert_eq!((done.read(&m), done.read(&v)), (random(32, 2), random(32, 3)));
}
