use multinorm::kernels::adam_nonzero::{AdamNonzeroConstants, adam_nonzero};
use multinorm::reference;

use super::sgd::{clipped, halted, schedule, statistics, step};
use crate::support::{Case, FORMS, assert_close, random};

const HYPER: AdamNonzeroConstants = AdamNonzeroConstants {
    lr: 0.5,
    beta1: 0.75,
    beta2: 0.9,
    eps: 0.01,
    weight_decay: 0.1,
    start: 2.0,
    batches: 3,
    stream: 9,
    bias_correction: true,
};

#[test]
fn the_first_batches_make_a_start_and_move_nothing() {
    let shape = [7, 13];
    for form in FORMS {
        let mut case = Case::new(form);
        let (weight, mut want) = case.random(&shape, 1);
        let before = want.clone();
        let gradient = case.output(&shape);
        let moments = [(); 2].map(|()| case.input(&shape, &[0.0f32; 91]));
        let shared = [statistics(&mut case), step(&mut case)];
        let both = [&shared[0], &shared[1]];
        adam_nonzero(&mut case.rec, &weight, &gradient, [&moments[0], &moments[1]], both, HYPER);
        let done = case.allocate();
        let hyper = reference::adam_nonzero::AdamNonzero {
            beta1: 0.75,
            beta2: 0.9,
            eps: 0.01,
            weight_decay: 0.1,
            start_scale: 2.0,
            start_batches: Some(3),
            bias_correction: true,
        };
        let mut state = reference::adam_nonzero::State::new(91);
        for number in 1..=6u32 {
            let g = random(91, number.into());
            done.write(&gradient, &g);
            done.write(&shared[1], &[schedule(number).to_bits(), number, 0, 0]);
            done.run();
            let lr = 0.5 * f64::from(schedule(number));
            reference::adam_nonzero::step(&hyper, &mut state, &mut want, &clipped(&g), shape, lr, [9, 0]);
            assert_eq!(want == before, number <= 3, "step {number}");
            assert_close(format!("{form:?} w at {number}"), &done.read(&weight), &want, 5e-6);
            assert_close(format!("{form:?} v at {number}"), &done.read(&moments[1]), &state.exp_avg_sq, 5e-6);
        }
    }
}

#[test]
fn a_halted_run_leaves_everything_alone() {
    for batches in [0, 3] {
        let mut case = Case::new(FORMS[0]);
        let tensors = [1, 2, 3, 4].map(|seed| case.input(&[64], &random(64, seed)));
        let shared = [halted(&mut case), case.input(&[4], &[1.0f32.to_bits(), 1, 0, 0])];
        let [weight, gradient, m, v] = &tensors;
        let hyper = AdamNonzeroConstants { batches, ..HYPER };
        adam_nonzero(&mut case.rec, weight, gradient, [m, v], [&shared[0], &shared[1]], hyper);
        let done = case.run();
        for (tensor, seed) in [(weight, 1), (m, 3), (v, 4)] {
            assert_eq!(done.read(tensor), random(64, seed));
        }
    }
}
