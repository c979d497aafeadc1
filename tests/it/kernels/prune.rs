use std::fs;

use multinorm::kernels::bias::column_squares;
use multinorm::kernels::prune::{Trials, draw_mask, loss_baseline, mask_columns, project_scores, score_step};
use multinorm::reference::prune as reference;
use serde_json::json;

use super::sgd::{schedule, step};
use crate::support::{Case, FORMS, assert_close, devices_and_types, oracle, random, widen};

const STREAM: u32 = 3;
const SEED: u32 = 11;
const LR: f64 = 0.25;
const WINDOW: f64 = 5.0;
/// Distance between two losses; what lies between them must not be read.
const PITCH: usize = 3;

/// Scores in [0, 1], the bounds among them.
fn scores(len: usize, seed: u64) -> Vec<f32> {
    let in_range = |(at, x): (usize, f32)| if at % 7 == 3 { (at % 2) as f32 } else { x.abs() % 1.0 };
    random(len, seed).into_iter().enumerate().map(in_range).collect()
}

/// Losses at the start of their rows, NaN between them.
fn spread(losses: &[f32]) -> Vec<f32> {
    losses.iter().flat_map(|loss| [*loss, f32::NAN, f32::NAN]).collect()
}

#[test]
fn masks_are_the_reference_s_draws() {
    for form in FORMS {
        for len in [1, 7, 64, 131] {
            let mut case = Case::new(form);
            let given = scores(len, 1);
            let (on_device, mask, numbers) = (case.input(&[len], &given), case.output(&[len]), step(&mut case));
            draw_mask(&mut case.rec, &on_device, &mask, &numbers, STREAM);
            let done = case.allocate();
            for number in [1, 2, 9] {
                done.write(&numbers, &[1.0f32.to_bits(), number, SEED, 0]);
                done.run();
                let want = reference::draw_mask(&widen(&given), STREAM, number, SEED);
                assert_eq!(widen(&done.read(&mask)), want, "{form:?} {len}, step {number}");
            }
        }
    }
}

#[test]
fn a_mask_multiplies_the_columns_of_its_unit() {
    for form in FORMS {
        for (rows, units, width) in [(1, 1, 1), (7, 13, 1), (5, 3, 4), (3, 2, 67)] {
            let mut case = Case::new(form);
            let (x, values) = case.random(&[rows, units * width], 1);
            // Longer than the units are, as padded rows of masks are.
            let mask: Vec<f32> = (0..units + 5).map(|at| if at < units { (at % 2) as f32 } else { f32::NAN }).collect();
            let on_device = case.input(&[units + 5], &mask);
            mask_columns(&mut case.rec, &on_device, units, &x);
            let of = |at: usize| f64::from(mask[at % (units * width) / width]);
            let want: Vec<f64> = values.iter().enumerate().map(|(at, x)| x * of(at)).collect();
            assert_eq!(widen(&case.run().read(&x)), want, "{form:?} {rows} rows, {units} units of {width}");
        }
    }
}

#[test]
fn squares_are_added_by_column() {
    for (gpu, dtype) in devices_and_types() {
        for [rows, cols] in [[1, 1], [7, 13], [5, 12], [300, 20]] {
            let mut case = Case::on(gpu);
            let (x, values) = case.random_in(dtype, &[rows, cols], 1);
            let (sums, before) = case.random(&[cols + 4], 2);
            column_squares(&mut case.rec, &x, &sums);
            let mut want = before;
            values.iter().enumerate().for_each(|(at, x)| want[at % cols] += x * x);
            // The worst seen is 3e-7.
            assert_close(format!("{dtype:?} {rows}x{cols}"), &case.run().read(&sums), &want, 3e-6);
        }
    }
}

#[test]
fn the_baseline_leaves_out_losses_that_are_not_finite() {
    for form in FORMS {
        let mut case = Case::new(form);
        let (losses, baseline, numbers) = (case.output(&[3, PITCH]), case.input(&[1], &[f32::NAN]), step(&mut case));
        loss_baseline(&mut case.rec, &losses, &baseline, &numbers, WINDOW);
        let done = case.allocate();
        let mut want = None;
        let (nan, infinite) = (f32::NAN, f32::INFINITY);
        let steps = [[4.0, 2.0, 3.5], [1.0, nan, 2.0], [infinite, nan, -infinite], [0.5, 0.25, 0.125]];
        for (number, given) in (1..).zip(steps) {
            done.write(&numbers, &[1.0f32.to_bits(), number, SEED, 0]);
            done.write(&losses, &spread(&given));
            done.run();
            want = reference::baseline(want, &widen(&given), WINDOW);
            assert_close(format!("{form:?} step {number}"), &done.read(&baseline), &[want.unwrap()], 1e-6);
        }
    }
}

