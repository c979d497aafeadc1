use multinorm::kernels::adamw::{AdamwConstants, adamw};
use multinorm::reference;

use super::sgd::{CLIP, clipped, halted, schedule, statistics, step};
use crate::support::{Case, FORMS, Form, assert_close, random};

/// For ten steps; the worst seen is 8.9e-7.
const TOLERANCE: f64 = 5e-6;

/// Compares `steps` steps, after `before` others, with the reference, for changing gradients.
fn check(form: Form, shape: &[usize], hyper: AdamwConstants, before: u32, steps: u32) {
    let len: usize = shape.iter().product();
    let mut case = Case::new(form);
    let (weight, mut want) = case.random(shape, 1);
    let gradient = case.output(shape);
    let [exp_avg, exp_avg_sq] = [0, 1].map(|_| case.input(shape, &vec![0.0f32; len]));
    let (statistics, step_numbers) = (statistics(&mut case), step(&mut case));
    let moments = [&exp_avg, &exp_avg_sq];
    adamw(&mut case.rec, &weight, &gradient, moments, &statistics, &step_numbers, hyper);
    let done = case.allocate();

    let AdamwConstants { lr, beta1, beta2, eps, weight_decay } = hyper;
    let reference_hyper = reference::adamw::AdamW { beta1, beta2, eps, weight_decay };
    let mut state = reference::adamw::State::new(len);
    state.step = before;
    for number in before + 1..=before + steps {
        let values = random(len, u64::from(100 + number));
        done.write(&gradient, &values);
        done.write(&step_numbers, &[schedule(number).to_bits(), number, 0, 0]);
        done.run();
        let lr = lr * f64::from(schedule(number));
        reference::adamw::step(&reference_hyper, &mut state, &mut want, &clipped(&values), lr);
    }
    let what = |name: &str| format!("{form:?} {name} {shape:?} after {before} + {steps} steps of {hyper:?}");
    assert_close(what("weight"), &done.read(&weight), &want, TOLERANCE);
    assert_close(what("exp_avg"), &done.read(&exp_avg), &state.exp_avg, TOLERANCE);
    assert_close(what("exp_avg_sq"), &done.read(&exp_avg_sq), &state.exp_avg_sq, TOLERANCE);
}

/// With a large eps: at 1e-8 a misplaced eps would not show.
const HYPER: AdamwConstants = AdamwConstants { lr: 0.2, beta1: 0.9, beta2: 0.999, eps: 0.05, weight_decay: 0.3 };

#[test]
fn ten_steps_agree_with_the_reference() {
    for form in FORMS {
        for shape in [vec![1], vec![64], vec![7, 13], vec![65, 67]] {
            check(form, &shape, HYPER, 0, 10);
        }
        check(form, &[7, 13], AdamwConstants { beta1: 0.8, beta2: 0.9, weight_decay: 0.0, ..HYPER }, 0, 10);
    }
}

#[test]
fn bias_corrections_are_exact_early_and_late() {
    // Around the step where 1 - beta^t switches from its series to the exponential, and far beyond it.
    for before in [0, 2, 3, 298, 299, 300, 301, 5_000, 1_000_000] {
        check(Form::Software, &[7, 13], AdamwConstants { eps: 0.0, weight_decay: 0.0, lr: 5.0, ..HYPER }, before, 1);
    }
}

#[test]
fn moments_that_forget_at_once_agree_with_the_reference() {
    check(Form::Software, &[7, 13], AdamwConstants { beta1: 0.0, beta2: 0.0, ..HYPER }, 0, 3);
}

#[test]
fn a_halted_run_leaves_weight_and_moments_alone() {
    for form in FORMS {
        let mut case = Case::new(form);
        let [weight, exp_avg, exp_avg_sq] = [1, 2, 3].map(|seed| case.random(&[7, 13], seed));
        let gradient = case.output(&[7, 13]);
        let (halted, numbers) = (halted(&mut case), case.input(&[4], &[1.0f32.to_bits(), 1, 0, 0]));
        adamw(&mut case.rec, &weight.0, &gradient, [&exp_avg.0, &exp_avg_sq.0], &halted, &numbers, HYPER);
        let done = case.run();
        for (tensor, before) in [weight, exp_avg, exp_avg_sq] {
            assert_close(format!("{form:?}"), &done.read(&tensor), &before, 0.0);
        }
    }
}

#[test]
fn a_clip_factor_of_one_would_show() {
    assert!((CLIP - 1.0).abs() > 0.5 && schedule(1) != 1.0, "these tests rest on both");
}
