//! How rows and columns converge to balance: measured, predicted by theory, and how many rounds are left.

use eframe::egui::{RichText, Ui};
use multinorm::spectrum::Convergence;

use super::{Action, Scene, names_in_color};
use crate::chart::{Axis, Band, Chart, Curve, Dash, Mark, Rule, Scale, short};
use crate::panels::FLOOR;
use crate::theme::{self, colors};

/// The deviation that counts as balanced.
const THRESHOLD: f64 = 0.01;
/// The choices for how many rounds to show.
const ROUNDS: [usize; 3] = [5, 20, 100];

/// The plot and how many rounds it shows.
pub struct ConvergencePlot {
    rounds: usize,
}

impl Default for ConvergencePlot {
    fn default() -> Self {
        Self { rounds: ROUNDS[0] }
    }
}

impl ConvergencePlot {
    /// The plot, with its main result in words.
    pub fn show(&mut self, ui: &mut Ui, scene: &Scene<'_>, height: Option<f32>, acts: &mut Vec<Action>) {
        ui.horizontal(|ui| {
            theme::section(ui, "Distance from balance");
            ui.weak("rounds");
            for rounds in ROUNDS {
                let words = RichText::new(rounds.to_string()).small();
                if ui.selectable_label(self.rounds == rounds, words).clicked() {
                    self.rounds = rounds;
                }
            }
        });
        names_in_color(ui, &scene.names);
        for run in 0..scene.looks.len() {
            ui.label(RichText::new(describe(scene, run)).small().color(colors(ui).secondary));
        }
        let mut curves = Vec::new();
        let mut bands = Vec::new();
        for run in 0..scene.looks.len() {
            self.curves(ui, scene, run, &mut curves, &mut bands);
        }
        let position = scene.moment.position();
        let last = curves.iter().flat_map(|curve| &curve.points).map(|point| point[0]).fold(1.0, f64::max);
        let x = Axis { range: Some([0.0, last]), ..Axis::new("passes done", Scale::Whole) };
        let y = Axis::new("|length/target − 1|, rms", Scale::Log);
        let height = height.unwrap_or(f32::INFINITY);
        let chart = Chart {
            bands,
            rules: vec![Rule { y: THRESHOLD, label: "1 %".into() }],
            cursor: Some(position),
            ..Chart::new("convergence", "", x, y, height)
        };
        if let Some(x) = chart.show(ui, &curves).chosen {
            let last = scene.looks.iter().map(|look| look.followed.record.passes.len() - 1).max().unwrap_or(0);
            acts.push(Action::Pass(Some((x.round().max(0.0) as usize).min(last))));
        }
    }

    fn curves(&self, ui: &Ui, scene: &Scene<'_>, run: usize, curves: &mut Vec<Curve>, bands: &mut Vec<Band>) {
        let look = &scene.looks[run].followed;
        let name = &scene.names[run];
        let color = theme::optimizer(ui, name);
        let Some(convergence) = &look.convergence else {
            // Not a list of row and column passes: plot the distance of its matrices from balance, pass by pass.
            let all = look.frames.iter().enumerate().map(|(at, frame)| [at as f64, frame.deviation()]);
            let points: Vec<[f64; 2]> = all.filter(|[_, y]| *y > FLOOR).collect();
            curves.push(Curve::line(name.clone(), color, points).marked(Mark::of(run)));
            return;
        };
        let passes = (self.rounds * convergence.n_passes).min(convergence.deviations.len() - 1);
        // A momentum before the passes is the first position on the x axis; the passes start after it.
        let place = |pass: usize| (look.record.steps_before_passes() + pass) as f64;
        let side = |which: usize| -> Vec<[f64; 2]> {
            let all = convergence.deviations[..=passes].iter().enumerate();
            all.map(|(at, of)| [place(at), f64::from(of[which])]).filter(|[_, y]| *y > FLOOR).collect()
        };
        if scene.looks.len() == 1 {
            curves.push(Curve::line("rows", colors(ui).rows, side(0)).marked(Mark::Square));
            curves.push(Curve::line("columns", colors(ui).columns, side(1)).marked(Mark::Triangle));
        } else {
            let worse = |at: usize| {
                let [rows, columns] = convergence.deviations[at];
                [place(at), f64::from(rows.max(columns))]
            };
            let points = (0..=passes).map(worse).filter(|[_, y]| *y > FLOOR).collect();
            curves.push(Curve::line(name.clone(), color, points).marked(Mark::of(run)));
        }
        let Some(rate) = convergence.rate else { return };
        let from = convergence.prediction_from();
        if scene.looks.len() == 1 && from != Some(0) {
            let until = place(from.map_or(passes, |from| from * convergence.n_passes));
            let label = if from.is_some() { "not at the predicted rate yet" } else { "never at the predicted rate" };
            bands.push(Band { x: [place(0), until], label: label.to_owned() });
        }
        if let Some((from, deviation)) = from.and_then(|from| Some((from, convergence.after(from)?))) {
            let shown = passes / convergence.n_passes;
            let at =
                |round: usize| [place(round * convergence.n_passes), deviation * rate.powi(round as i32 - from as i32)];
            // Start two rounds earlier, to compare with the measurement.
            let line = (from.saturating_sub(2)..=shown.max(from + 1)).map(at).filter(|[_, y]| *y > FLOOR).collect();
            let named = format!("predicted: ×{} per round", short(rate));
            let color = if scene.looks.len() == 1 { colors(ui).accent } else { color };
            curves.push(Curve::line(named, color, line).dashed(Dash::Long));
        }
    }
}

/// Where the optimizer stops, and how many rounds it would need.
fn describe(scene: &Scene<'_>, run: usize) -> String {
    let (look, name) = (&scene.looks[run].followed, &scene.names[run]);
    let Some(convergence) = &look.convergence else {
        let Some(last) = look.frames.last() else { return String::new() };
        let left = percent(last.deviation());
        return format!("{name} has no rounds of row and column passes: rows or columns of its step are {left} off.");
    };
    let rounds = look.record.rounds();
    let Some(left) = convergence.after(rounds) else { return String::new() };
    let stops = format!("{name} stops after {}, {} off", rounds_in_words(rounds), percent(left));
    match still_needed(convergence, rounds) {
        Some(0) => match convergence.rounds_to(THRESHOLD) {
            Some(enough) => format!("{stops}; 1 % takes {}.", rounds_in_words(enough)),
            None => format!("{stops}."),
        },
        Some(more) => format!("{stops}; it needs {} for 1 %.", rounds_in_words(more).replace("round", "more round")),
        None => format!("{stops}; 1 % is out of reach."),
    }
}

/// Additional rounds until balance within [`THRESHOLD`]: counted as far as they were computed, predicted beyond that.
fn still_needed(convergence: &Convergence, rounds: usize) -> Option<usize> {
    match convergence.rounds_to(THRESHOLD) {
        Some(enough) => Some(enough.saturating_sub(rounds)),
        None => {
            convergence.more_rounds(convergence.rounds(), THRESHOLD).map(|more| convergence.rounds() + more - rounds)
        }
    }
}

fn rounds_in_words(rounds: usize) -> String {
    if rounds == 1 { "1 round".into() } else { format!("{rounds} rounds") }
}

fn percent(share: f64) -> String {
    match 100.0 * share {
        percent if percent < 1e-3 => "less than 0.001 %".into(),
        // Two digits are enough to read.
        percent => {
            let digits = (1 - percent.log10().floor() as i32).max(0) as usize;
            format!("{percent:.digits$} %")
        }
    }
}
