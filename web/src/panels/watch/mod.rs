//! The first screen: a gradient going through the passes, shown within its network and its training run.

mod atlas;
mod card;
mod convergence;
mod matrix;
mod slopes;
mod timeline;

use std::time::Duration;

use eframe::egui::{self, Rect, RichText, ScrollArea, Ui, UiBuilder, vec2};
use multinorm::normalize::Entry;

pub use self::card::place as card_place;
pub use self::timeline::centered_mean;

use self::atlas::Atlas;
use self::convergence::ConvergencePlot;
use self::matrix::MatrixView;
use self::slopes::Slopes;
use super::{choice, short_name};
use crate::lab::{Lab, Look, Moment, Status, frame_rest};
use crate::platform;
use crate::theme::{self, TITLE, colors};

/// Time between two frames on a software adapter while a model is being prepared.
const BUILDING_REST: Duration = Duration::from_secs(2);
/// Seconds of the transition from one gradient to another.
const SOFTLY_SECS: f32 = 0.8;
/// The minimum height to lay the screen out for; below that it scrolls.
const LEAST_HEIGHT: f32 = 560.0;
/// The minimum width for side-by-side parts.
const LEAST_WIDTH: f32 = 900.0;
/// Space between the parts of the screen.
const GAP: f32 = 14.0;

/// What the view keeps between frames.
pub struct WatchPanel {
    less_motion: bool,
    matrix: MatrixView,
    slopes: Slopes,
    convergence: ConvergencePlot,
    atlas: Atlas,
}

impl Default for WatchPanel {
    fn default() -> Self {
        Self {
            less_motion: platform::wants_less_motion(),
            matrix: MatrixView::default(),
            slopes: Slopes::default(),
            convergence: ConvergencePlot::default(),
            atlas: Atlas::default(),
        }
    }
}

/// What one frame shows.
struct Scene<'a> {
    lab: &'a Lab,
    /// One look for each of one or two optimizers, at the same matrix.
    looks: Vec<&'a Look>,
    /// Their names.
    names: Vec<String>,
    moment: Moment,
}

impl Scene<'_> {
    /// The passes of a look, starting with the gradient.
    fn passes(&self, of: usize) -> &[Entry] {
        &self.looks[of].followed.record.passes
    }
}

/// What the reader wants changed.
enum Action {
    /// Show the gradient of this step, or the newest.
    Step(Option<u64>),
    /// Show this many passes, or let them play.
    Pass(Option<usize>),
    /// Inspect another matrix of the model.
    Matrix(String),
    /// Inspect another matrix of the open file.
    OfFile(usize),
    /// Highlight a singular value, or none.
    Sigma(Option<usize>),
    /// Go back to the runs.
    CloseFile,
}

impl Action {
    fn apply(self, lab: &mut Lab) {
        match self {
            Self::Step(step) => lab.settings.step = step,
            Self::Pass(pass) => lab.settings.half_step = pass,
            Self::Matrix(parameter) => lab.look_into(&parameter),
            Self::OfFile(chosen) => lab.open_matrix(chosen),
            Self::Sigma(sigma) => lab.settings.sigma = sigma,
            Self::CloseFile => lab.close_file(),
        }
    }
}

impl WatchPanel {
    /// The view.
    pub fn show(&mut self, ui: &mut Ui, lab: &mut Lab) {
        let now = ui.input(|input| input.time);
        // A software adapter is busy training: passes change without animation.
        let is_busy = lab.gpu.profile.software && matches!(lab.status, Status::Building | Status::Running);
        let moment = lab.moment(now, !self.less_motion && !is_busy);
        if let Some(next) = moment.next {
            // The same CPU draws and prepares the model: the first step comes sooner if little is drawn.
            let waits = is_busy && lab.status == Status::Building;
            let rest = if waits { BUILDING_REST } else { frame_rest(&lab.gpu.profile) };
            ui.ctx().request_repaint_after(Duration::from_secs_f64(next).max(rest));
        }
        lab.point_at(moment.pass);
        self.soften(ui, lab);
        let mut acts = Vec::new();
        let scene = Scene { lab, looks: lab.shown(), names: lab.seen_optimizers(), moment };
        if ui.available_width() < LEAST_WIDTH {
            ScrollArea::vertical().auto_shrink(false).show(ui, |ui| self.one_column(ui, &scene, &mut acts));
        } else {
            ScrollArea::vertical().auto_shrink(false).show_viewport(ui, |ui, viewport| {
                let size = vec2(ui.available_width(), viewport.height().max(LEAST_HEIGHT));
                let (rect, _) = ui.allocate_exact_size(size, egui::Sense::hover());
                self.side_by_side(ui, rect, &scene, &mut acts);
            });
        }
        acts.into_iter().for_each(|act| act.apply(lab));
    }

    /// Fades from the recorded gradient to the model's own.
    fn soften(&self, ui: &mut Ui, lab: &Lab) {
        let id = egui::Id::unique("the model's own gradient");
        let live = ui.ctx().animate_bool_with_time(id, !lab.shows_recorded(), SOFTLY_SECS);
        if !self.less_motion {
            ui.multiply_opacity(1.0 - 0.8 * (1.0 - (2.0 * live - 1.0).abs()));
        }
    }

    /// Draws a card of the current scene over this rectangle, for a picture.
    pub fn card(&mut self, ui: &mut Ui, lab: &Lab, place: Rect) {
        let last = lab.last_half_step();
        let moment = Moment { pass: last, before: last, done: 1.0, next: None };
        let scene = Scene { lab, looks: lab.shown(), names: lab.seen_optimizers(), moment };
        card::show(ui, &scene, place, &mut self.matrix, &mut self.convergence);
    }

