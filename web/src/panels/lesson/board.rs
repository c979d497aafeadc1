//! The learner's matrix, to paint and to run passes on.

use eframe::egui::{self, Align2, FontId, Rect, Role, Sense, Stroke, Ui, WidgetInfo, pos2, vec2};
use multinorm::config::{OptimizerConfig, Pass, Rule};
use multinorm::train::{PassSeen, follow_passes};

use crate::panels::SETTLED;
use crate::theme::{colors, is_narrow};

/// A matrix with its history.
pub struct Board {
    pub shape: [usize; 2],
    /// The gradient, then the result of every pass and every edit.
    pub states: Vec<State>,
    /// Which matrix it started as; empty once edited.
    pub preset: &'static str,
    seed: u64,
    brush: Brush,
}

/// The matrix at one point of its history.
pub struct State {
    /// The matrix and what was computed about it.
    pub seen: PassSeen,
    /// The pass that produced it; `None` for a gradient or an edit.
    pub pass: Option<Pass>,
}

/// How painting changes an entry.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Brush {
    To(f64),
    Times(f64),
}

const BRUSHES: [(&str, Brush); 6] = [
    ("−3", Brush::To(-3.0)),
    ("0", Brush::To(0.0)),
    ("1", Brush::To(1.0)),
    ("3", Brush::To(3.0)),
    ("×10", Brush::Times(10.0)),
    ("÷10", Brush::Times(0.1)),
];

/// The largest entry that painting can produce.
const LARGEST: f64 = 1e6;

impl Default for Board {
    fn default() -> Self {
        let mut board = Self { shape: [4, 6], states: Vec::new(), preset: "", seed: 1, brush: Brush::Times(10.0) };
        board.take("gradient");
        board
    }
}

impl Board {
    /// Starts over with a preset matrix.
    pub fn take(&mut self, preset: &'static str) {
        self.shape = match preset {
            "triangular" => [6, 6],
            "no support" => [4, 4],
            "even entries" | "heavy entries" | "two blocks" => [8, 8],
            _ => [4, 6],
        };
        self.preset = preset;
        let gradient = values(preset, self.shape, self.seed);
        self.begin(&gradient);
    }

    fn begin(&mut self, gradient: &[f32]) {
        let seen = follow_passes(gradient, self.shape, &[]).remove(0);
        self.states = vec![State { seen, pass: None }];
    }

    /// New numbers of the same kind.
    pub fn reseed(&mut self) {
        self.seed += 1;
        let preset = if self.preset.is_empty() { "gradient" } else { self.preset };
        self.take(preset);
    }

    fn last(&self) -> &State {
        self.states.last().expect("the gradient at least")
    }

    /// The current matrix and what was computed about it.
    pub fn shown(&self) -> &PassSeen {
        &self.last().seen
    }

    /// The entries of the current matrix.
    pub fn x(&self) -> &[f64] {
        &self.shown().x
    }

    /// The gradient.
    pub fn gradient(&self) -> &[f64] {
        &self.states[0].seen.x
    }

    /// The gradient or the last edit, then the result of each pass since.
    pub fn since_edit(&self) -> &[State] {
        &self.states[self.states.len() - 1 - self.passes().len()..]
    }

    /// Applies one pass.
    pub fn press(&mut self, pass: Pass) {
        let x: Vec<f32> = self.x().iter().map(|x| *x as f32).collect();
        let seen = follow_passes(&x, self.shape, &[pass]).pop().expect("the matrix and a pass");
        self.states.push(State { seen, pass: Some(pass) });
    }

    /// Applies rounds of a row pass and a column pass.
    pub fn rounds_of(&mut self, rounds: usize) {
        for _ in 0..rounds {
            self.press(Pass::Row);
            self.press(Pass::Column);
        }
    }

    /// Applies an optimizer's passes to the gradient, without its momentum; false if its rule is not a list of passes.
    pub fn optimize(&mut self, name: &str) -> bool {
        let Ok(Rule::Passes(program)) = OptimizerConfig::named(name).map(|config| config.linear.rule) else {
            return false;
        };
        self.states.truncate(1);
        program.unrolled().into_iter().for_each(|pass| self.press(pass));
        true
    }

