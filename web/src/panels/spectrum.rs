//! Singular values before and after every pass.

use eframe::egui::{self, Color32, ColorImage, RichText, TextureHandle, TextureOptions, Ui};
use multinorm::normalize::Entry;
use multinorm::train::Followed;

use super::{caption, choice, columns, half_height, nothing_yet, reading};
use crate::lab::{Lab, RunView};
use crate::plots::{Axes, Series, columns_of_marks, curves, ink, short};

/// How spectra are drawn.
pub struct SpectrumPanel {
    log: bool,
    history: Option<(u64, TextureHandle)>,
}

impl Default for SpectrumPanel {
    fn default() -> Self {
        Self { log: true, history: None }
    }
}

impl SpectrumPanel {
    /// The view.
    pub fn show(&mut self, ui: &mut Ui, lab: &mut Lab) {
        self.controls(ui, lab);
        let seen = lab.seen();
        if seen.is_empty() {
            nothing_yet(ui, "the first look comes with the first step");
            return;
        }
        let n_runs = seen.len();
        let n_passes = seen.iter().map(|followed| followed.record.passes.len()).max().unwrap_or(1);
        walk(ui, &mut lab.settings.half_step, n_passes - 1);
        let half_step = lab.settings.half_step;
        columns(ui, n_runs, |ui, index| {
            let name = lab.views().get(index).map_or(String::new(), |run| run.optimizer.clone());
            self.one(ui, &name, index, &seen[index], half_step);
        });
        columns(ui, 2, |ui, index| match index {
            0 => strip(ui, &seen[0], self.log),
            _ => self.history(ui, lab.views().first().copied()),
        });
    }

    fn controls(&mut self, ui: &mut Ui, lab: &mut Lab) {
        ui.horizontal_wrapped(|ui| {
            if let Some(opened) = &lab.opened {
                let names: Vec<String> = opened.matrices.iter().map(|matrix| matrix.name().to_owned()).collect();
                let mut name = names[opened.chosen].clone();
                ui.strong(opened.file.clone());
                if choice(ui, "matrix", &mut name, &names) {
                    lab.open_matrix(names.iter().position(|other| *other == name).unwrap_or(0));
                }
                if ui.button("Back to the runs").clicked() {
                    lab.close_file();
                }
                ui.checkbox(&mut self.log, "logarithmic");
                return;
            }
            let matrices = lab.matrices();
            let mut parameter = lab.settings.parameter.clone();
            if choice(ui, "parameter", &mut parameter, &matrices) {
                lab.look_into(&parameter);
            }
            let mut every = lab.settings.every;
            let drag = egui::DragValue::new(&mut every).range(1..=1000).prefix("every ").suffix(" steps");
            if ui.add(drag).on_hover_text("steps between two looks").changed() {
                lab.settings.every = every;
                lab.watch();
            }
            ui.checkbox(&mut self.log, "logarithmic");
            freeze(ui, lab);
        });
    }

    fn one(&self, ui: &mut Ui, name: &str, run: usize, followed: &Followed, half_step: usize) {
        let record = &followed.record;
        let [m, n] = record.shape;
        let at = half_step.min(record.passes.len() - 1);
        ui.label(RichText::new(format!("{name}: {} ({m}×{n}), step {}", record.parameter, record.step)).strong());
        let mut series = vec![Series { faint: at > 0, ..spectrum(&record.passes[0], "gradient, at rms 1", 2, true) }];
        if at > 1 {
            series.push(Series {
                faint: true,
                ..spectrum(&record.passes[at - 1], &words(&record.passes[at - 1]), 3, false)
            });
        }
        if at > 0 {
            series.push(spectrum(&record.passes[at], &words(&record.passes[at]), run, false));
        }
        let id = format!("spectrum {run}");
        let axes = Axes {
            id: &id,
            x: "singular value, the largest first",
            y: "σ",
            log: self.log,
            whole: true,
            height: half_height(ui),
        };
        curves(ui, axes, &series);
        ui.horizontal_wrapped(|ui| {
            let entry = &record.passes[at];
            let Some(spectrum) = &entry.quantities.spectrum else { return };
            let smallest = spectrum.singular_values.last().copied().unwrap_or(0.0);
            reading(
                ui,
                "operator norm",
                short(spectrum.operator_norm),
                "the largest singular value: how far the step can stretch a vector",
            );
            reading(
                ui,
                "effective rank",
                short(spectrum.effective_rank),
                "how many directions the step moves in, as if all were equal",
            );
            let condition = if smallest > 0.0 { short(spectrum.operator_norm / smallest) } else { "∞".into() };
            reading(ui, "condition", condition, "the largest singular value over the smallest");
            reading(
                ui,
                "size (rms)",
                short(entry.quantities.frobenius),
                "root mean square of the entries: 1 after every full pass",
            );
        });
        caption(
            ui,
            "A steep line says that few directions hold most of the matrix; a flat one moves every direction alike.",
        );
    }

