use multinorm::kernels::h_fac::{AverageConstants, Averages, average};
use multinorm::reference;

use super::scaled::uneven;
use super::sgd::{clipped, halted, statistics, step};
use crate::support::{Case, FORMS, assert_close, random};

const HYPER: AverageConstants = AverageConstants { beta1: 0.75, beta2: 0.9, eps: 0.01 };

#[test]
fn averages_of_rows_and_columns_follow_the_reference() {
    for form in FORMS {
        for [m, n] in [[1, 1], [7, 13], [300, 67], [3, 2049]] {
            let mut case = Case::new(form);
            let gradient = case.output(&[m, n]);
            let rows = [(); 2].map(|()| case.input(&[m], &vec![0.0f32; m]));
            let cols = [(); 2].map(|()| case.input(&[n], &vec![0.0f32; n]));
            let (statistics, numbers) = (statistics(&mut case), step(&mut case));
            let averages = Averages { rows: [&rows[0], &rows[1]], cols: [&cols[0], &cols[1]] };
            average(&mut case.rec, &gradient, averages, &statistics, &numbers, HYPER);
            let done = case.allocate();
            let hyper =
                reference::h_fac::HFac { beta1: 0.75, beta2: 0.9, eps: 0.01, clip_threshold: 1.0, weight_decay: 0.0 };
            let mut state = reference::h_fac::State::new(m, n);
            for number in 1..=3u32 {
                let g = uneven(m, n, u64::from(number) * 10);
                done.write(&gradient, &g);
                done.write(&numbers, &[1.0f32.to_bits(), number, 0, 0]);
                done.run();
                reference::h_fac::step(&hyper, &mut state, &mut vec![0.0; m * n], &clipped(&g), 1.0);
            }
            let pairs = [
                (&rows[0], &state.row_mean),
                (&rows[1], &state.row_sq),
                (&cols[0], &state.col_mean),
                (&cols[1], &state.col_sq),
            ];
            for (got, want) in pairs {
                assert_close(format!("{form:?} {m}x{n}"), &done.read(got), want, 5e-5);
            }
        }
    }
}

#[test]
fn a_halted_run_leaves_the_averages_alone() {
    let mut case = Case::new(FORMS[0]);
    let gradient = case.input(&[8, 8], &random(64, 1));
    let averages = [2, 3, 4, 5].map(|seed| case.input(&[8], &random(8, seed)));
    let (statistics, step) = (halted(&mut case), case.input(&[4], &[1.0f32.to_bits(), 2, 0, 0]));
    let [u, r, v, s] = &averages;
    average(&mut case.rec, &gradient, Averages { rows: [u, r], cols: [v, s] }, &statistics, &step, HYPER);
    let done = case.run();
    for (tensor, seed) in averages.iter().zip(2..) {
        assert_eq!(done.read(tensor), random(8, seed));
    }
}
