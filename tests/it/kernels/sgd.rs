use multinorm::gpu::Tensor;
use multinorm::kernels::norms::Statistics;
use multinorm::kernels::sgd::{MomentumConstants, sgd, sgd_momentum};
use multinorm::reference;

use crate::support::{Case, FORMS, Form, assert_close, random, widen};

/// For ten steps; the worst seen is 9.2e-7.
const TOLERANCE: f64 = 5e-6;
const SHAPES: [&[usize]; 4] = [&[1], &[64], &[7, 13], &[65, 67]];

/// The factor on every gradient.
pub const CLIP: f32 = 0.375;

/// A step's statistics: the clip factor [`CLIP`], and NaN in entries that an update must not read.
pub fn statistics(case: &mut Case) -> Tensor {
    let mut values = [f32::NAN; 4];
    values[Statistics::CLIP] = CLIP;
    case.input(&[4], &values)
}

/// The statistics of a run that has hit a NaN: updates must do nothing.
pub fn halted(case: &mut Case) -> Tensor {
    let mut values = [f32::NAN; 4];
    values[Statistics::CLIP] = -1.0;
    case.input(&[4], &values)
}

/// The uniform with a step's numbers: schedule factor, step number, seed, unused.
pub fn step(case: &mut Case) -> Tensor {
    case.input(&[4], &[0u32; 4])
}

/// The schedule's factor on the learning rate in step `number`; never 1, so that forgetting it shows.
pub fn schedule(number: u32) -> f32 {
    1.5 / (1 + number % 16) as f32
}

/// The gradient after clipping, as the update sees it.
pub fn clipped(gradient: &[f32]) -> Vec<f64> {
    gradient.iter().map(|&g| f64::from(g) * f64::from(CLIP)).collect()
}

/// Ten steps with changing gradients; without `momentum` this is plain SGD.
fn check(form: Form, shape: &[usize], lr: f64, weight_decay: f64, momentum: Option<(f64, bool)>) {
    let len: usize = shape.iter().product();
    let mut case = Case::new(form);
    let (weight, mut want) = case.random(shape, 1);
    let (gradient, buffer) = (case.output(shape), case.input(shape, &vec![0.0f32; len]));
    let (statistics, numbers) = (statistics(&mut case), step(&mut case));
    match momentum {
        None => sgd(&mut case.rec, &weight, &gradient, &statistics, &numbers, lr, weight_decay),
        Some((momentum, nesterov)) => {
            let hyper = MomentumConstants { lr, momentum, nesterov, weight_decay };
            sgd_momentum(&mut case.rec, &weight, &gradient, &buffer, &statistics, &numbers, hyper);
        }
    }
    let done = case.allocate();

    let (factor, nesterov) = momentum.unwrap_or_default();
    let hyper = reference::sgd::Sgd { momentum: factor, weight_decay, nesterov };
    let mut state = reference::sgd::State::default();
    for number in 1..=10 {
        let values = random(len, u64::from(100 + number));
        done.write(&gradient, &values);
        done.write(&numbers, &[schedule(number).to_bits(), number, 0, 0]);
        done.run();
        let lr = lr * f64::from(schedule(number));
        reference::sgd::step(&hyper, &mut state, &mut want, &clipped(&values), lr);
    }
    let what = |name: &str| format!("{form:?} {name} {shape:?}, weight decay {weight_decay}, momentum {momentum:?}");
    assert_close(what("weight"), &done.read(&weight), &want, TOLERANCE);
    if let Some(want) = state.momentum_buffer {
        assert_close(what("momentum buffer"), &done.read(&buffer), &want, TOLERANCE);
    }
}

#[test]
fn ten_steps_of_sgd_agree_with_the_reference() {
    for form in FORMS {
        for shape in SHAPES {
            for weight_decay in [0.0, 0.3] {
                check(form, shape, 0.2, weight_decay, None);
            }
        }
    }
}

#[test]
fn ten_steps_with_momentum_agree_with_the_reference() {
    for form in FORMS {
        for shape in SHAPES {
            for nesterov in [false, true] {
                check(form, shape, 0.2, 0.3, Some((0.9, nesterov)));
            }
        }
    }
}

#[test]
fn a_halted_run_leaves_weight_and_momentum_alone() {
    for form in FORMS {
        let mut case = Case::new(form);
        let (weights, before) = ([case.random(&[7, 13], 1).0, case.random(&[7, 13], 1).0], random(91, 1));
        let (gradient, buffer) = (case.output(&[7, 13]), case.random(&[7, 13], 2));
        let (halted, numbers) = (halted(&mut case), case.input(&[4], &[1.0f32.to_bits(), 1, 0, 0]));
        sgd(&mut case.rec, &weights[0], &gradient, &halted, &numbers, 0.2, 0.3);
        let hyper = MomentumConstants { lr: 0.2, momentum: 0.9, nesterov: true, weight_decay: 0.3 };
        sgd_momentum(&mut case.rec, &weights[1], &gradient, &buffer.0, &halted, &numbers, hyper);
        let done = case.run();
        for weight in &weights {
            assert_close(format!("{form:?} weight"), &done.read(weight), &widen(&before), 0.0);
        }
        assert_close(format!("{form:?} momentum buffer"), &done.read(&buffer.0), &buffer.1, 0.0);
    }
}
