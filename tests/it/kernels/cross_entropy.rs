use multinorm::gpu::{DType, Gpu};
use multinorm::kernels::{Output, cross_entropy};
use multinorm::reference;

use crate::support::{Case, FORMS, Form, OUTPUTS, assert_close, assert_close_in, devices_and_types, random, widen};

/// For exponentials of logits around 100, where f32 has a spacing of 8e-6; the worst seen is 1.1e-5.
const TOLERANCE: f64 = 3e-5;
const SCALE: f64 = 0.37;

/// After the first row, every third target is [`cross_entropy::IGNORE`]; the others cycle through the vocabulary.
fn targets(rows: usize, vocab: usize) -> Vec<u32> {
    let target = |row: usize| match row % 3 {
        2 => cross_entropy::IGNORE,
        _ => ((row * 41 + vocab - 1) % vocab) as u32,
    };
    (0..rows).map(target).collect()
}

/// Scaled loss and gradient of the rows that count; zeros in the others.
fn reference(logits: &[f32], targets: &[u32], vocab: usize) -> (f64, Vec<f64>) {
    let counts: Vec<usize> = (0..targets.len()).filter(|&row| targets[row] != cross_entropy::IGNORE).collect();
    let mut gradient = vec![0.0; logits.len()];
    if counts.is_empty() {
        return (0.0, gradient);
    }
    let kept: Vec<f64> = counts.iter().flat_map(|row| widen(&logits[row * vocab..][..vocab])).collect();
    let kept_targets: Vec<u32> = counts.iter().map(|&row| targets[row]).collect();
    let scale = SCALE * counts.len() as f64; // the reference takes the mean
    let (loss, _) = reference::cross_entropy::forward(&kept, &kept_targets, vocab);
    let kept_gradient = reference::cross_entropy::backward(&kept, &kept_targets, vocab);
    for (row, values) in counts.iter().zip(kept_gradient.chunks(vocab)) {
        gradient[row * vocab..][..vocab].copy_from_slice(&values.iter().map(|x| scale * x).collect::<Vec<_>>());
    }
    (scale * loss, gradient)
}

