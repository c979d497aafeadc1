//! The guided way: a small matrix that the learner edits, passes to press, and things to find out by doing.
//!
//! What is said here is what docs/fixed_point.md says, in the same order.

use eframe::egui::{self, Align2, Color32, FontId, RichText, Sense, Ui};
use multinorm::config::Pass;
use multinorm::train::{PassSeen, follow_passes};

use super::formula::formula;
use super::reading;
use crate::lab::Lab;
use crate::plots::{Axes, Series, curves, ink, short};
use crate::settings::Panel;

/// The learner's matrix and how far through it they are.
pub struct LessonPanel {
    gradient: Vec<f32>,
    shape: [usize; 2],
    passes: Vec<Pass>,
    seen: Vec<PassSeen>,
    /// Which tasks were solved, by step.
    solved: [bool; STEPS.len()],
    /// Seed of the Gaussian preset.
    seed: u64,
    preset: &'static str,
    /// The step whose matrix is there.
    at: usize,
}

/// A step of the way.
struct Step {
    title: &'static str,
    words: &'static [&'static str],
    formula: &'static str,
    task: &'static str,
    /// What is said once the task is solved.
    answer: &'static str,
    /// The matrix that the step begins with.
    preset: &'static str,
    is_solved: fn(&LessonPanel) -> bool,
}

const STEPS: [Step; 9] = [
    Step {
        title: "A gradient has a scale, and the scale says little",
        words: &[
            "This is the gradient of a small weight matrix: each row belongs to one output, each column to one input.",
            "Its numbers depend on the loss, the batch and the depth of the layer. The direction matters; the scale is an accident.",
        ],
        formula: "W ← W − η · G",
        task: "Drag an entry until the largest is more than a hundred times another that is not zero. A plain step would then move one weight a hundred times as far.",
        answer: "Plain descent follows the largest entries and hardly moves the rest.",
        preset: "2×3",
        is_solved: |lesson| {
            let sizes: Vec<f32> = lesson.gradient.iter().map(|g| g.abs()).filter(|g| *g > 0.0).collect();
            let [least, most] =
                [sizes.iter().copied().fold(f32::MAX, f32::min), sizes.iter().copied().fold(0.0, f32::max)];
            sizes.len() > 1 && most > 100.0 * least
        },
    },
    Step {
        title: "Rows: every output moves alike",
        words: &[
            "A row pass gives every row the same length, √n for n columns, and keeps its direction.",
            "It is the nearest thing to the gradient among all matrices with such rows.",
        ],
        formula: "x_{i,:} ← √n · x_{i,:} / ‖x_{i,:}‖₂",
        task: "Press row. Read the lengths at the right of the matrix, then those below it.",
        answer: "The rows are exact, and the columns are still of different length.",
        preset: "2×3",
        is_solved: |lesson| lesson.passes.last() == Some(&Pass::Row),
    },
    Step {
        title: "Columns: every input counts alike",
        words: &[
            "A column pass does the same to the columns: length √m for m rows.",
            "It cannot leave the rows alone: making one side exact pulls the other away again.",
        ],
        formula: "x_{:,j} ← √m · x_{:,j} / ‖x_{:,j}‖₂",
        task: "Press row, then column. Which side is exact now?",
        answer: "Always the side of the last pass. The other is off, but by less than before.",
        preset: "2×3",
        is_solved: |lesson| lesson.passes.ends_with(&[Pass::Row, Pass::Column]),
    },
    Step {
        title: "By turns, to a fixed point",
        words: &[
            "Repeat, and both sides come right: a matrix that neither pass changes any more. SinkGD takes five rounds and steps along what it has then.",
            "Near the end the error shrinks by the same factor every round: σ₂² of the balanced squares X⊙X.",
        ],
        formula: "X = diag(r) · G · diag(c)",
        task: "Go on with row and column until both sides are right to 1 %. Count the rounds.",
        answer: "All that was computed are two vectors, r and c. The squares of X are Sinkhorn and Knopp's iteration of 1967.",
        preset: "Gaussian",
        is_solved: |lesson| lesson.deviation() < 0.01 && lesson.passes.len() > 1,
    },
    Step {
        title: "Every pass lands on the same sphere",
        words: &[
            "If every row has length √n, all squares sum to m·n. If every column has length √m, they do as well.",
            "So after any full pass the entries have a root mean square of exactly 1, whatever the gradient's size was, and a learning rate means the same in every layer.",
        ],
        formula: "‖X‖_F = √(m·n)",
        task: "Choose “one huge entry”, press a pass, and watch size (rms).",
        answer: "It was far from 1, and is 1 after the first pass.",
        preset: "Gaussian",
        is_solved: |lesson| {
            let rms = |at: usize| lesson.seen.get(at).map_or(1.0, |seen| seen.entry.quantities.frobenius);
            lesson.preset == "one huge entry" && lesson.passes.len() == 1 && rms(0) > 3.0 && (rms(1) - 1.0).abs() < 1e-6
        },
    },
    Step {
        title: "Rank one: only the signs are left",
        words: &[
            "Passes multiply by positive numbers: no sign ever changes, and a zero stays a zero.",
            "A batch of a single token gives a gradient of rank one: a column times a row. Its scale sits entirely in the rows and columns.",
        ],
        formula: "u·v^⊤ → sign(u)·sign(v)^⊤",
        task: "With this matrix of rank one, press row and column once. What is every entry now?",
        answer: "Plus or minus one, after one round: on such gradients SinkGD is signSGD.",
        preset: "rank one",
        is_solved: |lesson| {
            let last = lesson.seen.last().map_or(&[][..], |seen| &seen.x);
            lesson.passes.len() >= 2 && last.iter().all(|x| (x.abs() - 1.0).abs() < 1e-3)
        },
    },
    Step {
        title: "Where it is slow, and where it never ends",
        words: &[
            "A triangular matrix has a fixed point only along its diagonal: everything above must vanish, and it does so like 1 over the number of rounds.",
            "With too large a block of zeros there is no fixed point: three rows cannot live in two columns.",
        ],
        formula: "3·n > 2·m  where m = n",
        task: "Choose “no support” and press ten passes or more. Do both sides ever come right?",
        answer: "Never: it swings between two matrices for ever. Real gradients have no such blocks, but heavy entries come near.",
        preset: "triangular",
        is_solved: |lesson| lesson.preset == "no support" && lesson.passes.len() >= 10,
    },
    Step {
        title: "What it does not do",
        words: &[
            "Balancing does not bound how far the step can stretch a vector: that is the operator norm, the largest singular value.",
            "The spectral pass does. It replaces every singular value by the same one, by Newton–Schulz steps: Muon's and SWAN's way.",
            "A token that was not seen has a zero row: it stays zero, and the others share the whole sphere.",
        ],
        formula: "U·Σ·V^⊤ → √max(m, n) · U·V^⊤",
        task: "Press spectral, and compare the singular values with those after row and column.",
        answer: "All of them are equal: nothing else can be, when every direction is to move alike.",
        preset: "Gaussian",
        is_solved: |lesson| matches!(lesson.passes.last(), Some(Pass::Spectral(_))),
    },
    Step {
        title: "Now the real thing",
        words: &[
            "In the other views a language model trains on this device, with the optimizer you choose. Spectrum and Fixed point look into its gradients while it learns.",
            "Compare two optimizers from the same start. The one with the lower held-out loss learned more; one seed alone proves little.",
        ],
        formula: "W ← W − η · α · X",
        task: "Open Train, put adam beside sinkgd, and let both make a hundred steps.",
        answer: "You have seen what this project is for.",
        preset: "Gaussian",
        is_solved: |_| false,
    },
];

