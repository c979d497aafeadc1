//! Loss as a timeline: its cursor selects the step whose gradient is shown.

use eframe::egui::{RichText, Ui};

use super::{Action, Scene};
use crate::chart::{Axis, Chart, Curve, Mark, Scale};
use crate::lab::{RunView, Status};
use crate::theme::{self, colors};

/// Steps on each side of the running mean's centre.
const HALF_WINDOW: usize = 5;
/// The maximum number of points of a curve.
const MOST_POINTS: usize = 2000;

/// The losses of all runs, by step.
pub fn show(ui: &mut Ui, scene: &Scene<'_>, height: Option<f32>, acts: &mut Vec<Action>) {
    let lab = scene.lab;
    ui.horizontal_wrapped(|ui| {
        theme::section(ui, "Loss");
        let words = match &lab.status {
            Status::Building => "preparing the model",
            Status::Running if lab.settings.step.is_some() => "training continues; the cursor stays at this step",
            Status::Running => "training; the cursor follows the newest gradient",
            _ => "drag the cursor to see another step's gradient",
        };
        ui.label(RichText::new(words).small().color(colors(ui).secondary));
    });
    let curves = losses(ui, &lab.runs);
    let shown = scene.looks.first().filter(|_| !lab.shows_recorded()).map(|look| look.step() as f64);
    let x = Axis { range: Some([0.0, last_step(&lab.runs)]), ..Axis::new("training steps", Scale::Whole) };
    let y = Axis::new("nats per token", Scale::Linear);
    let height = height.unwrap_or(f32::INFINITY);
    let chart = Chart { cursor: shown, ..Chart::new("loss", "", x, y, height) };
    let chosen = chart.show(ui, &curves).chosen;
    let Some((x, run)) = chosen.zip(lab.views().first().copied()) else { return };
    let steps = run.looks.iter().map(|look| look.step());
    let nearest = steps.min_by_key(|step| ((*step as f64 - x).abs() * 1e3) as u64);
    let newest = run.looks.back().map(|look| look.step());
    acts.push(Action::Step(if nearest == newest { None } else { nearest }));
}

fn last_step(runs: &[RunView]) -> f64 {
    let last = runs.iter().filter_map(RunView::last).map(|last| last.step).max().unwrap_or(0);
    last.max(10) as f64
}

/// Thin lines for training batches, thick ones for their mean, marks for held-out text.
fn losses(ui: &Ui, runs: &[RunView]) -> Vec<Curve> {
    let mut curves = Vec::new();
    for (index, run) in runs.iter().enumerate() {
        let color = theme::optimizer(ui, &run.optimizer);
        let batches: Vec<[f64; 2]> = run.steps.iter().map(|(report, _)| [report.step as f64, report.loss]).collect();
        let held_out = run.evaluations.iter().map(|(step, _, loss)| [*step as f64, *loss]).collect();
        let each = if runs.len() == 1 { "each batch" } else { "" };
        curves.push(Curve::line(each, color, batches.clone()).faint());
        curves.push(Curve::line(format!("{}: training", run.optimizer), color, centered_mean(&batches)));
        curves.push(
            Curve::line(format!("{}: held-out text", run.optimizer), color, held_out).loose().marked(Mark::of(index)),
        );
    }
    curves
}

/// The mean of a centred window, which does not lag behind.
pub fn centered_mean(points: &[[f64; 2]]) -> Vec<[f64; 2]> {
    let mean = |at: usize| {
        let half = HALF_WINDOW.min(at).min(points.len() - 1 - at);
        let window = &points[at - half..=at + half];
        [points[at][0], window.iter().map(|point| point[1]).sum::<f64>() / window.len() as f64]
    };
    // More points than pixels add nothing.
    let stride = points.len().div_ceil(MOST_POINTS).max(1);
    let last = points.len().checked_sub(1).filter(|last| last % stride != 0);
    (0..points.len()).step_by(stride).chain(last).map(mean).collect()
}

#[cfg(test)]
mod tests {
    use super::{MOST_POINTS, centered_mean};

    #[test]
    fn a_straight_line_stays_where_it_is() {
        let points: Vec<[f64; 2]> = (0..30).map(|at| [f64::from(at), 7.0 - 0.25 * f64::from(at)]).collect();
        for (mean, point) in centered_mean(&points).iter().zip(&points) {
            assert!((mean[1] - point[1]).abs() < 1e-12, "{mean:?} {point:?}");
        }
        assert_eq!(centered_mean(&[]), Vec::<[f64; 2]>::new());
        let long: Vec<[f64; 2]> = (0..10_001).map(|at| [f64::from(at), 1.0]).collect();
        let thin = centered_mean(&long);
        assert!(thin.len() <= MOST_POINTS + 1 && thin.last() == Some(&[10_000.0, 1.0]), "{}", thin.len());
    }
}
