//! The guided lesson: a small matrix to paint, passes to apply, and things to find out by doing.
//!
//! It covers docs/fixed_point.md, in the same order.

mod board;
mod guess;
mod steps;

use std::collections::BTreeMap;

use eframe::egui::{self, RichText, Ui};
use multinorm::config::Pass;
use multinorm::spectrum::Balance;

use self::board::Board;
use self::guess::Guess;
use self::steps::{STEPS, Step, Tool};
use super::formula::formula;
use super::{FLOOR, reading, rest_of_window};
use crate::chart::{Axis, Chart, Curve, Dash, Mark, Rule, Scale, short};
use crate::lab::Lab;
use crate::settings::Panel;
use crate::theme::{TITLE, colors, is_narrow, optimizer, primary_button, series};

/// Rounds that count as many for a matrix that never settles.
const MANY: usize = 10;

/// The learner's matrix and how far through the lesson they are.
pub struct LessonPanel {
    board: Board,
    /// Which tasks were solved, by step.
    solved: [bool; STEPS.len()],
    guess: Guess,
    /// The rate the learner currently guesses.
    rate_guess: f64,
    /// Guessed and actual rates, by matrix.
    rates: BTreeMap<&'static str, [f64; 2]>,
    /// Matrices that were run for many rounds.
    long_runs: Vec<&'static str>,
    /// Optimizers that were run.
    tried: Vec<&'static str>,
    /// Their operator norms, in the order they were run.
    norms: Vec<(&'static str, f64)>,
    /// The gradient they were run on; empty before the first run.
    ran_on: Vec<f64>,
    /// Whether Watch was opened from here.
    watched: bool,
    /// The step whose matrix is on the board.
    at: usize,
}

impl Default for LessonPanel {
    fn default() -> Self {
        Self {
            board: Board::default(),
            solved: [false; STEPS.len()],
            guess: Guess::default(),
            rate_guess: 0.5,
            rates: BTreeMap::new(),
            long_runs: Vec::new(),
            tried: Vec::new(),
            norms: Vec::new(),
            ran_on: Vec::new(),
            watched: false,
            at: 0,
        }
    }
}

/// Task and answer of every step.
#[cfg(test)]
pub fn tasks_and_answers() -> Vec<[&'static str; 2]> {
    STEPS.iter().map(|step| [step.task, step.answer]).collect()
}

impl LessonPanel {
    /// The view.
    pub fn show(&mut self, ui: &mut Ui, lab: &mut Lab) {
        let at = lab.settings.lesson.min(STEPS.len() - 1);
        let step = &STEPS[at];
        if self.at != at {
            self.at = at;
            step.set_up(&mut self.board);
            if step.has(Tool::Guess) {
                self.board.restart();
                self.guess = Guess::default();
            }
        }
        self.way(ui, lab, at);
        if is_narrow(ui) {
            self.text(ui, lab, step, at);
            ui.separator();
            self.bench(ui, step);
        } else {
            let width = ui.available_width();
            ui.horizontal_top(|ui| {
                ui.vertical(|ui| {
                    ui.set_width(0.36 * width);
                    self.text(ui, lab, step, at);
                });
                ui.add_space(18.0);
                ui.vertical(|ui| self.bench(ui, step));
            });
        }
        self.solved[at] |= (step.is_solved)(self);
    }

    /// Back, next, and all steps.
    fn way(&self, ui: &mut Ui, lab: &mut Lab, at: usize) {
        ui.horizontal_wrapped(|ui| {
            if ui.add_enabled(at > 0, egui::Button::new("◀ Back")).clicked() {
                lab.settings.lesson = at - 1;
            }
            for (index, solved) in self.solved.iter().enumerate() {
                let word = if *solved { format!("{} ●", index + 1) } else { (index + 1).to_string() };
                if ui.selectable_label(index == at, word).on_hover_text(STEPS[index].title).clicked() {
                    lab.settings.lesson = index;
                }
            }
            if at + 1 < STEPS.len() {
                let next = if self.solved[at] { primary_button(ui, "Next ▶") } else { ui.button("Next ▶") };
                if next.clicked() {
                    lab.settings.lesson = at + 1;
                }
            }
        });
    }

    /// Explanation, task and answer.
    fn text(&mut self, ui: &mut Ui, lab: &mut Lab, step: &Step, at: usize) {
        ui.label(RichText::new(format!("{}. {}", at + 1, step.title)).size(TITLE).strong());
        for words in step.words {
            ui.label(*words);
        }
        ui.add_space(2.0);
        formula(ui, step.formula);
        ui.add_space(2.0);
        egui::Frame::group(ui.style()).fill(colors(ui).panel).show(ui, |ui| {
            ui.set_width(ui.available_width());
            ui.label(RichText::new(step.task).strong());
            if self.solved[at] {
                ui.label(RichText::new(step.answer).color(colors(ui).good));
            }
            if step.has(Tool::Guess)
                && let Some(score) = self.guess.score(&self.board.deviations()).filter(|_| self.guess.is_made())
            {
                ui.label(score);
            }
            for (preset, [guessed, actual]) in self.rates.iter().filter(|_| step.has(Tool::RateGuess)) {
                ui.label(format!("{preset}: you said {}, it is {}.", short(*guessed), short(*actual)));
            }
            for (name, norm) in self.norms.iter().filter(|_| step.has(Tool::Optimizers)) {
                ui.label(RichText::new(format!("{name}: operator norm {}", short(*norm))).color(optimizer(ui, name)));
            }
            if at + 1 == STEPS.len() && primary_button(ui, "Open Watch").clicked() {
                self.watched = true;
                lab.settings.panel = Panel::Watch;
            }
        });
    }