    /// Goes back to the previous state, if there is one.
    pub fn undo(&mut self) {
        if self.states.len() > 1 {
            self.states.pop();
        }
    }

    /// Goes back to the gradient.
    pub fn restart(&mut self) {
        self.states.truncate(1);
    }

    /// Passes since the gradient or the last edit.
    pub fn passes(&self) -> Vec<Pass> {
        let mut passes: Vec<Pass> = self.states.iter().rev().map_while(|state| state.pass).collect();
        passes.reverse();
        passes
    }

    /// Rounds among them; a round is a row pass and a column pass.
    pub fn rounds(&self) -> usize {
        let passes = self.passes();
        let count = |pass: Pass| passes.iter().filter(|other| **other == pass).count();
        count(Pass::Row).min(count(Pass::Column))
    }

    /// Distance of rows and columns from balance: before the first of [`Board::passes`], then after each.
    pub fn deviations(&self) -> Vec<[f64; 2]> {
        let of = |state: &State| {
            let of = &state.seen.entry.quantities;
            [of.row_deviation_rms, of.column_deviation_rms]
        };
        self.since_edit().iter().map(of).collect()
    }

    /// Sets entries of the current matrix.
    pub fn edit(&mut self, entries: impl IntoIterator<Item = (usize, f64)>) {
        let mut x: Vec<f32> = self.x().iter().map(|x| *x as f32).collect();
        for (at, value) in entries {
            x[at] = value as f32;
        }
        let seen = follow_passes(&x, self.shape, &[]).remove(0);
        self.preset = "";
        let state = State { seen, pass: None };
        // Consecutive edits count as one.
        match self.states.last_mut() {
            Some(last) if last.pass.is_none() => *last = state,
            _ => self.states.push(state),
        }
    }

    /// The brushes, labelled by their effect on an entry.
    pub fn brushes(&mut self, ui: &mut Ui) {
        ui.horizontal_wrapped(|ui| {
            ui.label("brush");
            for (word, brush) in BRUSHES {
                if ui.selectable_label(self.brush == brush, word).clicked() {
                    self.brush = brush;
                }
            }
            if ui.button("new numbers").clicked() {
                self.reseed();
            }
        });
    }

    /// The matrix with its row and column lengths; pressing paints.
    pub fn show(&mut self, ui: &mut Ui) {
        let [m, n] = self.shape;
        let bars = 74.0;
        let width = ((ui.available_width() - bars) / n as f32).clamp(28.0, 66.0);
        let height = if is_narrow(ui) { 40.0 } else { (190.0 / m as f32).clamp(24.0, 40.0) };
        let size = vec2(width * n as f32 + bars, height * m as f32 + 40.0);
        // A moving finger scrolls the view.
        let sense = if is_narrow(ui) { Sense::click() } else { Sense::click_and_drag() };
        let (rect, response) = ui.allocate_exact_size(size, sense);
        let matrix = Rect::from_min_size(rect.min, vec2(width * n as f32, height * m as f32));
        response.widget_info(|| WidgetInfo::labeled(Role::Image, true, format!("matrix of {m} rows and {n} columns")));
        // A pointer paints from the moment it is pressed, a finger on a tap.
        let begins = if is_narrow(ui) {
            response.clicked()
        } else {
            response.is_pointer_button_down_on() && ui.input(|input| input.pointer.any_pressed())
        };
        let pointer = response.interact_pointer_pos().filter(|_| begins || response.dragged());
        if let Some(at) = pointer.filter(|at| matrix.contains(*at)) {
            let (row, column) = (((at.y - matrix.top()) / height) as usize, ((at.x - matrix.left()) / width) as usize);
            self.paint_entry(ui, row.min(m - 1) * n + column.min(n - 1), begins);
        }
        self.draw(ui, matrix, [width, height]);
        response.on_hover_text("click or drag to paint entries with the brush");
    }

