//! The spectrum as a slope chart: one line per singular value over the passes.

use eframe::egui::{RichText, Ui};

use super::{Action, Scene};
use crate::chart::{Axis, Chart, Curve, Mark, Scale, short};
use crate::panels::nothing_yet;
use crate::theme::{self, CAPTION, colors, ramp};

/// The maximum number of lines.
const LINES: usize = 48;

/// The singular values after each pass, for a matrix scaled to a root mean square of 1.
type Spectra = Vec<Vec<f64>>;

/// How to draw the spectra.
#[derive(Default)]
pub struct Slopes {
    linear: bool,
}

impl Slopes {
    /// One chart per optimizer, all on the same scale.
    pub fn show(&mut self, ui: &mut Ui, scene: &Scene<'_>, height: Option<f32>, acts: &mut Vec<Action>) {
        ui.horizontal(|ui| {
            theme::section(ui, "Singular values");
            ui.selectable_value(&mut self.linear, false, RichText::new("log").small());
            ui.selectable_value(&mut self.linear, true, RichText::new("linear").small());
        });
        self.describe(ui, scene);
        if scene.passes(0)[0].quantities.spectrum.is_none() {
            nothing_yet(ui, "Computing the singular values of a matrix this large takes about a minute.");
            return;
        }
        let n = scene.looks.len() as f32;
        let height = height.unwrap_or_else(|| ui.available_height() - 4.0);
        let names = if n > 1.0 { CAPTION + 6.0 } else { 0.0 };
        let each = (height - (n - 1.0) * 6.0) / n - names;
        let spectra: Vec<Spectra> = (0..scene.looks.len())
            .map(|run| (0..scene.passes(run).len()).map(|pass| spectrum(scene, run, pass)).collect())
            .collect();
        let range = self.range(&spectra);
        for (run, spectra) in spectra.iter().enumerate() {
            if n > 1.0 {
                let name = &scene.names[run];
                ui.label(RichText::new(name).small().strong().color(theme::optimizer(ui, name)));
            }
            self.one(ui, scene, (run, spectra), each, range, acts);
        }
    }

    /// The highlighted singular value, or how to read the chart.
    fn describe(&self, ui: &mut Ui, scene: &Scene<'_>) {
        let pass = scene.moment.pass.min(scene.passes(0).len() - 1);
        let known = scene.lab.settings.sigma.and_then(|sigma| Some((sigma, *spectrum(scene, 0, pass).get(sigma)?)));
        let words = match known {
            Some((sigma, value)) => {
                format!("σ{} = {}; the strips along the matrix are its singular vectors.", sigma + 1, short(value))
            }
            None => "Where lines meet, the step weights those directions equally. Click a line to see its direction."
                .to_owned(),
        };
        ui.label(RichText::new(words).small().color(colors(ui).secondary));
    }

    fn one(
        &self,
        ui: &mut Ui,
        scene: &Scene<'_>,
        (run, spectra): (usize, &Spectra),
        height: f32,
        range: [f64; 2],
        acts: &mut Vec<Action>,
    ) {
        let passes = scene.passes(run);
        let count = spectra.first().map_or(0, Vec::len);
        let shown = chosen(count, scene.lab.settings.sigma);
        let touched_color = colors(ui).text;
        let mut curves: Vec<Curve> = shown
            .iter()
            .map(|&sigma| {
                let points: Vec<[f64; 2]> = spectra
                    .iter()
                    .enumerate()
                    .filter_map(|(pass, values)| Some([pass as f64, *values.get(sigma)?]))
                    .collect();
                let share = 1.0 - sigma as f64 / (count.max(2) - 1) as f64;
                let pointed = scene.lab.settings.sigma == Some(sigma);
                let color = if pointed { touched_color } else { ramp(ui, share) };
                Curve {
                    width: if pointed { 3.0 } else { 1.4 },
                    ..Curve::line(format!("σ{}", sigma + 1), color, points)
                }
            })
            .collect();
        // The gradient's values at the cursor, for comparison.
        let at = scene.moment.position().min((passes.len() - 1) as f64);
        let ghost = shown.iter().filter_map(|&sigma| Some([at, *spectra.first()?.get(sigma)?])).collect();
        let edge = colors(ui).edge;
        curves.push(Curve::line("the gradient", edge, ghost).loose().marked(Mark::Circle));
        let id = format!("spectrum {run}");
        let x = Axis { range: Some([0.0, (passes.len() - 1).max(1) as f64]), ..Axis::new("passes done", Scale::Whole) };
        let y = Axis { range: Some(range), ..Axis::new("σ, matrix at rms 1", Scale::log_if(!self.linear)) };
        let chart = Chart { cursor: Some(at), legend: false, ..Chart::new(&id, "", x, y, height) };
        let seen = chart.show(ui, &curves);
        if let Some(x) = seen.chosen {
            acts.push(Action::Pass(Some(x.round().clamp(0.0, (passes.len() - 1) as f64) as usize)));
        }
        if let Some((curve, _)) = seen.touched.filter(|_| seen.clicked) {
            let sigma = shown.get(curve).copied();
            acts.push(Action::Sigma(if sigma == scene.lab.settings.sigma { None } else { sigma }));
        }
    }

    /// The range over all optimizers and passes: one scale for both charts.
    fn range(&self, spectra: &[Spectra]) -> [f64; 2] {
        let values = spectra.iter().flatten().flatten().copied();
        let [least, most] =
            values.filter(|sigma| *sigma > 0.0).fold([f64::MAX, 0.0_f64], |[a, b], x| [a.min(x), b.max(x)]);
        if most == 0.0 {
            return [0.1, 1.0];
        }
        if self.linear { [0.0, 1.04 * most] } else { [(0.8 * least).max(1e-6 * most), 1.2 * most] }
    }
}

/// The singular values after this many passes, for a matrix scaled to a root mean square of 1.
fn spectrum(scene: &Scene<'_>, run: usize, pass: usize) -> Vec<f64> {
    let of = &scene.passes(run)[pass].quantities;
    let scale = if of.frobenius > 0.0 { of.frobenius.recip() } else { 1.0 };
    of.spectrum
        .as_ref()
        .map_or(Vec::new(), |spectrum| spectrum.singular_values.iter().map(|sigma| scale * sigma).collect())
}

/// Which singular values get a line: all, or as many as can be told apart, including the first, the last and `pointed`.
fn chosen(count: usize, pointed: Option<usize>) -> Vec<usize> {
    let mut shown: Vec<usize> = if count <= LINES {
        (0..count).collect()
    } else {
        (0..LINES).map(|at| at * (count - 1) / (LINES - 1)).collect()
    };
    shown.extend(pointed.filter(|sigma| *sigma < count));
    shown.sort_unstable();
    shown.dedup();
    shown
}