    /// Every look of the run as a column, the largest singular value at the top; brighter is larger.
    fn history(&mut self, ui: &mut Ui, run: Option<&RunView>) {
        ui.strong("The gradient's spectrum over training");
        let Some(run) = run.filter(|run| run.looks.len() > 1) else {
            nothing_yet(ui, "two looks make a picture");
            return;
        };
        let newest = run.looks.back().map_or(0, |followed| followed.record.step);
        if self.history.as_ref().is_none_or(|(step, _)| *step != newest) {
            let image = picture(run, ink(ui, 0));
            let texture = ui.ctx().load_texture("history", image, TextureOptions::NEAREST);
            self.history = Some((newest, texture));
        }
        if let Some((_, texture)) = &self.history {
            let size = egui::vec2(ui.available_width().min(520.0), 180.0);
            ui.add(egui::Image::new((texture.id(), size)));
        }
        let oldest = run.looks.front().map_or(0, |followed| followed.record.step);
        caption(
            ui,
            &format!(
                "From step {oldest} on the left to step {newest} on the right; the largest singular value at the top. Full \
                 colour is the largest of all, and each halving of the colour is a factor of ten."
            ),
        );
    }
}

/// Keeps the look of one step while training goes on, and chooses which.
pub fn freeze(ui: &mut Ui, lab: &mut Lab) {
    let steps: Vec<u64> =
        lab.runs.first().map(|run| run.looks.iter().map(|look| look.record.step).collect()).unwrap_or_default();
    let Some(newest) = steps.last().copied() else { return };
    let mut frozen = lab.frozen.is_some();
    if ui.checkbox(&mut frozen, "frozen").on_hover_text("keeps a step while training goes on").changed() {
        lab.frozen = frozen.then_some(newest);
    }
    if let Some(step) = &mut lab.frozen {
        let mut at = steps.iter().rposition(|other| *other <= *step).unwrap_or(0);
        let shown = steps.clone();
        let slider = egui::Slider::new(&mut at, 0..=steps.len() - 1)
            .custom_formatter(move |at, _| shown[(at as usize).min(shown.len() - 1)].to_string());
        if ui.add(slider.text("step")).on_hover_text("which of the looks so far").changed() {
            *step = steps[at];
        }
    }
}

fn words(entry: &Entry) -> String {
    format!("after {}, iteration {}", entry.pass, entry.iteration)
}

/// One spectrum as a line; of a gradient at a root mean square of 1, so that it stands on the passes' scale.
fn spectrum(entry: &Entry, name: &str, index: usize, at_rms_1: bool) -> Series {
    let rms = entry.quantities.frobenius;
    let scale = if at_rms_1 && rms > 0.0 { rms.recip() } else { 1.0 };
    let values = entry.quantities.spectrum.as_ref().map_or(&[][..], |spectrum| &spectrum.singular_values);
    let points = values.iter().enumerate().map(|(at, sigma)| [(at + 1) as f64, scale * sigma]).collect();
    Series { marked: values.len() <= 16, ..Series::line(name, index, points) }
}

/// The slider over the half-steps; arrow keys do the same.
pub fn walk(ui: &mut Ui, half_step: &mut usize, last: usize) {
    // Another optimizer may have fewer passes: what was chosen stays chosen for those that have them.
    let mut shown = (*half_step).min(last);
    let before = shown;
    ui.horizontal_wrapped(|ui| {
        if ui.button("◀").on_hover_text("one pass back (←)").clicked() {
            shown = shown.saturating_sub(1);
        }
        ui.add(egui::Slider::new(&mut shown, 0..=last).text("passes done"));
        if ui.button("▶").on_hover_text("one pass on (→)").clicked() {
            shown = (shown + 1).min(last);
        }
    });
    if shown != before {
        *half_step = shown;
    }
}

/// One column a pass: every singular value as a mark.
fn strip(ui: &mut Ui, followed: &Followed, log: bool) {
    ui.strong("Every pass at once");
    let column = |(at, entry): (usize, &Entry)| {
        let of = spectrum(entry, &if at == 0 { "gradient".to_owned() } else { words(entry) }, at, at == 0);
        let points = of.points.into_iter().map(|[_, sigma]| [at as f64, sigma]).collect();
        Series { marked: true, ..Series::line(of.name, at, points) }
    };
    let series: Vec<Series> = followed.record.passes.iter().enumerate().map(column).collect();
    let axes = Axes { id: "strip", x: "passes done", y: "σ", log, whole: true, height: 180.0 };
    columns_of_marks(ui, axes, &series);
    caption(
        ui,
        "Each column is the matrix after one more pass; each mark is a singular value. Where the marks draw together, the matrix is being whitened.",
    );
}

fn picture(run: &RunView, color: Color32) -> ColorImage {
    let spectra: Vec<&[f64]> = run
        .looks
        .iter()
        .filter_map(|followed| Some(&followed.record.passes.first()?.quantities.spectrum.as_ref()?.singular_values[..]))
        .collect();
    let height = spectra.iter().map(|values| values.len()).min().unwrap_or(1).clamp(1, 64);
    let largest = spectra.iter().flat_map(|values| values.first()).fold(f64::MIN_POSITIVE, |a, b| a.max(*b));
    let mut image = ColorImage::filled([spectra.len().max(1), height], Color32::TRANSPARENT);
    for (x, values) in spectra.iter().enumerate() {
        for y in 0..height {
            let sigma = values[y * values.len() / height];
            let share = 0.5f64.powf((largest / sigma.max(1e-12 * largest)).log10());
            image[(x, y)] = color.gamma_multiply(share as f32);
        }
    }
    image
}