    /// A multiplying brush acts on an entry again only after a new press or another entry.
    fn paint_entry(&mut self, ui: &Ui, at: usize, begins: bool) {
        let id = egui::Id::unique("painted entry");
        let before: Option<usize> = ui.data(|data| data.get_temp(id));
        if !begins && before == Some(at) {
            return;
        }
        ui.data_mut(|data| data.insert_temp(id, at));
        let value = match self.brush {
            Brush::To(value) => value,
            Brush::Times(factor) => (self.x()[at] * factor).clamp(-LARGEST, LARGEST),
        };
        if value != self.x()[at] {
            self.edit([(at, value)]);
        }
    }

    fn draw(&self, ui: &Ui, matrix: Rect, [width, height]: [f32; 2]) {
        let ([m, n], colors, painter) = (self.shape, colors(ui), ui.painter());
        let seen = self.shown();
        let rms = seen.entry.quantities.frobenius.max(f64::MIN_POSITIVE);
        let font = FontId::monospace(if width < 44.0 { 10.5 } else { 13.0 });
        for (at, x) in seen.x.iter().enumerate() {
            let corner = matrix.min + vec2(width * (at % n) as f32, height * (at / n) as f32);
            let cell = Rect::from_min_size(corner, vec2(width - 2.0, height - 2.0));
            let strong = if *x >= 0.0 { colors.positive } else { colors.negative };
            let share = ((x.abs() / rms / 3.0).min(1.0) * 0.55) as f32;
            painter.rect_filled(cell, 2.0, colors.surface.lerp_to_gamma(strong, share));
            painter.rect_stroke(cell, 2.0, Stroke::new(1.0, colors.grid), egui::StrokeKind::Inside);
            painter.text(cell.center(), Align2::CENTER_CENTER, entry_words(*x), font.clone(), colors.text);
        }
        let fill = |length: f32, color| if (length - 1.0).abs() <= SETTLED { colors.settled } else { color };
        let reach = |length: f32, room: f32| (length / 2.5).min(1.0) * room;
        for (row, &length) in seen.frame.rows.iter().enumerate() {
            let corner = pos2(matrix.right() + 6.0, matrix.top() + height * row as f32 + 4.0);
            let bar = Rect::from_min_size(corner, vec2(reach(length, 60.0), height - 10.0));
            painter.rect_filled(bar, 2.0, fill(length, colors.rows));
        }
        for (column, &length) in seen.frame.columns.iter().enumerate() {
            let corner = pos2(matrix.left() + width * column as f32 + 4.0, matrix.bottom() + 4.0);
            let bar = Rect::from_min_size(corner, vec2(width - 10.0, reach(length, 30.0)));
            painter.rect_filled(bar, 2.0, fill(length, colors.columns));
        }
        let (right, below) = (matrix.right() + 6.0 + 24.0, matrix.bottom() + 4.0 + 12.0);
        let line = Stroke::new(1.5, colors.text);
        painter.line_segment([pos2(right, matrix.top()), pos2(right, matrix.top() + height * m as f32)], line);
        painter.line_segment([pos2(matrix.left(), below), pos2(matrix.left() + width * n as f32, below)], line);
    }
}

/// An entry in at most six characters.
fn entry_words(x: f64) -> String {
    match x.abs() {
        0.0 => "0".into(),
        size if size >= 1e4 => format!("{x:.0e}"),
        size if size >= 100.0 => format!("{x:.0}"),
        size if size >= 10.0 => format!("{x:.1}"),
        size if size >= 0.01 => format!("{x:.2}"),
        _ => format!("{x:.0e}"),
    }
}

