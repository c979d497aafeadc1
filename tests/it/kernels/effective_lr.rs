use multinorm::kernels::effective_lr::{LimitConstants, RateConstants, apply_effective_lr, growth_limit, update_rates};
use multinorm::kernels::scaled::{Scaled, materialize};
use multinorm::reference::norm::{frobenius, rms};
use multinorm::reference::racs::limited;

use super::sgd::{halted, statistics};
use crate::support::{Case, FORMS, assert_close, random, widen};

const SHAPE: [usize; 2] = [7, 13];

#[test]
fn rates_follow_the_step_the_weight_and_the_update() {
    for form in FORMS {
        for (number, relative, least_rms, threshold) in
            [(1u32, true, Some(1e-3), 1.0), (100, true, Some(5.0), 0.3), (9, false, None, 100.0)]
        {
            let mut case = Case::new(form);
            let (weight, w) = case.random(&SHAPE, 1);
            let (update, u) = case.random(&SHAPE, 2);
            let step = case.input(&[4], &[1.0f32.to_bits(), number, 0, 0]);
            let hyper = RateConstants { lr: 0.2, clip_threshold: threshold, relative, least_rms };
            let rates = update_rates(&mut case.rec, &Scaled::new(&update), &weight, &step, hyper);
            let kept = case.output(&[2]);
            materialize(&mut case.rec, &Scaled::new(&rates), &kept);
            let done = case.run();
            let mut rate = if relative { f64::from(number).sqrt().recip().min(0.2) } else { 0.2 };
            rate *= least_rms.map_or(1.0, |least| rms(&w).max(least));
            let want = [rate, (threshold / rms(&u)).min(1.0)];
            assert_close(format!("{form:?} {number}"), &done.read(&kept), &want, 1e-5);
        }
    }
}

#[test]
fn an_update_grows_by_the_limit_at_most_and_its_step_is_made() {
    for form in FORMS {
        let mut case = Case::new(form);
        let (weight, mut want) = case.random(&SHAPE, 1);
        let update = case.output(&SHAPE);
        let last = case.input(&[1], &[0.0f32]);
        let shared = [statistics(&mut case), case.input(&[4], &[0.5f32.to_bits(), 1, 0, 0])];
        let hyper = LimitConstants { lr: 0.3, growth_limit: 1.1, eps: 1e-8, corrected: Some([0.9, 0.99]) };
        let x = Scaled::new(&update);
        let rates = growth_limit(&mut case.rec, &x, &last, &shared[0], &shared[1], hyper);
        apply_effective_lr(&mut case.rec, &x, &weight, &rates, [&shared[0], &shared[1]], [2.0, 0.1]);
        let done = case.allocate();
        let mut norm = 0.0;
        for (number, size) in [(1u32, 1.0f32), (2, 4.0), (3, 0.5), (4, 30.0)] {
            let u: Vec<f32> = random(91, 9).iter().map(|x| size * x).collect();
            done.write(&update, &u);
            done.write(&shared[1], &[0.5f32.to_bits(), number, 0, 0]);
            done.run();
            let u = widen(&u);
            let share = limited(frobenius(&u), &mut norm, 1.1, 1e-8);
            let t = f64::from(number);
            let correction = (1.0 - 0.99f64.powf(t)).sqrt() / (1.0 - 0.9f64.powf(t));
            for (w, u) in want.iter_mut().zip(&u) {
                *w -= 0.15 * (2.0 * share * correction * u + 0.1 * *w);
            }
            assert_close(format!("{form:?} w at {number}"), &done.read(&weight), &want, 1e-5);
            assert_close(format!("{form:?} norm at {number}"), &done.read(&last), &[norm], 1e-5);
        }
    }
}

#[test]
fn a_halted_run_leaves_weight_and_norm_alone() {
    let mut case = Case::new(FORMS[0]);
    let [weight, update] = [1, 2].map(|seed| case.input(&SHAPE, &random(91, seed)));
    let last = case.input(&[1], &[3.0f32]);
    let shared = [halted(&mut case), case.input(&[4], &[1.0f32.to_bits(), 2, 0, 0])];
    let hyper = LimitConstants { lr: 0.3, growth_limit: 1.1, eps: 0.0, corrected: None };
    let x = Scaled::new(&update);
    let rates = growth_limit(&mut case.rec, &x, &last, &shared[0], &shared[1], hyper);
    apply_effective_lr(&mut case.rec, &x, &weight, &rates, [&shared[0], &shared[1]], [1.0, 0.0]);
    let done = case.run();
    assert_eq!((done.read(&weight), done.read(&last)), (random(91, 1), vec![3.0]));
}
