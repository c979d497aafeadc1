use multinorm::gpu::Form;
use multinorm::kernels::{Output, cross_entropy};
use multinorm::reference;

use crate::support::{Case, FORMS, OUTPUTS, assert_close, random, widen};

/// Exponentials of logits around 100, where f32 has steps of 8e-6; the worst seen is 6e-6.
const TOLERANCE: f64 = 3e-5;
const SCALE: f64 = 0.37;

/// Every third target of rows past the first is [`cross_entropy::IGNORE`]; the others walk over the vocabulary.
fn targets(rows: usize, vocab: usize) -> Vec<u32> {
    let target = |row: usize| match row % 3 {
        2 => cross_entropy::IGNORE,
        _ => ((row * 41 + vocab - 1) % vocab) as u32,
    };
    (0..rows).map(target).collect()
}

/// The columns `first..first + cols` of every row.
fn columns(logits: &[f32], vocab: usize, first: usize, cols: usize) -> Vec<f32> {
    logits.chunks(vocab).flat_map(|row| &row[first..first + cols]).copied().collect()
}

/// Loss and gradient of the rows that count, scaled, and zeros in the others.
fn reference(logits: &[f32], targets: &[u32], vocab: usize) -> (f64, Vec<f64>) {
    let counts: Vec<usize> = (0..targets.len()).filter(|&row| targets[row] != cross_entropy::IGNORE).collect();
    let mut gradient = vec![0.0; logits.len()];
    if counts.is_empty() {
        return (0.0, gradient);
    }
    let kept: Vec<f64> = counts.iter().flat_map(|row| widen(&logits[row * vocab..][..vocab])).collect();
    let kept_targets: Vec<u32> = counts.iter().map(|&row| targets[row]).collect();
    let scale = SCALE * counts.len() as f64; // the reference has the mean
    let (loss, _) = reference::cross_entropy::forward(&kept, &kept_targets, vocab);
    let kept_gradient = reference::cross_entropy::backward(&kept, &kept_targets, vocab);
    for (row, values) in counts.iter().zip(kept_gradient.chunks(vocab)) {
        gradient[row * vocab..][..vocab].copy_from_slice(&values.iter().map(|x| scale * x).collect::<Vec<_>>());
    }
    (scale * loss, gradient)
}

fn check(form: Form, targets: &[u32], vocab: usize, chunk: usize, output: Output) {
    let what = |name: &str| format!("{form:?} {name} {output:?}, {} rows of {vocab} by {chunk}", targets.len());
    let rows = targets.len();
    // Far from zero: an exponential without the maximum taken out would overflow.
    let logits: Vec<f32> = random(rows * vocab, 1).iter().map(|x| 100.0 + 5.0 * x).collect();
    let mut case = Case::new(form);
    let ids = case.input(&[rows], targets);
    let statistics = case.output(&[rows, 4]);
    let (loss, loss_before) = case.target(&[1], output, 2);
    let mut chunks = Vec::new();
    for first in (0..vocab).step_by(chunk) {
        let cols = chunk.min(vocab - first);
        let part = case.input(&[rows, cols], &columns(&logits, vocab, first, cols));
        let begin = if first == 0 { Output::Write } else { Output::Accumulate };
        cross_entropy::statistics(&mut case.rec, &part, &ids, &statistics, first, begin);
        chunks.push((first, part));
    }
    cross_entropy::loss(&mut case.rec, &statistics, &ids, &loss, SCALE, output);
    for (first, part) in &chunks {
        cross_entropy::backward(&mut case.rec, part, &ids, &statistics, *first, SCALE);
    }
    let done = case.run();

    let (want_loss, want_gradient) = reference(&logits, targets, vocab);
    assert_close(what("loss"), &done.read(&loss), &[loss_before[0] + want_loss], TOLERANCE);
    let mut gradient = vec![f32::NAN; rows * vocab];
    for (first, part) in &chunks {
        let (values, cols) = (done.read(part), part.shape[1]);
        for (row, values) in values.chunks(cols).enumerate() {
            gradient[row * vocab + first..][..cols].copy_from_slice(values);
        }
    }
    assert_close(what("gradient"), &gradient, &want_gradient, TOLERANCE);
}

#[test]
fn one_chunk_agrees_with_the_reference() {
    for form in FORMS {
        for [rows, vocab] in [[1, 1], [1, 5], [7, 13], [65, 131], [131, 515]] {
            for output in OUTPUTS {
                check(form, &targets(rows, vocab), vocab, vocab, output);
            }
        }
    }
}

#[test]
fn several_chunks_and_an_uneven_last_agree_with_the_reference() {
    for form in FORMS {
        for [rows, vocab, chunk] in [[1, 5, 2], [7, 13, 1], [65, 131, 64], [31, 515, 256]] {
            check(form, &targets(rows, vocab), vocab, chunk, Output::Write);
        }
    }
}

#[test]
fn targets_that_are_all_ignored_count_nothing() {
    for form in FORMS {
        check(form, &[cross_entropy::IGNORE; 7], 13, 5, Output::Write);
    }
}

#[test]
fn a_chunk_of_far_lower_or_higher_logits_keeps_the_sum() {
    // The running maximum moves up in the first case only; both must rescale the sum that stands on the other.
    for form in FORMS {
        for low_first in [true, false] {
            let mut logits = [-40.0f32, -41.0, 2.0, 3.0];
            if !low_first {
                logits.rotate_left(2);
            }
            let mut case = Case::new(form);
            let ids = case.input(&[1], &[3u32]);
            let (statistics, loss) = (case.output(&[1, 4]), case.output(&[1]));
            for first in [0, 2] {
                let part = case.input(&[1, 2], &logits[first..first + 2]);
                let begin = if first == 0 { Output::Write } else { Output::Accumulate };
                cross_entropy::statistics(&mut case.rec, &part, &ids, &statistics, first, begin);
            }
            cross_entropy::loss(&mut case.rec, &statistics, &ids, &loss, 1.0, Output::Write);
            let (want, _) = reference::cross_entropy::forward(&widen(&logits), &[3], 4);
            assert_close(format!("{form:?} low first: {low_first}"), &case.run().read(&loss), &[want], TOLERANCE);
        }
    }
}

#[test]
fn a_peak_in_any_lane_is_taken_out_of_the_exponential() {
    let vocab = 19;
    for form in FORMS {
        for peak in 0..vocab {
            let mut logits = vec![0.0f32; vocab];
            logits[peak] = 200.0; // beyond exp in f32
            let mut case = Case::new(form);
            let (ids, part) = (case.input(&[1], &[7u32]), case.input(&[1, vocab], &logits));
            let (statistics, loss) = (case.output(&[1, 4]), case.output(&[1]));
            cross_entropy::statistics(&mut case.rec, &part, &ids, &statistics, 0, Output::Write);
            cross_entropy::loss(&mut case.rec, &statistics, &ids, &loss, 1.0, Output::Write);
            let want = if peak == 7 { 0.0 } else { 200.0 }; // the other exponentials are some 1e-87
            assert_close(format!("{form:?} peak {peak}"), &case.run().read(&loss), &[want], TOLERANCE);
        }
    }
}