    /// The matrix, the operations on it, and their results.
    fn bench(&mut self, ui: &mut Ui, step: &Step) {
        if step.presets.len() > 1 {
            ui.horizontal_wrapped(|ui| {
                ui.label("matrix");
                for preset in step.presets {
                    if ui.selectable_label(self.board.preset == *preset, *preset).clicked() {
                        self.board.take(preset);
                    }
                }
            });
        }
        self.buttons(ui, step);
        self.board.brushes(ui);
        self.board.show(ui);
        self.readings(ui);
        let charts = [
            step.has(Tool::Convergence).then_some(Self::convergence as fn(&mut Self, &mut Ui, &Step, f32)),
            step.has(Tool::Spectrum).then_some(Self::spectrum),
        ];
        let charts: Vec<_> = charts.into_iter().flatten().collect();
        let beside = !is_narrow(ui) && charts.len() > 1;
        let height = rest_of_window(ui).clamp(150.0, 640.0) - if charts.len() > 1 && !beside { 90.0 } else { 0.0 };
        if beside {
            ui.columns(charts.len(), |columns| {
                columns.iter_mut().zip(charts).for_each(|(ui, chart)| chart(self, ui, step, height));
            });
        } else {
            charts.into_iter().for_each(|chart| chart(self, ui, step, height));
        }
    }

    fn buttons(&mut self, ui: &mut Ui, step: &Step) {
        let is_predicted = !step.has(Tool::Guess) || self.guess.is_made();
        ui.horizontal_wrapped(|ui| {
            let mut passes = vec![("row", Pass::Row), ("column", Pass::Column)];
            if step.has(Tool::MorePasses) {
                let spectral: Pass = "spectral".parse().expect("a pass of the catalog");
                passes.extend([("spectral", spectral), ("sign", Pass::Sign)]);
            }
            for (word, pass) in passes {
                let button = ui.add_enabled(is_predicted, egui::Button::new(RichText::new(word).strong()));
                if button.on_disabled_hover_text("predict first").clicked() {
                    self.board.press(pass);
                }
            }
            if step.has(Tool::Convergence) && self.at > 2 {
                let button = egui::Button::new(RichText::new("5 rounds").strong());
                let pressed = ui.add_enabled(is_predicted, button).on_disabled_hover_text("predict first");
                if pressed.clicked() {
                    self.board.rounds_of(5);
                }
            }
            if step.has(Tool::Optimizers) {
                for name in ["sinkgd", "swan", "muon"] {
                    let words = RichText::new(name).strong().color(optimizer(ui, name));
                    if ui.button(words).clicked() {
                        self.run(name);
                    }
                }
            }
            if ui.add_enabled(self.board.states.len() > 1, egui::Button::new("undo")).clicked() {
                self.board.undo();
            }
            if ui.add_enabled(self.board.states.len() > 1, egui::Button::new("start again")).clicked() {
                self.board.restart();
            }
        });
        if self.board.rounds() >= MANY && !self.long_runs.contains(&self.board.preset) {
            self.long_runs.push(self.board.preset);
        }
        if step.has(Tool::RateGuess) {
            ui.horizontal_wrapped(|ui| {
                ui.label("my guess");
                ui.add(egui::Slider::new(&mut self.rate_guess, 0.0..=1.0));
                let is_known = !self.board.preset.is_empty();
                let button = ui.add_enabled(is_known, egui::Button::new("Check"));
                if button.on_disabled_hover_text("choose one of the three matrices").clicked() {
                    self.check_rate();
                }
            });
        }
    }

    fn run(&mut self, name: &'static str) {
        // Norms are only comparable on the same matrix.
        if self.ran_on != self.board.gradient() {
            self.norms.clear();
            self.tried.clear();
            self.ran_on = self.board.gradient().to_vec();
        }
        if !self.board.optimize(name) {
            return;
        }
        let norm = self.board.shown().entry.quantities.spectrum.as_ref().map(|spectrum| spectrum.operator_norm);
        self.norms.retain(|(other, _)| *other != name);
        self.norms.extend(norm.map(|norm| (name, norm)));
        if !self.tried.contains(&name) {
            self.tried.push(name);
        }
    }