/// The numbers of a preset.
fn values(preset: &str, [m, n]: [usize; 2], seed: u64) -> Vec<f32> {
    let normal = multinorm::normalize::gaussian(m * n, seed);
    let each = |value: &dyn Fn(usize, usize) -> f32| (0..m * n).map(|at| value(at / n, at % n)).collect();
    let at = |row: usize, column: usize| normal[row * n + column];
    // Similar magnitudes, between 0.5 and 1.3.
    let even = |row: usize, column: usize| (0.5 + 0.4 * at(row, column).abs().min(2.0)).copysign(at(row, column));
    match preset {
        "rank one" => each(&|row, column| normal[row] * normal[m + column]),
        "triangular" => each(&|row, column| if row <= column { 1.0 } else { 0.0 }),
        "no support" => each(&|row, column| if row < 3 && column < 2 { 0.0 } else { 1.0 }),
        "one huge entry" => each(&|row, column| if (row, column) == (1, 1) { 100.0 } else { at(row, column) }),
        "even entries" => each(&even),
        "heavy entries" => each(&|row, column| at(row, column).powi(2).copysign(at(row, column))),
        // Two groups of rows, each with its own columns and a little of the other group's.
        "two blocks" => each(&|row, column| {
            let own = (row < m / 2) == (column < n / 2);
            even(row, column) * if own { 1.0 } else { 0.1 }
        }),
        // A gradient's rows and columns differ in size.
        "gradient" => each(&|row, column| 0.5 * even(row, column) * (1.0 + row as f32) / (1.0 + 0.5 * column as f32)),
        _ => normal,
    }
}

#[cfg(test)]
mod tests {
    use egui_kittest::Harness;
    use egui_kittest::kittest::Queryable;

    use super::super::steps::presets;
    use super::*;
    use crate::theme;

    #[test]
    fn every_preset_is_a_matrix_that_is_not_another() {
        let mut all: Vec<Vec<f32>> = Vec::new();
        for preset in presets() {
            let mut board = Board::default();
            board.take(preset);
            assert_eq!(board.x().len(), board.shape[0] * board.shape[1], "{preset}");
            let own = values(preset, board.shape, 1);
            if !all.contains(&own) {
                all.push(own);
            }
        }
        assert_eq!(all.len(), 8, "gradient, huge, rank one, three rates, two that do not end");
    }

    #[test]
    fn a_click_paints_once_and_a_drag_once_an_entry() {
        let mut harness = Harness::new_ui_state(
            |ui, board: &mut Board| {
                theme::apply(ui.ctx());
                board.show(ui);
            },
            Board::default(),
        );
        let before = harness.state().x().to_vec();
        let place = harness.get_by_role(Role::Image).rect();
        // A quarter of the way into the first two entries.
        let at = |entry: f32| place.min + vec2((entry + 0.25) * (place.width() - 74.0) / 6.0, 10.0);
        harness.hover_at(at(0.0));
        harness.run_steps(1);
        harness.drag_at(at(0.0));
        harness.run_steps(3);
        harness.hover_at(at(1.0));
        harness.run_steps(3);
        harness.drop_at(at(1.0));
        harness.run_steps(3);
        let factors: Vec<f64> =
            harness.state().x()[..3].iter().zip(&before).map(|(now, before)| now / before).collect();
        for (factor, wanted) in factors.iter().zip([10.0, 10.0, 1.0]) {
            assert!((factor / wanted - 1.0).abs() < 1e-5, "{factors:?}");
        }
    }

    #[test]
    fn edits_count_anew_and_undo_takes_them_back() {
        let mut board = Board::default();
        board.rounds_of(2);
        assert_eq!((board.rounds(), board.deviations().len()), (2, 5));
        board.edit([(3, 50.0)]);
        assert_eq!((board.rounds(), board.x()[3], board.passes().len()), (0, 50.0, 0));
        board.press(Pass::Row);
        assert_eq!(board.deviations().len(), 2);
        board.undo();
        board.undo();
        assert_eq!(board.rounds(), 2, "back before the edit");
        board.restart();
        board.edit([(0, 7.0)]);
        board.undo();
        assert_eq!(board.x()[0], 7.0, "an edit of the gradient is the gradient");
        assert!(board.optimize("sinkgd") && board.rounds() == 5);
        assert!(!board.optimize("adam"));
    }
}