#[test]
fn scores_are_projected_onto_their_budget() {
    for form in FORMS {
        for (scopes, len) in [(1, 1), (1, 7), (3, 64), (2, 1031)] {
            // Below the sum, so that nothing is shifted; a fraction; nearly nothing.
            for share in [2.0, 0.3, 0.01] {
                let mut case = Case::new(form);
                let given: Vec<f32> = random(scopes * len, 1).iter().map(|x| 0.5 + 0.6 * x).collect();
                let on_device = case.input(&[scopes, len], &given);
                let budget = share * len as f64;
                project_scores(&mut case.rec, &on_device, scopes, budget);
                let found = case.run().read(&on_device);
                let want: Vec<f64> =
                    widen(&given).chunks(len).flat_map(|scope| reference::project(scope, budget)).collect();
                // A sum close to the tolerance of the bisection may end it a round earlier or later.
                for (found, want) in found.iter().zip(&want) {
                    assert!((f64::from(*found) - want).abs() < 2e-3 / len as f64 + 1e-6, "{form:?} {scopes}×{len}");
                }
                for scope in widen(&found).chunks(len) {
                    assert!(scope.iter().sum::<f64>() <= budget + 2e-3, "{form:?} {scopes}×{len}, {share}");
                }
            }
        }
    }
}

/// Ten steps of the estimator and the projection, on given masks and losses, against the reference and NumPy.
#[test]
fn ten_steps_are_those_of_the_reference_and_of_numpy() {
    const SAMPLES: usize = 3;
    let dir = tempfile::tempdir().unwrap();
    for form in FORMS {
        for (len, scopes) in [(1, 1), (13, 1), (66, 3)] {
            let mut case = Case::new(form);
            let start = scores(len, 5);
            let budget = 0.4 * (len / scopes) as f64;
            let mut masks: Vec<Vec<f64>> = Vec::new();
            let mut losses: Vec<Vec<f32>> =
                (0..10).map(|at| random(SAMPLES, 50 + at).iter().map(|x| 3.0 + 0.2 * x).collect()).collect();
            losses[4][1] = f32::NAN;

            let (of_masks, of_losses) = (case.output(&[SAMPLES, len]), case.output(&[SAMPLES, PITCH]));
            let (baseline, numbers) = (case.output(&[1]), step(&mut case));
            let on_device = case.input(&[len], &start);
            loss_baseline(&mut case.rec, &of_losses, &baseline, &numbers, WINDOW);
            let trials = Trials { masks: &of_masks, losses: &of_losses, baseline: &baseline };
            score_step(&mut case.rec, trials, &on_device, &numbers, LR);
            project_scores(&mut case.rec, &on_device, scopes, budget);
            let done = case.allocate();

            let mut want = widen(&start);
            let (mut of_reference, mut found) = (None, Vec::new());
            for number in 1..=10u32 {
                let at = number as usize - 1;
                done.write(&numbers, &[schedule(number).to_bits(), number, SEED, 0]);
                // Drawn from the scores: what they make unlikely would be divided by nearly nothing.
                let trials: Vec<Vec<f64>> =
                    (0..SAMPLES).map(|sample| reference::draw_mask(&want, sample as u32, number, SEED)).collect();
                let narrow: Vec<f32> = trials.iter().flatten().map(|kept| *kept as f32).collect();
                done.write(&of_masks, &narrow);
                done.write(&of_losses, &spread(&losses[at]));
                done.run();
                found = done.read(&on_device);

                let given = widen(&losses[at]);
                of_reference = reference::baseline(of_reference, &given, WINDOW);
                let rate = LR * f64::from(schedule(number));
                want = reference::score_step(&want, &trials, &given, of_reference.unwrap(), rate);
                want = want.chunks(len / scopes).flat_map(|scope| reference::project(scope, budget)).collect();
                masks.extend(trials);
            }
            // A bisection ends where its sum is within 1e-3 of the budget, at single precision's nearest.
            assert_close(format!("{form:?} {len} in {scopes}"), &found, &want, 2e-3);

            let [input, output] = ["given.json", "after.json"].map(|name| dir.path().join(name));
            let rates: Vec<f64> = (1..=10).map(|number| LR * f64::from(schedule(number))).collect();
            // JSON has no NaN.
            let finite = |row: &Vec<f32>| row.iter().map(|x| x.is_finite().then_some(*x)).collect::<Vec<_>>();
            let given = json!({
                "scores": start, "masks": masks, "losses": losses.iter().map(finite).collect::<Vec<_>>(),
                "rates": rates, "window": WINDOW, "scopes": scopes, "budget": budget,
            });
            fs::write(&input, given.to_string()).unwrap();
            let ended = oracle("prune.py").args([&input, &output]).output().unwrap();
            assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
            let of_numpy: Vec<f64> = serde_json::from_str(&fs::read_to_string(&output).unwrap()).unwrap();
            for (ours, numpy) in want.iter().zip(&of_numpy) {
                assert!((ours - numpy).abs() < 1e-9, "{want:?} {of_numpy:?}");
            }
        }
    }
}
