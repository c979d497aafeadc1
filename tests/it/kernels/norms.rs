use multinorm::gpu::{Form, Tensor};
use multinorm::kernels::norms::{Place, gradient_statistics};
use multinorm::reference;

use crate::support::{Case, FORMS, assert_close, random};

/// Sums of squares of up to some thousand numbers; the worst seen is 3e-7.
const TOLERANCE: f64 = 2e-6;
/// In the place of the loss, which must stay.
const LOSS: f32 = 3.5;

fn check(form: Form, shapes: &[Vec<usize>], max_norm: f64) {
    let mut case = Case::new(form);
    let inputs: Vec<(Tensor, Vec<f64>)> =
        shapes.iter().enumerate().map(|(seed, shape)| case.random(shape, seed as u64)).collect();
    let gradients: Vec<Tensor> = inputs.iter().map(|input| input.0.clone()).collect();
    let mut before = vec![f32::NAN; Place::GRADIENTS + gradients.len()];
    before[Place::LOSS] = LOSS;
    let statistics = case.input(&[before.len()], &before);
    gradient_statistics(&mut case.rec, &gradients, &statistics, max_norm);
    let got = case.run().read(&statistics);

    let squared: Vec<f64> = inputs.iter().map(|input| reference::norm::squared(&input.1)).collect();
    let total: f64 = squared.iter().sum();
    let clip = if max_norm > 0.0 { reference::norm::clip_factor(total.sqrt(), max_norm) } else { 1.0 };
    let what = |name: &str| format!("{form:?} {name} of {} gradients, max_norm {max_norm}", gradients.len());
    assert_eq!(got[Place::LOSS], LOSS, "{}", what("loss"));
    assert_close(what("clip factor"), &[got[Place::CLIP]], &[clip], TOLERANCE);
    assert_close(what("squared norm"), &[got[Place::SQUARED_NORM]], &[total], TOLERANCE);
    for (index, want) in squared.iter().enumerate() {
        // One by one: beside a large gradient an error in a small one would not show.
        let place = Place::GRADIENTS + index;
        assert_close(what(&format!("squared norm {index}")), &[got[place]], &[*want], TOLERANCE);
    }
}

#[test]
fn norms_and_clip_factor_agree_with_the_reference() {
    // Fewer and more elements than blocks, and blocks longer than the lanes.
    let shapes = [vec![1], vec![63], vec![64], vec![65], vec![7, 13], vec![130, 515]];
    for form in FORMS {
        // The norm of all is about 260: without clipping, far below, far above, and just so that 1e-6 counts nothing.
        for max_norm in [0.0, 1e-3, 1.0, 250.0, 1e4] {
            check(form, &shapes, max_norm);
        }
        check(form, &[vec![3, 5]], 1.0);
    }
}

#[test]
fn more_gradients_than_lanes_are_counted() {
    let shapes: Vec<Vec<usize>> = (0..131).map(|index| vec![index % 7 + 1, 3]).collect();
    for form in FORMS {
        check(form, &shapes, 1.0);
    }
}

/// The clip factor after the gradients `[3, 5]` and `[70]`, the latter with this element, a loss and a factor before.
fn clip_after(form: Form, element: f32, loss: f32, clip: f32) -> f32 {
    let mut case = Case::new(form);
    let first = case.random(&[3, 5], 1).0;
    let mut values = random(70, 2);
    values[66] = element;
    let second = case.input(&[70], &values);
    let statistics = case.input(&[5], &[loss, clip, 0.0, 0.0, 0.0]);
    gradient_statistics(&mut case.rec, &[first, second], &statistics, 0.0);
    case.run().read(&statistics)[Place::CLIP]
}

#[test]
fn what_is_not_finite_halts_the_run_and_it_stays_halted() {
    for form in FORMS {
        assert_eq!(clip_after(form, 1.0, LOSS, 0.5), 1.0, "{form:?}: all is well");
        for element in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert_eq!(clip_after(form, element, LOSS, 1.0), -1.0, "{form:?}: a gradient with {element}");
            assert_eq!(clip_after(form, 1.0, element, 1.0), -1.0, "{form:?}: a loss of {element}");
        }
        assert_eq!(clip_after(form, 1.0, LOSS, -1.0), -1.0, "{form:?}: halted before");
    }
}

#[test]
fn a_zero_gradient_is_not_clipped() {
    for form in FORMS {
        let mut case = Case::new(form);
        let gradient = case.input(&[5], &[0.0f32; 5]);
        let statistics = case.input(&[4], &[LOSS, f32::NAN, f32::NAN, f32::NAN]);
        gradient_statistics(&mut case.rec, &[gradient], &statistics, 1.0);
        assert_eq!(case.run().read(&statistics), [LOSS, 1.0, 0.0, 0.0]);
    }
}
