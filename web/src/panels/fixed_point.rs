//! How rows and columns come to balance, and what the matrix looks like on the way.

use eframe::egui::{RichText, Ui};
use multinorm::normalize::Entry;
use multinorm::train::Followed;

use super::spectrum::{freeze, walk};
use super::{HeatMap, caption, columns, half_height, nothing_yet, reading};
use crate::lab::Lab;
use crate::plots::{Axes, Series, curves, short};

/// What float32 leaves of a deviation that is zero; the side that a pass made exact is not drawn.
const FLOOR: f64 = 1e-7;

/// The pictures of the view.
#[derive(Default)]
pub struct FixedPointPanel {
    /// Of the first run's gradient.
    pub heat_map: HeatMap,
}

impl FixedPointPanel {
    /// The view.
    pub fn show(&mut self, ui: &mut Ui, lab: &mut Lab) {
        let Some(followed) = lab.seen().into_iter().next() else {
            nothing_yet(ui, "the first look comes with the first step");
            return;
        };
        let record = &followed.record;
        let [m, n] = record.shape;
        let name = lab.views().first().map_or(String::new(), |run| run.optimizer.clone());
        ui.label(RichText::new(format!("{name}: {} ({m}×{n}), step {}", record.parameter, record.step)).strong());
        if lab.opened.is_none() {
            ui.horizontal_wrapped(|ui| freeze(ui, lab));
        }
        let last = record.passes.len() - 1;
        let before = lab.settings.half_step;
        walk(ui, &mut lab.settings.half_step, last);
        if lab.settings.half_step != before {
            lab.draw();
        }
        readings(ui, &followed, lab.settings.half_step);
        columns(ui, 2, |ui, index| match index {
            0 => deviations(ui, &followed),
            _ => cosines(ui, &followed),
        });
        columns(ui, 2, |ui, index| {
            ui.strong(["The gradient", "After the chosen pass"][index]);
            self.heat_map.show(ui, index, record.shape);
        });
        caption(
            ui,
            "Blue is above zero, vermilion below; full colour is three times the root mean square. Drawn on the device from \
             where the newest gradient lies, also while the plots are frozen. Passes of rows and columns keep every sign \
             and every zero. Of a rule that is no list of passes there is the gradient alone.",
        );
        scalings(ui, &followed);
    }
}

fn readings(ui: &mut Ui, followed: &Followed, half_step: usize) {
    let entry = &followed.record.passes[half_step.min(followed.record.passes.len() - 1)];
    let of = &entry.quantities;
    ui.horizontal_wrapped(|ui| {
        reading(ui, "after", entry.pass.clone(), "the pass just done");
        reading(ui, "rows off by", short(of.row_deviation_max), "the largest |norm/√n − 1| of a row");
        reading(ui, "columns off by", short(of.column_deviation_max), "the largest |norm/√m − 1| of a column");
        let cosine = |cosine: Option<f64>| cosine.map_or("–".into(), |cosine| format!("{cosine:.5}"));
        reading(ui, "cosine to the pass before", cosine(of.cosine_to_previous), "1 where nothing turns any more");
        reading(ui, "cosine to the gradient", cosine(of.cosine_to_gradient), "above 0: the step still goes down");
        let rate = |rate: Option<f64>| rate.map_or("–".into(), |rate| format!("{rate:.3}"));
        reading(
            ui,
            "rate predicted",
            rate(followed.rate_predicted),
            "σ₂² of the balanced X⊙X: the factor on the deviation of one iteration, near the limit",
        );
        reading(
            ui,
            "rate observed",
            rate(followed.rate_observed),
            "the ratio of the deviations of the last two iterations above float32's rounding",
        );
    });
}

fn deviations(ui: &mut Ui, followed: &Followed) {
    let passes = &followed.record.passes;
    let points = |of: fn(&Entry) -> f64| -> Vec<[f64; 2]> {
        let all = passes.iter().enumerate().map(|(at, entry)| [at as f64, of(entry)]);
        all.filter(|[_, deviation]| *deviation > FLOOR).collect()
    };
    let mut series = vec![
        Series::marked("rows", 0, points(|entry| entry.quantities.row_deviation_rms)),
        Series::marked("columns", 1, points(|entry| entry.quantities.column_deviation_rms)),
    ];
    let first = passes.iter().rposition(|entry| entry.iteration == 1);
    if let Some((rate, first)) = followed.rate_predicted.zip(first) {
        let of = &passes[first].quantities;
        let from = of.row_deviation_rms.max(of.column_deviation_rms);
        let per_iteration = passes.iter().filter(|entry| entry.iteration == 1).count() as f64;
        let line = (first..passes.len()).map(|at| [at as f64, from * rate.powf((at - first) as f64 / per_iteration)]);
        series.push(Series::line(format!("predicted: × {rate:.3} an iteration"), 2, line.collect()));
    }
    ui.strong("Distance from balance");
    let axes = Axes {
        id: "deviations",
        x: "passes done",
        y: "|norm/target − 1|, rms",
        log: true,
        whole: true,
        height: half_height(ui),
    };
    curves(ui, axes, &series);
    caption(
        ui,
        "A straight line is linear convergence: the same factor every iteration. A pass makes its own side exact, so that only the other is drawn.",
    );
}

fn cosines(ui: &mut Ui, followed: &Followed) {
    let passes = followed.record.passes.iter().enumerate().skip(1);
    let turn = |of: fn(&Entry) -> Option<f64>| -> Vec<[f64; 2]> {
        passes.clone().filter_map(|(at, entry)| Some([at as f64, (1.0 - of(entry)?).max(1e-12)])).collect()
    };
    let series = [
        Series::marked("1 − cosine to the pass before", 0, turn(|entry| entry.quantities.cosine_to_previous)),
        Series::marked("1 − cosine to the gradient", 1, turn(|entry| entry.quantities.cosine_to_gradient)),
    ];
    ui.strong("How far it turns");
    let axes =
        Axes { id: "cosines", x: "passes done", y: "1 − cosine", log: true, whole: true, height: half_height(ui) };
    curves(ui, axes, &series);
    caption(
        ui,
        "From the second pass on the turn from one to the next never grows; the angle to the gradient is what the method changes in all.",
    );
}

/// r and c of X = diag(r)·G·diag(c), largest first.
fn scalings(ui: &mut Ui, followed: &Followed) {
    if followed.row_scaling.is_empty() {
        ui.weak(
            "There is no r and c to show: these passes do more than scale rows and columns, or this is the record of an \
             earlier run, which does not keep them.",
        );
        return;
    }
    columns(ui, 2, |ui, index| {
        let (id, name, values) = match index {
            0 => ("r", "row scalings r", &followed.row_scaling),
            _ => ("c", "column scalings c", &followed.column_scaling),
        };
        let mut sorted: Vec<f64> = values.iter().copied().filter(|value| *value > 0.0).collect();
        sorted.sort_by(|a, b| b.total_cmp(a));
        let points = sorted.into_iter().enumerate().map(|(at, value)| [(at + 1) as f64, value]).collect();
        let axes = Axes { id, x: "the largest first", y: name, log: true, whole: true, height: 170.0 };
        curves(ui, axes, &[Series::line(name, index, points)]);
    });
    caption(
        ui,
        "X = diag(r)·G·diag(c): all that SinkGD has to compute. A wide range says that rows or columns of very different size were brought to one.",
    );
}
