use multinorm::kernels::loss_scale::LossScale;
use multinorm::kernels::norms::{GradientNorms, Statistics};
use multinorm::reference;

use crate::support::{Case, FORMS};

#[test]
fn the_scale_follows_the_reference_through_good_steps_and_overflows() {
    const GROWTH: u32 = 3;
    for form in FORMS {
        for first in [LossScale::LEAST * 2.0, 1024.0, LossScale::MOST] {
            let mut case = Case::new(form);
            let gradient = case.input(&[8], &[1.0f32; 8]);
            let statistics = case.input(&[Statistics::GRADIENTS + 1 + LossScale::STATISTICS], &[1.0f32; 6]);
            let scale = LossScale::new(&mut case.rec, first, GROWTH);
            let norms = GradientNorms::new(&mut case.rec, 1, true);
            norms.measure(&mut case.rec, 0, &gradient);
            norms.gather(&mut case.rec);
            norms.finish(&mut case.rec, &statistics.rows(0..Statistics::GRADIENTS + 1), 0.0);
            scale.end_step(&mut case.rec, &statistics);
            let done = case.allocate();
            let mut want = reference::loss_scale::LossScale { scale: first, good: 0, skipped: 0 };
            let bad = [f32::INFINITY, f32::NAN];
            for (step, overflowed) in "...x.....x......".chars().map(|c| c == 'x').enumerate() {
                done.write(&gradient, &[if overflowed { bad[step % 2] } else { 1.0 }; 8]);
                done.run();
                let bounds = [LossScale::LEAST, LossScale::MOST];
                want = want.after(overflowed, GROWTH.into(), bounds);
                let found = done.read(&statistics);
                let what = format!("{form:?} from {first}, step {step}");
                assert_eq!(found[4..], [want.scale as f32, want.skipped as f32], "{what}");
                assert_eq!(done.read(&scale.scale), [want.scale as f32], "{what}");
                assert_eq!(done.read(&scale.inverse), [(1.0 / want.scale) as f32], "{what}");
                assert_eq!(done.read(&scale.counts), [want.good as f32, want.skipped as f32], "{what}");
                assert_eq!(found[Statistics::CLIP], if overflowed { Statistics::SKIPPED } else { 1.0 }, "{what}");
            }
        }
    }
}

#[test]
fn an_overflow_under_the_least_scale_and_a_loss_that_is_none_halt_the_run() {
    for (first, loss, gradient) in [(LossScale::LEAST, 1.0, f32::INFINITY), (1024.0, f32::NAN, 1.0)] {
        let mut case = Case::new(FORMS[0]);
        let gradient = case.input(&[4], &[gradient; 4]);
        let statistics = case.input(&[6], &[loss, 1.0f32, 0.0, 0.0, 0.0, 0.0]);
        let scale = LossScale::new(&mut case.rec, first, 2);
        let norms = GradientNorms::new(&mut case.rec, 1, true);
        norms.measure(&mut case.rec, 0, &gradient);
        norms.gather(&mut case.rec);
        norms.finish(&mut case.rec, &statistics.rows(0..4), 0.0);
        scale.end_step(&mut case.rec, &statistics);
        let done = case.run();
        assert_eq!(done.read(&statistics)[Statistics::CLIP], -1.0, "loss {loss} under {first}");
        done.write(&gradient, &[1.0f32; 4]);
        done.run();
        assert_eq!(done.read(&statistics)[Statistics::CLIP], -1.0, "it stays halted");
    }
}

#[test]
fn the_number_of_a_step_counts_updates() {
    let mut case = Case::new(FORMS[0]);
    let scale = LossScale::new(&mut case.rec, 1024.0, 2);
    let statistics = case.input(&[5], &[2.5f32, Statistics::SKIPPED, f32::INFINITY, 0.0, 0.0]);
    let step = case.input(&[4], &[7u32, 9, 11, 13]);
    scale.begin_step(&mut case.rec, &statistics, &step);
    let done = case.allocate();
    done.write(&scale.counts, &[1.0f32, 4.0]);
    done.run();
    assert_eq!(done.read_as::<u32>(&step), [7, 5, 11, 13]);
    assert_eq!(done.read(&statistics)[..2], [2.5, 1.0], "a skipped step is over");
}