const PRESETS: [&str; 7] = ["2×3", "Gaussian", "rank one", "triangular", "no support", "one huge entry", "a zero row"];

impl Default for LessonPanel {
    fn default() -> Self {
        let mut lesson = Self {
            gradient: Vec::new(),
            shape: [2, 3],
            passes: Vec::new(),
            seen: Vec::new(),
            solved: [false; STEPS.len()],
            seed: 1,
            preset: PRESETS[0],
            at: 0,
        };
        lesson.take(PRESETS[0]);
        lesson
    }
}

impl LessonPanel {
    /// The view.
    pub fn show(&mut self, ui: &mut Ui, lab: &mut Lab) {
        let at = lab.settings.lesson.min(STEPS.len() - 1);
        let step = &STEPS[at];
        if self.at != at {
            self.at = at;
            self.take(step.preset);
        }
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
            if ui.add_enabled(at + 1 < STEPS.len(), egui::Button::new("Next ▶")).clicked() {
                lab.settings.lesson = at + 1;
            }
        });
        ui.heading(format!("{}. {}", at + 1, step.title));
        for words in step.words {
            ui.label(*words);
        }
        ui.add_space(4.0);
        ui.vertical_centered(|ui| formula(ui, step.formula));
        ui.add_space(4.0);
        self.matrix(ui);
        if at + 1 == STEPS.len() {
            let steps = lab.runs.iter().filter_map(|run| run.last()).map(|last| last.step).min().unwrap_or(0);
            self.solved[at] = lab.runs.len() == 2 && steps >= 100;
            if ui.button("Open Train").clicked() {
                lab.settings.panel = Panel::Train;
            }
        } else {
            self.solved[at] |= (step.is_solved)(self);
        }
        ui.add_space(6.0);
        ui.label(RichText::new(format!("To find out: {}", step.task)).strong());
        if self.solved[at] {
            ui.label(RichText::new(format!("Found: {}", step.answer)).color(ink(ui, 2)));
        }
    }

    /// Distance from balance, the worse side.
    fn deviation(&self) -> f64 {
        let last = self.seen.last().map(|seen| &seen.entry.quantities);
        last.map_or(f64::INFINITY, |of| of.row_deviation_max.max(of.column_deviation_max))
    }

    fn take(&mut self, preset: &'static str) {
        let [m, n] = match preset {
            "2×3" => [2, 3],
            "triangular" => [6, 6],
            "no support" => [4, 4],
            _ => [4, 6],
        };
        (self.preset, self.shape) = (preset, [m, n]);
        self.gradient = values(preset, [m, n], self.seed);
        self.passes.clear();
        self.follow();
    }

    fn follow(&mut self) {
        self.seen = follow_passes(&self.gradient, self.shape, &self.passes);
    }

    fn press(&mut self, pass: Pass) {
        self.passes.push(pass);
        self.follow();
    }

    fn matrix(&mut self, ui: &mut Ui) {
        ui.horizontal_wrapped(|ui| {
            for preset in PRESETS {
                if ui.selectable_label(self.preset == preset, preset).clicked() {
                    self.take(preset);
                }
            }
            if ui.button("other numbers").on_hover_text("another seed of the Gaussian numbers").clicked() {
                self.seed += 1;
                self.take(self.preset);
            }
            let mut shape = self.shape;
            ui.add(egui::DragValue::new(&mut shape[0]).range(2..=16).prefix("m "));
            ui.add(egui::DragValue::new(&mut shape[1]).range(2..=16).prefix("n "));
            if shape != self.shape {
                self.preset = "Gaussian";
                self.shape = shape;
                self.gradient = values("Gaussian", shape, self.seed);
                self.passes.clear();
                self.follow();
            }
        });
        ui.horizontal_wrapped(|ui| {
            let spectral: Pass = "spectral".parse().expect("a pass of the catalog");
            for (word, pass) in
                [("row", Pass::Row), ("column", Pass::Column), ("spectral", spectral), ("sign", Pass::Sign)]
            {
                if ui.button(RichText::new(word).strong()).clicked() {
                    self.press(pass);
                }
            }
            if ui.add_enabled(!self.passes.is_empty(), egui::Button::new("undo")).clicked() {
                self.passes.pop();
                self.follow();
            }
            if ui.button("back to the gradient").clicked() {
                self.passes.clear();
                self.follow();
            }
            let done: Vec<String> = self.passes.iter().map(|pass| pass.to_string()).collect();
            let shown = done.len().saturating_sub(8);
            let dots = if shown > 0 { "… " } else { "" };
            ui.weak(format!("{dots}{}", done[shown..].join(", ")));
        });
        if self.passes.is_empty() {
            self.edit(ui)
        } else {
            self.look(ui)
        }
        let Some(last) = self.seen.last() else { return };
        let of = &last.entry.quantities;
        let plot = self.shape[0].min(self.shape[1]) > 1;
        ui.horizontal_wrapped(|ui| {
            reading(ui, "size (rms)", short(of.frobenius), "root mean square of the entries");
            reading(ui, "rows off by", short(of.row_deviation_max), "the largest |length/√n − 1|");
            reading(ui, "columns off by", short(of.column_deviation_max), "the largest |length/√m − 1|");
            if let Some(spectrum) = &of.spectrum {
                reading(ui, "operator norm", short(spectrum.operator_norm), "the largest singular value");
            }
        });
        if plot {
            let series: Vec<Series> = [(0, "gradient, at rms 1"), (self.seen.len() - 1, "now")]
                .into_iter()
                .enumerate()
                .filter_map(|(index, (at, name))| {
                    let of = &self.seen[at].entry.quantities;
                    let scale = if at == 0 && of.frobenius > 0.0 { of.frobenius.recip() } else { 1.0 };
                    let values = &of.spectrum.as_ref()?.singular_values;
                    let points =
                        values.iter().enumerate().map(|(at, sigma)| [(at + 1) as f64, scale * sigma]).collect();
                    Some(Series::marked(name, index, points))
                })
                .collect();
            let axes =
                Axes { id: "lesson spectrum", x: "singular value", y: "σ", log: false, whole: true, height: 150.0 };
            curves(ui, axes, &series);
        }
    }

    /// The gradient, to be dragged.
    fn edit(&mut self, ui: &mut Ui) {
        let [m, n] = self.shape;
        let mut changed = false;
        egui::ScrollArea::horizontal().show(ui, |ui| {
            egui::Grid::new("edit").spacing([4.0, 4.0]).show(ui, |ui| {
                for row in 0..m {
                    for column in 0..n {
                        let value = &mut self.gradient[row * n + column];
                        changed |=
                            ui.add(egui::DragValue::new(value).speed(0.05).max_decimals(2).range(-1e6..=1e6)).changed();
                    }
                    ui.end_row();
                }
            });
        });
        if changed {
            self.preset = "";
            self.follow();
        }
    }

    /// The matrix after the passes, with the lengths of its rows and columns.
    fn look(&self, ui: &mut Ui) {
        let Some(last) = self.seen.last() else { return };
        let [m, n] = self.shape;
        let cell = egui::vec2(((ui.available_width() - 70.0) / n as f32).clamp(26.0, 64.0), 26.0);
        let size = egui::vec2(cell.x * n as f32 + 70.0, cell.y * (m + 1) as f32);
        let (rect, _) = ui.allocate_exact_size(size, Sense::hover());
        let painter = ui.painter_at(rect);
        let text = ui.visuals().text_color();
        let (above, below) = (ink(ui, 0), ink(ui, 1));
        let at = |row: usize, column: usize| rect.min + egui::vec2(cell.x * column as f32, cell.y * row as f32);
        let write = |place: egui::Pos2, words: String, color: Color32| {
            painter.text(
                place,
                Align2::CENTER_CENTER,
                words,
                FontId::monospace(if cell.x < 40.0 { 9.0 } else { 12.0 }),
                color,
            );
        };
        for row in 0..m {
            for column in 0..n {
                let value = last.x[row * n + column];
                let color = if value > 0.0 { above } else { below };
                let place = egui::Rect::from_min_size(at(row, column), cell - egui::vec2(2.0, 2.0));
                painter.rect_filled(place, 2.0, color.gamma_multiply((value.abs() / 3.0).min(1.0) as f32 * 0.6));
                write(place.center(), format!("{value:.2}"), text);
            }
            write(at(row, n) + egui::vec2(35.0, cell.y / 2.0), format!("{:.3}√n", last.row_norms[row]), text);
        }
        for column in 0..n {
            let place = at(m, column) + egui::vec2(cell.x / 2.0, cell.y / 2.0);
            write(place, format!("{:.2}√m", last.column_norms[column]), text);
        }
    }
}