fn check((gpu, dtype): (&'static Gpu, DType), targets: &[u32], vocab: usize, output: Output) {
    let what = |name: &str| format!("{dtype:?} {name} {output:?}, {} rows of {vocab}", targets.len());
    let rows = targets.len();
    // Far from zero: exp would overflow if the maximum were not subtracted.
    let logits: Vec<f32> = random(rows * vocab, 1).iter().map(|x| 100.0 + 5.0 * x).collect();
    let mut case = Case::on(gpu);
    let ids = case.input(&[rows], targets);
    let (gradient, logits) = case.numbers(dtype, &[rows, vocab], &logits);
    let logits: Vec<f32> = logits.into_iter().map(|x| x as f32).collect();
    let [losses, losses_alone] = [(); 2].map(|()| case.output(&[rows]));
    let (loss, loss_before) = case.target(&[1], output, 2);
    cross_entropy::losses(&mut case.rec, &gradient, &ids, &losses_alone);
    // In half precision a loss scale preserves the small gradients.
    let scale = if dtype == DType::F16 { 1024.0 } else { 1.0 };
    let loss_scale = case.input(&[1], &[scale as f32]);
    let given = (dtype == DType::F16).then_some(&loss_scale);
    cross_entropy::losses_and_gradient(&mut case.rec, &gradient, &ids, &losses, SCALE, given);
    cross_entropy::sum(&mut case.rec, &losses, &loss, SCALE, output);
    let done = case.run();

    let (want_loss, want_gradient) = reference(&logits, targets, vocab);
    assert_close(what("loss"), &done.read(&loss), &[loss_before[0] + want_loss], TOLERANCE);
    let want_gradient: Vec<f64> = want_gradient.into_iter().map(|x| scale * x).collect();
    assert_close_in(dtype, what("gradient"), &done.read(&gradient), &want_gradient, TOLERANCE);
    let row = |row: usize| reference(&logits[row * vocab..][..vocab], &targets[row..row + 1], vocab).0 / SCALE;
    let want_losses: Vec<f64> = (0..rows).map(row).collect();
    assert_close(what("losses"), &done.read(&losses), &want_losses, TOLERANCE);
    assert_close(what("losses without a gradient"), &done.read(&losses_alone), &want_losses, TOLERANCE);
}

#[test]
fn rows_agree_with_the_reference() {
    for device in devices_and_types() {
        // One lane's numbers, several blocks of a workgroup's registers, and vocabularies not divisible by 4.
        for [rows, vocab] in
            [[1, 1], [1, 5], [7, 13], [65, 131], [131, 515], [67, 64], [5, 1100], [3, 40_004], [3, 9001]]
        {
            for output in OUTPUTS {
                check(device, &targets(rows, vocab), vocab, output);
            }
        }
    }
}

#[test]
fn targets_that_are_all_ignored_count_nothing() {
    for device in devices_and_types() {
        for vocab in [13, 16] {
            check(device, &[cross_entropy::IGNORE; 7], vocab, Output::Write);
        }
    }
}

/// For one row of logits: the loss with and without the gradient, and the gradient.
fn one_row(form: Form, logits: &[f32], target: u32) -> ([f32; 2], Vec<f32>) {
    let mut case = Case::new(form);
    let (ids, row) = (case.input(&[1], &[target]), case.input(&[1, logits.len()], logits));
    let [alone, loss] = [(); 2].map(|()| case.output(&[1]));
    cross_entropy::losses(&mut case.rec, &row, &ids, &alone);
    cross_entropy::losses_and_gradient(&mut case.rec, &row, &ids, &loss, 1.0, None);
    let done = case.run();
    ([done.read(&alone)[0], done.read(&loss)[0]], done.read(&row))
}

#[test]
fn a_peak_in_any_lane_is_taken_out_of_the_exponential() {
    for form in FORMS {
        for vocab in [19, 20] {
            for peak in 0..vocab {
                let mut logits = vec![0.0f32; vocab];
                logits[peak] = 200.0; // beyond exp in f32
                let (losses, gradient) = one_row(form, &logits, 7);
                let want = if peak == 7 { 0.0 } else { 200.0 }; // the other exponentials are about 1e-87
                assert_close(format!("{form:?} peak {peak}"), &losses, &[want; 2], TOLERANCE);
                let onehot = |at| f64::from(u8::from(at == peak)) - f64::from(u8::from(at == 7));
                let want: Vec<f64> = (0..vocab).map(onehot).collect();
                assert_close(format!("{form:?} gradient of peak {peak}"), &gradient, &want, TOLERANCE);
            }
        }
    }
}

#[test]
fn far_lower_or_higher_logits_in_a_later_block_keep_the_sum() {
    // The running maximum only rises in the first case; both must rescale the other partial sum.
    for form in FORMS {
        for low_first in [true, false] {
            let vocab = 20_000;
            let height = |at: usize| if (at < vocab / 2) == low_first { -40.0 } else { 3.0 };
            let logits: Vec<f32> = random(vocab, 3).iter().enumerate().map(|(at, x)| height(at) + x).collect();
            let (losses, gradient) = one_row(form, &logits, 19_997);
            let (want, want_gradient) = {
                let logits = widen(&logits);
                let (loss, _) = reference::cross_entropy::forward(&logits, &[19_997], vocab);
                (loss, reference::cross_entropy::backward(&logits, &[19_997], vocab))
            };
            assert_close(format!("{form:?} low first: {low_first}"), &losses, &[want; 2], TOLERANCE);
            assert_close(format!("{form:?} low first: {low_first}"), &gradient, &want_gradient, TOLERANCE);
        }
    }
}

#[test]
fn logits_that_are_no_numbers_make_a_loss_that_is_none() {
    for form in FORMS {
        for bad in [f32::NAN, f32::INFINITY] {
            let mut logits = [1.0; 24];
            logits[5] = bad;
            let (losses, _) = one_row(form, &logits, 7);
            assert!(losses.iter().all(|loss| !loss.is_finite()), "{form:?} {bad}: {losses:?}");
        }
    }
}
