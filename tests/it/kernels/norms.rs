use multinorm::gpu::Tensor;
use multinorm::kernels::norms::{GradientNorms, Statistics, gradient_statistics};
use multinorm::reference;

use crate::support::{Case, FORMS, Form, assert_close, random, widen};

/// For sums of squares of up to some thousand numbers; the worst seen is 3e-7.
const TOLERANCE: f64 = 2e-6;
/// Stored in place of the loss, which must not change.
const LOSS: f32 = 3.5;

fn check(form: Form, shapes: &[Vec<usize>], max_norm: f64) {
    let mut case = Case::new(form);
    let inputs: Vec<(Tensor, Vec<f64>)> =
        shapes.iter().enumerate().map(|(seed, shape)| case.random(shape, seed as u64)).collect();
    let gradients: Vec<Tensor> = inputs.iter().map(|input| input.0.clone()).collect();
    let mut before = vec![f32::NAN; Statistics::GRADIENTS + gradients.len()];
    before[Statistics::LOSS] = LOSS;
    let statistics = case.input(&[before.len()], &before);
    gradient_statistics(&mut case.rec, &gradients, &statistics, max_norm);
    let got = case.run().read(&statistics);

    let norms: Vec<f64> = inputs.iter().map(|input| reference::norm::frobenius(&input.1)).collect();
    let total = reference::norm::frobenius(&norms);
    let clip = if max_norm > 0.0 { reference::norm::clip_factor(total, max_norm) } else { 1.0 };
    let what = |name: &str| format!("{form:?} {name} of {} gradients, max_norm {max_norm}", gradients.len());
    assert_eq!(got[Statistics::LOSS], LOSS, "{}", what("loss"));
    assert_close(what("clip factor"), &[got[Statistics::CLIP]], &[clip], TOLERANCE);
    assert_close(what("norm"), &[got[Statistics::NORM]], &[total], TOLERANCE);
    for (index, want) in norms.iter().enumerate() {
        // Check one by one: next to a large gradient, an error in a small one would not show.
        let place = Statistics::GRADIENTS + index;
        assert_close(what(&format!("norm {index}")), &[got[place]], &[*want], TOLERANCE);
    }
}

