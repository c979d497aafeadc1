use multinorm::kernels::lion::{LionConstants, lion};
use multinorm::reference;

use super::sgd::{clipped, halted, schedule, statistics, step};
use crate::support::{Case, FORMS, assert_close, random};

/// For ten steps; the worst seen is 3e-7. A sign flipped by rounding would show as an error of a whole step.
const TOLERANCE: f64 = 5e-6;

#[test]
fn ten_steps_agree_with_the_reference() {
    let (lr, [beta1, beta2, weight_decay]) = (0.1, [0.9, 0.75, 0.3]);
    for form in FORMS {
        for shape in [&[1][..], &[64], &[7, 13], &[65, 67]] {
            let len: usize = shape.iter().product();
            let mut case = Case::new(form);
            let (weight, mut want) = case.random(shape, 1);
            let (gradient, exp_avg) = (case.output(shape), case.input(shape, &vec![0.0f32; len]));
            let (statistics, numbers) = (statistics(&mut case), step(&mut case));
            let constants = LionConstants { lr, beta1, beta2, weight_decay };
            lion(&mut case.rec, &weight, &gradient, &exp_avg, &statistics, &numbers, constants);
            let done = case.allocate();
            let (hyper, mut momentum) = (reference::lion::Lion { beta1, beta2, weight_decay }, vec![0.0; len]);
            for number in 1..=10 {
                let values = random(len, u64::from(number));
                done.write(&gradient, &values);
                done.write(&numbers, &[schedule(number).to_bits(), number, 0, 0]);
                done.run();
                let lr = lr * f64::from(schedule(number));
                reference::lion::step(&hyper, &mut momentum, &mut want, &clipped(&values), lr);
            }
            assert_close(format!("{form:?} weight {shape:?}"), &done.read(&weight), &want, TOLERANCE);
            assert_close(format!("{form:?} momentum {shape:?}"), &done.read(&exp_avg), &momentum, TOLERANCE);
        }
    }
}

#[test]
fn a_halted_run_leaves_weight_and_momentum_alone() {
    for form in FORMS {
        let mut case = Case::new(form);
        let (weight, before) = case.random(&[7, 13], 1);
        let (gradient, _) = case.random(&[7, 13], 2);
        let (exp_avg, momentum) = case.random(&[7, 13], 3);
        let (halted, numbers) = (halted(&mut case), case.input(&[4], &[1.0f32.to_bits(), 1, 0, 0]));
        let constants = LionConstants { lr: 1.0, beta1: 0.5, beta2: 0.5, weight_decay: 0.1 };
        lion(&mut case.rec, &weight, &gradient, &exp_avg, &halted, &numbers, constants);
        let done = case.run();
        assert_close(format!("{form:?} weight"), &done.read(&weight), &before, 0.0);
        assert_close(format!("{form:?} momentum"), &done.read(&exp_avg), &momentum, 0.0);
    }
}