/// The numbers of a preset.
fn values(preset: &str, [m, n]: [usize; 2], seed: u64) -> Vec<f32> {
    let normal = multinorm::normalize::gaussian(m * n, seed);
    match preset {
        "2×3" => vec![3.0, -1.0, 0.5, 0.1, 0.2, -4.0],
        "rank one" => (0..m * n).map(|at| normal[at / n] * normal[m + at % n]).collect(),
        "triangular" => (0..m * n).map(|at| if at / n <= at % n { 1.0 } else { 0.0 }).collect(),
        "no support" => (0..m * n).map(|at| if at / n < 3 && at % n < 2 { 0.0 } else { 1.0 }).collect(),
        "one huge entry" => (0..m * n).map(|at| if at == n + 1 { 100.0 } else { normal[at] }).collect(),
        "a zero row" => (0..m * n).map(|at| if at / n == 1 { 0.0 } else { normal[at] }).collect(),
        _ => normal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Does what a step's task asks, pass by pass.
    fn do_passes(step: usize, preset: &'static str, passes: &[&str]) -> bool {
        let mut lesson = LessonPanel::default();
        lesson.take(preset);
        assert!(!(STEPS[step].is_solved)(&lesson), "{}: solved by doing nothing", STEPS[step].title);
        passes.iter().for_each(|pass| lesson.press(pass.parse().unwrap()));
        (STEPS[step].is_solved)(&lesson)
    }

    #[test]
    fn every_task_is_solved_by_doing_what_it_asks_and_not_before() {
        let round = ["row", "column"];
        assert!(do_passes(1, "2×3", &["row"]));
        assert!(do_passes(2, "2×3", &round));
        assert!(do_passes(3, "Gaussian", &round.repeat(12)));
        assert!(!do_passes(3, "Gaussian", &["row"]));
        assert!(do_passes(4, "one huge entry", &["column"]));
        assert!(do_passes(5, "rank one", &round));
        assert!(do_passes(6, "no support", &round.repeat(5)));
        assert!(do_passes(7, "Gaussian", &["spectral"]));
        let mut lesson = LessonPanel::default();
        assert!(!(STEPS[0].is_solved)(&lesson), "solved by doing nothing");
        lesson.gradient[5] = -100.0;
        assert!((STEPS[0].is_solved)(&lesson));
    }

    #[test]
    fn every_preset_is_a_matrix_and_every_step_begins_with_one() {
        for preset in PRESETS {
            let mut lesson = LessonPanel::default();
            lesson.take(preset);
            let [m, n] = lesson.shape;
            assert_eq!((lesson.gradient.len(), lesson.seen.len()), (m * n, 1), "{preset}");
        }
        assert!(STEPS.iter().all(|step| PRESETS.contains(&step.preset)));
    }
}