#[test]
fn norms_and_clip_factor_agree_with_the_reference() {
    // Fewer and more elements than blocks, and blocks with more elements than lanes.
    let shapes = [vec![1], vec![63], vec![64], vec![65], vec![7, 13], vec![130, 515]];
    for form in FORMS {
        // The total norm is about 260: no clipping, limits far below and above, and one for which 1e-6 is negligible.
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

/// The clip factor for gradients `[3, 5]` and `[70]`, the latter with this element, given a loss and an old factor.
fn clip_after(form: Form, element: f32, loss: f32, clip: f32) -> f32 {
    let mut case = Case::new(form);
    let first = case.random(&[3, 5], 1).0;
    let mut values = random(70, 2);
    values[66] = element;
    let second = case.input(&[70], &values);
    let statistics = case.input(&[5], &[loss, clip, 0.0, 0.0, 0.0]);
    gradient_statistics(&mut case.rec, &[first, second], &statistics, 0.0);
    case.run().read(&statistics)[Statistics::CLIP]
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

/// Gradients of shape `[7, 12]`, `[5]` and `[7, 12]` times these factors, after the kernel and in f64.
fn of_scales(form: Form, scales: [f32; 3], max_norm: f64) -> (Vec<f32>, Vec<f64>) {
    let mut case = Case::new(form);
    let gradients = [(84, 1), (5, 2), (84, 3)].into_iter().zip(scales);
    let gradients: Vec<Vec<f32>> =
        gradients.map(|((len, seed), scale)| random(len, seed).iter().map(|x| x * scale).collect()).collect();
    let tensors: Vec<Tensor> = gradients.iter().map(|values| case.input(&[values.len()], values)).collect();
    let statistics = case.input(&[6], &[LOSS, 0.5, 0.0, 0.0, 0.0, 0.0]);
    gradient_statistics(&mut case.rec, &tensors, &statistics, max_norm);
    let norms: Vec<f64> = gradients.iter().map(|values| reference::norm::frobenius(&widen(values))).collect();
    (case.run().read(&statistics), norms)
}

#[test]
fn gradients_of_every_size_have_their_norms() {
    let sizes = [1e-36, 1e-30, 1e-20, 1e-12, 1e-6, 1.0, 1e6, 1e12, 1e19, 1e25, 1e36];
    for form in FORMS {
        for scales in sizes.map(|size| [size; 3]).into_iter().chain([[1e-30, 1.0, 1e25], [1e25, 1e-30, 1e-12]]) {
            for max_norm in [0.0, 1.0, 1e-28] {
                let (got, norms) = of_scales(form, scales, max_norm);
                let what = |name: &str| format!("{form:?} {name} of gradients times {scales:?}, max_norm {max_norm:e}");
                let total = reference::norm::frobenius(&norms);
                let clip = if max_norm > 0.0 { reference::norm::clip_factor(total, max_norm) } else { 1.0 };
                assert_close(what("norm"), &[got[Statistics::NORM]], &[total], TOLERANCE);
                assert!(
                    (f64::from(got[Statistics::CLIP]) - clip).abs() <= TOLERANCE * clip + 1e-38,
                    "{}",
                    what("factor")
                );
                for (got, want) in got[Statistics::GRADIENTS..].iter().zip(&norms) {
                    assert_close(what("norm of one"), &[*got], &[*want], TOLERANCE);
                }
            }
        }
    }
}

#[test]
fn a_norm_beyond_the_largest_number_is_that_number_and_halts_nothing() {
    for form in FORMS {
        let (got, norms) = of_scales(form, [1e38, 1.0, 1e38], 1.0);
        assert!(norms[0] > f64::from(f32::MAX) && norms[2] > f64::from(f32::MAX));
        assert!(got[Statistics::CLIP] >= 0.0 && got[Statistics::CLIP] < 1e-37, "{form:?}: {got:?}");
        for norm in [got[Statistics::NORM], got[Statistics::GRADIENTS], got[Statistics::GRADIENTS + 2]] {
            assert!(norm.is_finite() && norm > 3.4e38, "{form:?}: {got:?}");
        }
    }
}

#[test]
fn gradients_that_lie_together_have_the_norms_that_they_have_apart() {
    for form in FORMS {
        for len in [1, 13, 63, 64, 4099, 20_000] {
            let values: Vec<Vec<f32>> = (0..5).map(|seed| random(len, seed)).collect();
            let statistics = |together: bool| {
                let mut case = Case::new(form);
                let statistics = case.input(&[8], &[LOSS, 0.5, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
                let norms = GradientNorms::new(&mut case.rec, 5, false);
                if together {
                    let all = case.input(&[5, len], &values.concat());
                    norms.measure_all(&mut case.rec, 0, 5, &all);
                } else {
                    for (index, values) in values.iter().enumerate() {
                        let one = case.input(&[len], values);
                        norms.measure(&mut case.rec, index, &one);
                    }
                }
                norms.gather(&mut case.rec);
                norms.finish(&mut case.rec, &statistics, 1.0);
                case.run().read(&statistics)
            };
            assert_eq!(statistics(true), statistics(false), "{form:?} {len}");
        }
    }
}

#[test]
fn a_gradient_that_is_checked_alone_has_the_norm_that_it_has_beside_others() {
    for form in FORMS {
        let mut case = Case::new(form);
        let gradients = [(91, 1.0), (5, 1e25), (640, 1e-30)].map(|(len, scale)| {
            let values: Vec<f32> = random(len, len as u64).iter().map(|x| x * scale).collect();
            case.input(&[len], &values)
        });
        let [together, apart] = [(); 2].map(|()| case.input(&[6], &[LOSS, 1.0, 0.0, 0.0, 0.0, 0.0]));
        gradient_statistics(&mut case.rec, &gradients, &together, 0.0);
        let norms = GradientNorms::new(&mut case.rec, 3, false);
        for (index, gradient) in gradients.iter().enumerate() {
            norms.measure(&mut case.rec, index, gradient);
            norms.check(&mut case.rec, index, &apart);
        }
        norms.finish(&mut case.rec, &apart, 0.0);
        let done = case.run();
        assert_eq!(done.read(&together), done.read(&apart), "{form:?}");
    }
}