    fn side_by_side(&mut self, ui: &mut Ui, rect: Rect, scene: &Scene<'_>, acts: &mut Vec<Action>) {
        let head = Rect::from_min_size(rect.min, vec2(rect.width(), 54.0));
        part(ui, "head", head, |ui| headline(ui, scene, acts));
        let body = Rect::from_min_max(head.left_bottom(), rect.max);
        let upper = 0.58 * body.height();
        let widths = [0.38, 0.30, 0.32].map(|share| share * (body.width() - 2.0 * GAP));
        let mut left = body.left();
        let above = widths.map(|width| {
            let cell = Rect::from_min_size(egui::pos2(left, body.top()), vec2(width, upper - GAP));
            left += width + GAP;
            cell
        });
        part(ui, "matrix", above[0], |ui| {
            let height = ui.available_height();
            self.matrix.show(ui, scene, height, acts);
        });
        part(ui, "spectrum", above[1], |ui| self.slopes.show(ui, scene, None, acts));
        part(ui, "convergence", above[2], |ui| self.convergence.show(ui, scene, None, acts));
        let below = Rect::from_min_max(egui::pos2(body.left(), body.top() + upper), body.max);
        let atlas = Rect::from_min_size(below.min, vec2(widths[0], below.height()));
        let loss = Rect::from_min_max(egui::pos2(atlas.right() + GAP, below.top()), below.max);
        part(ui, "atlas", atlas, |ui| self.atlas.show(ui, scene, acts));
        part(ui, "loss", loss, |ui| timeline::show(ui, scene, None, acts));
    }

    fn one_column(&mut self, ui: &mut Ui, scene: &Scene<'_>, acts: &mut Vec<Action>) {
        headline(ui, scene, acts);
        self.matrix.show(ui, scene, 330.0, acts);
        ui.add_space(GAP);
        self.convergence.show(ui, scene, Some(220.0), acts);
        ui.add_space(GAP);
        self.slopes.show(ui, scene, Some(240.0), acts);
        ui.add_space(GAP);
        self.atlas.show(ui, scene, acts);
        ui.add_space(GAP);
        timeline::show(ui, scene, Some(200.0), acts);
    }
}

/// A part of the screen with its own layout.
fn part(ui: &mut Ui, name: &str, rect: Rect, draw: impl FnOnce(&mut Ui)) {
    let mut child = ui.new_child(UiBuilder::new().max_rect(rect).id_salt(name));
    child.set_clip_rect(rect.expand(4.0).intersect(ui.clip_rect()));
    draw(&mut child);
}

/// A headline, and a sentence that says what is shown.
fn headline(ui: &mut Ui, scene: &Scene<'_>, acts: &mut Vec<Action>) {
    ui.label(RichText::new("Watch a gradient become balanced").size(TITLE).strong());
    let record = &scene.looks[0].followed.record;
    let [m, n] = record.shape;
    ui.horizontal_wrapped(|ui| {
        let awaited = scene.lab.awaited().map(|name| format!("reading {}…", short_name(name)));
        if let Some(words) = awaited {
            ui.label(RichText::new(words).color(colors(ui).accent));
        }
        if let Some(opened) = &scene.lab.opened {
            ui.label(&opened.file);
            let names: Vec<String> = opened.matrices.iter().map(|matrix| matrix.name().to_owned()).collect();
            let mut name = names[opened.chosen].clone();
            if choice(ui, "matrix", &mut name, &names) {
                acts.push(Action::OfFile(names.iter().position(|other| *other == name).unwrap_or(0)));
            }
            if scene.lab.awaited().is_none() {
                ui.weak(format!("{m}×{n}"));
            }
            if ui.button("Back to the runs").clicked() {
                acts.push(Action::CloseFile);
            }
            return;
        }
        let name = short_name(&record.parameter);
        let words = if scene.lab.shows_recorded() && matches!(scene.lab.status, Status::Record { .. }) {
            format!("This run kept no gradients. Here is one from another run ({name}, {m}×{n}).")
        } else if scene.lab.shows_recorded() {
            format!("A recorded gradient ({name}, {m}×{n}). Yours replaces it after the first training step.")
        } else {
            format!("The gradient of {name}, {m}×{n}, after {} of training.", steps_in_words(record.step))
        };
        ui.label(RichText::new(words).color(colors(ui).secondary));
        if scene.lab.settings.step.is_some() && theme::small_button(ui, "Follow the newest step").clicked() {
            acts.push(Action::Step(None));
        }
    });
}

/// The name of `passes[at]` without its parameters, with the round if there are several.
fn pass_name(passes: &[Entry], at: usize) -> String {
    let Entry { pass, iteration, .. } = &passes[at];
    let kind = pass.split(':').next().unwrap_or(pass);
    if at == 0 {
        return kind.to_owned();
    }
    if passes.iter().any(|entry| entry.iteration > 1) {
        format!("{kind} pass, round {iteration}")
    } else {
        format!("{kind} pass")
    }
}

fn steps_in_words(steps: u64) -> String {
    if steps == 1 { "1 step".into() } else { format!("{steps} steps") }
}

/// The names of the optimizers, each in its colour, if there are two.
fn names_in_color(ui: &mut Ui, names: &[String]) {
    if names.len() > 1 {
        ui.horizontal(|ui| {
            for name in names {
                ui.label(RichText::new(name).color(theme::optimizer(ui, name)).strong());
            }
        });
    }
}