    /// Reveals the rate of the matrix on the board beside the guess.
    fn check_rate(&mut self) {
        let x: Vec<f32> = self.board.x().iter().map(|x| *x as f32).collect();
        if let Some(balance) = Balance::of(&x, self.board.shape).filter(|_| !self.board.preset.is_empty()) {
            self.rates.insert(self.board.preset, [self.rate_guess, balance.rate]);
        }
    }

    fn readings(&self, ui: &mut Ui) {
        let of = &self.board.shown().entry.quantities;
        ui.horizontal_wrapped(|ui| {
            reading(ui, "passes", self.board.passes().len().to_string(), "since the gradient or the last edit");
            reading(ui, "rounds", self.board.rounds().to_string(), "a row pass and a column pass");
            reading(ui, "size (rms)", short(of.frobenius), "root mean square of the entries");
            let percent =
                |share: f64| if share < 1e-6 { "exact".to_owned() } else { format!("{} %", short(100.0 * share)) };
            reading(ui, "rows off by", percent(of.row_deviation_rms), "root mean square of |length/√n − 1|");
            reading(ui, "columns off by", percent(of.column_deviation_rms), "root mean square of |length/√m − 1|");
        });
    }

    fn convergence(&mut self, ui: &mut Ui, step: &Step, height: f32) {
        let deviations = self.board.deviations();
        let side = |which: usize| -> Vec<[f64; 2]> {
            let all = deviations.iter().enumerate().map(|(at, of)| [at as f64, of[which]]);
            all.filter(|[_, y]| *y > FLOOR).collect()
        };
        let guesses = step.has(Tool::Guess);
        let mut curves = vec![
            Curve::line("rows", colors(ui).rows, side(0)).marked(Mark::Square),
            Curve::line("columns", colors(ui).columns, side(1)).marked(Mark::Triangle),
        ];
        if guesses {
            let expected = Curve::line("your prediction", colors(ui).accent, self.guess.points());
            curves.push(expected.dashed(Dash::Long).marked(Mark::Diamond));
        }
        let last = (deviations.len() - 1).max(10) as f64;
        let x = Axis { range: Some([0.0, last]), ..Axis::new("passes", Scale::Whole) };
        let range = guesses.then_some([1e-6, 2.0]);
        let y = Axis { range, ..Axis::new("|length/target − 1|, rms", Scale::Log) };
        let rules = vec![Rule { y: 0.01, label: "1 %".into() }];
        let chart = Chart { rules, ..Chart::new("lesson convergence", "Distance from balance", x, y, height) };
        let shown = chart.show(ui, &curves);
        // Once passes have run, there is nothing left to predict.
        if let Some([passes, distance]) = shown.pressed.filter(|_| guesses && self.board.passes().is_empty()) {
            self.guess.put(passes, distance);
        }
    }

    fn spectrum(&mut self, ui: &mut Ui, _step: &Step, height: f32) {
        let since_edit = self.board.since_edit();
        let (first, n_shown) = (&since_edit[0].seen, since_edit.len().min(2));
        let curves: Vec<Curve> = [("gradient, scaled to rms 1", first), ("now", self.board.shown())]
            .into_iter()
            .take(n_shown)
            .enumerate()
            .filter_map(|(index, (name, seen))| {
                let of = &seen.entry.quantities;
                let scale = if index == 0 && of.frobenius > 0.0 { of.frobenius.recip() } else { 1.0 };
                let values = &of.spectrum.as_ref()?.singular_values;
                let points = values.iter().enumerate().map(|(at, sigma)| [(at + 1) as f64, scale * sigma]).collect();
                Some(Curve::line(name, series(ui, index), points).marked(Mark::of(index)))
            })
            .collect();
        let (x, y) = (Axis::new("singular value", Scale::Whole), Axis::new("σ", Scale::Linear));
        Chart::new("lesson spectrum", "Singular values", x, y, height).show(ui, &curves);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_answers_say_is_so() {
        let mut lesson = LessonPanel::default();
        for preset in ["even entries", "heavy entries", "two blocks"] {
            lesson.board.take(preset);
            lesson.check_rate();
        }
        let rate = |preset: &str| lesson.rates[preset][1];
        assert!(
            rate("two blocks") > rate("heavy entries") && rate("heavy entries") > rate("even entries"),
            "{:?}",
            lesson.rates
        );
        ["sinkgd", "swan", "muon"].iter().for_each(|name| lesson.run(name));
        let norm = |name: &str| lesson.norms.iter().find(|(other, _)| *other == name).unwrap().1;
        assert!(norm("sinkgd") > 1.2 * norm("swan") && norm("sinkgd") > 1.2 * norm("muon"), "{:?}", lesson.norms);
        let after = |preset: &'static str, rounds: usize| {
            let mut board = Board::default();
            board.take(preset);
            board.rounds_of(rounds);
            let of = board.deviations().pop().unwrap();
            of[0].max(of[1])
        };
        assert!((after("no support", 40) / after("no support", 20) - 1.0).abs() < 0.01, "for ever");
        let slower = after("triangular", 20) / after("triangular", 40);
        assert!((1.7..2.3).contains(&slower), "like 1 over the number of rounds: {slower}");
    }
}
