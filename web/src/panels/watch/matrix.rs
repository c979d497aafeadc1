//! The matrix as a heat map with its row and column lengths, and the controls for stepping through the passes.

use std::collections::HashMap;

use eframe::egui::{
    self, Align2, Color32, ColorImage, FontId, Painter, Rect, RichText, Sense, Stroke, TextureHandle, TextureOptions,
    Ui, pos2, vec2,
};
use multinorm::config::Pass;
use multinorm::normalize::Entry;
use multinorm::train::{Direction, Frame, THUMBNAIL_LIMIT, thumbnail_shape};

use super::{Action, Scene, pass_name};
use crate::chart::short;
use crate::lab::{Look, Moment};
use crate::panels::{SETTLED, color_bar, extremes};
use crate::theme::{self, CAPTION, Colors, colors};

/// Space for the bars of rows and columns.
const BARS: f32 = 54.0;
/// A strip beside the matrix that shows a singular vector.
const STRIP: f32 = 12.0;
/// The largest ratio of an entry's sides.
const STRETCH: f32 = 2.0;
/// Multiples of the root mean square that get full colour.
const FULL_RMS: f32 = 2.0;
/// The thumbnail value that gets full colour.
const FULL: f32 = 127.0 * FULL_RMS / THUMBNAIL_LIMIT;
/// The number of textures to keep.
const KEPT: usize = 48;

/// Cached pictures of matrices.
#[derive(Default)]
pub struct MatrixView {
    /// By the look's id, passes done, and whether the theme is dark.
    textures: HashMap<(u64, usize, bool), TextureHandle>,
}

impl MatrixView {
    /// One heat map per optimizer, with the pass controls below.
    pub fn show(&mut self, ui: &mut Ui, scene: &Scene<'_>, height: f32, acts: &mut Vec<Action>) {
        let beside = scene.looks.len();
        let controls = ui.spacing().interact_size.y + 48.0;
        let size = vec2((ui.available_width() - 8.0 * (beside as f32 - 1.0)) / beside as f32, height - controls);
        ui.horizontal(|ui| {
            ui.spacing_mut().item_spacing.x = 8.0;
            for run in 0..beside {
                ui.vertical(|ui| self.one(ui, scene, run, size));
            }
        });
        walk(ui, scene, acts);
        legend(ui);
    }

    /// One optimizer's matrix with its bars.
    pub fn one(&mut self, ui: &mut Ui, scene: &Scene<'_>, run: usize, size: egui::Vec2) {
        let (rect, response) = ui.allocate_exact_size(size, Sense::hover());
        let (look, colors) = (scene.looks[run], colors(ui));
        let passes = scene.passes(run);
        let moment = at_most(scene.moment, passes.len() - 1);
        let head = Rect::from_min_size(rect.min, vec2(rect.width(), CAPTION + 6.0));
        title(ui, scene, run, head, moment);
        let [m, n] = look.followed.record.shape;
        let inside = Rect::from_min_max(pos2(rect.left() + STRIP, head.bottom() + STRIP), rect.max - vec2(BARS, BARS));
        let matrix = fitted(inside, [m, n]);
        if look.followed.frames.is_empty() {
            let words = "This recorded run did not store its matrices.";
            ui.painter().text(
                rect.center(),
                Align2::CENTER_CENTER,
                words,
                FontId::proportional(CAPTION),
                colors.secondary,
            );
            return;
        }
        let entry = &passes[moment.pass];
        let [before, now] = [moment.before, moment.pass].map(|pass| self.texture(ui, look, pass).id());
        let painter = ui.painter_at(rect);
        let swept = Sweep::of(entry, moment.done);
        paint_picture(&painter, matrix, [before, now], swept, colors);
        let [old, new] = [moment.before, moment.pass].map(|pass| Lengths::of(look, pass));
        bars(&painter, matrix, &old.rows, &new.rows, swept, true, colors);
        bars(&painter, matrix, &old.columns, &new.columns, swept, false, colors);
        if let Some(direction) = scene.lab.direction(run, scene.moment.pass) {
            strips(&painter, matrix, direction, colors);
        }
        if let Some(pointer) = response.hover_pos().filter(|at| matrix.contains(*at)) {
            let row = ((pointer.y - matrix.top()) / matrix.height() * m as f32) as usize;
            let column = ((pointer.x - matrix.left()) / matrix.width() * n as f32) as usize;
            let frame = Lengths::of(look, moment.pass);
            if let (Some(of_row), Some(of_column)) = (frame.rows.get(row), frame.columns.get(column)) {
                let (of_row, of_column) = (short(f64::from(*of_row)), short(f64::from(*of_column)));
                let entry = short(f64::from(entry_over_rms(look, moment.pass, [row, column])));
                response.on_hover_text_at_pointer(format!(
                    "entry: {entry} × rms\nrow {}: {of_row} × its target length\ncolumn {}: {of_column} × its target length",
                    row + 1,
                    column + 1
                ));
            }
        }
    }

    fn texture(&mut self, ui: &Ui, look: &Look, pass: usize) -> &TextureHandle {
        if self.textures.len() > KEPT {
            self.textures.clear();
        }
        self.textures.entry((look.id, pass, ui.visuals().dark_mode)).or_insert_with(|| {
            let [height, width] = thumbnail_shape(look.followed.record.shape);
            let of_pass = &look.followed.thumbnails[pass * height * width..][..height * width];
            let pixels = of_pass.iter().map(|value| entry_color(colors(ui), f32::from(*value) / FULL));
            let image = ColorImage::new([width, height], pixels.collect());
            ui.ctx().load_texture("matrix", image, TextureOptions::NEAREST)
        })
    }
}

/// The colour of an entry; ±1 has full colour.
fn entry_color(colors: &Colors, entry: f32) -> Color32 {
    colors.surface.lerp_to_gamma(if entry >= 0.0 { colors.positive } else { colors.negative }, entry.abs().min(1.0))
}

/// The picture's entry at a row and column of the matrix, divided by the root mean square.
fn entry_over_rms(look: &Look, pass: usize, [row, column]: [usize; 2]) -> f32 {
    let [m, n] = look.followed.record.shape;
    let [height, width] = thumbnail_shape([m, n]);
    let at = (pass * height + row * height / m) * width + column * width / n;
    FULL_RMS * f32::from(look.followed.thumbnails[at]) / FULL
}

/// The meaning of colours and bars.
fn legend(ui: &mut Ui) {
    ui.horizontal_wrapped(|ui| {
        ui.spacing_mut().item_spacing.x = 4.0;
        let colors = colors(ui);
        let small = |words: &str| RichText::new(words).small().color(colors.secondary);
        ui.label(small("−2"));
        color_bar(ui, 60.0, |share| entry_color(colors, 2.0 * share - 1.0));
        ui.label(small("+2 × rms. Bars: row and column lengths; line: target; grey: within 1 %."));
    });
}

fn title(ui: &Ui, scene: &Scene<'_>, run: usize, rect: Rect, moment: Moment) {
    let colors = colors(ui);
    let font = FontId::proportional(CAPTION + 1.0);
    let name = pass_name(scene.passes(run), moment.pass);
    let words = match (moment.pass, moment.done < 1.0) {
        (0, _) => "the gradient, scaled to rms 1".to_owned(),
        (_, true) => name,
        (_, false) => format!("after the {name}"),
    };
    let name = &scene.names[run];
    let name_color = theme::optimizer(ui, name);
    let drawn = ui.painter().text(rect.left_center(), Align2::LEFT_CENTER, name, font.clone(), name_color);
    ui.painter().text(drawn.right_center() + vec2(8.0, 0.0), Align2::LEFT_CENTER, words, font, colors.text);
}

/// Limits the moment for a rule with fewer passes.
fn at_most(moment: Moment, last: usize) -> Moment {
    if moment.pass <= last { moment } else { Moment { pass: last, before: last, done: 1.0, ..moment } }
}

/// The largest rectangle in `rect` whose entries have a side ratio of at most [`STRETCH`].
fn fitted(rect: Rect, [m, n]: [usize; 2]) -> Rect {
    let [entry_width, entry_height] = [rect.width() / n as f32, rect.height() / m as f32];
    let size =
        vec2(n as f32 * entry_width.min(STRETCH * entry_height), m as f32 * entry_height.min(STRETCH * entry_width));
    Rect::from_min_size(rect.min, size)
}

/// How far a pass has progressed across the picture.
#[derive(Clone, Copy)]
enum Sweep {
    /// Done from the first row to this share of the rows.
    Rows(f32),
    /// Done from the first column to this share of the columns.
    Columns(f32),
    /// Everywhere at once, by this share.
    All(f32),
}

impl Sweep {
    fn of(entry: &Entry, done: f32) -> Self {
        match entry.pass.parse() {
            Ok(Pass::Row) => Self::Rows(done),
            Ok(Pass::Column) => Self::Columns(done),
            _ => Self::All(done),
        }
    }
}

fn paint_picture(painter: &Painter, rect: Rect, [old, new]: [egui::TextureId; 2], sweep: Sweep, colors: &Colors) {
    let whole = Rect::from_min_max(pos2(0.0, 0.0), pos2(1.0, 1.0));
    let part = |texture, from: f32, to: f32, rows: bool| {
        let (uv, place) = if rows {
            let y = |share: f32| rect.top() + share * rect.height();
            (Rect::from_min_max(pos2(0.0, from), pos2(1.0, to)), Rect::from_x_y_ranges(rect.x_range(), y(from)..=y(to)))
        } else {
            let x = |share: f32| rect.left() + share * rect.width();
            (Rect::from_min_max(pos2(from, 0.0), pos2(to, 1.0)), Rect::from_x_y_ranges(x(from)..=x(to), rect.y_range()))
        };
        painter.image(texture, place, uv, Color32::WHITE);
        place
    };
    match sweep {
        Sweep::Rows(done) | Sweep::Columns(done) if done < 1.0 => {
            let rows = matches!(sweep, Sweep::Rows(_));
            part(old, done, 1.0, rows);
            let ready = part(new, 0.0, done, rows);
            let stroke = Stroke::new(2.0, colors.accent);
            let edge = if rows {
                [ready.left_bottom(), ready.right_bottom()]
            } else {
                [ready.right_top(), ready.right_bottom()]
            };
            painter.line_segment(edge, stroke);
        }
        Sweep::All(done) if done < 1.0 => {
            painter.image(old, rect, whole, Color32::WHITE);
            painter.image(new, rect, whole, Color32::WHITE.gamma_multiply(done));
        }
        _ => {
            painter.image(new, rect, whole, Color32::WHITE);
        }
    }
    painter.rect_stroke(rect, 0.0, Stroke::new(1.0, colors.edge), egui::StrokeKind::Outside);
}

/// Lengths divided by their targets, for a matrix scaled to a root mean square of 1 if no pass has done so yet.
struct Lengths {
    rows: Vec<f32>,
    columns: Vec<f32>,
}

impl Lengths {
    fn of(look: &Look, pass: usize) -> Self {
        let (entry, Frame { rows, columns }) = (&look.followed.record.passes[pass], &look.followed.frames[pass]);
        let rms = entry.quantities.frobenius as f32;
        let is_scaled = entry.pass.parse::<Pass>().is_ok();
        let factor = if is_scaled || rms == 0.0 { 1.0 } else { rms.recip() };
        let scaled = |lengths: &[f32]| lengths.iter().map(|length| factor * length).collect();
        Self { rows: scaled(rows), columns: scaled(columns) }
    }
}

/// Bars are cut off at this many times the target length.
const MOST: f32 = 2.5;

/// One bar per row to the right of the matrix, or one per column below it, with a line at the target.
fn bars(painter: &Painter, matrix: Rect, old: &[f32], new: &[f32], sweep: Sweep, rows: bool, colors: &Colors) {
    let (length, breadth) = (if rows { matrix.height() } else { matrix.width() }, BARS - 10.0);
    let count = new.len().min(length as usize).max(1);
    let color = if rows { colors.rows } else { colors.columns };
    for bar in 0..count {
        let (from, to) = (bar * new.len() / count, ((bar + 1) * new.len() / count).max(bar * new.len() / count + 1));
        let share = (bar as f32 + 0.5) / count as f32;
        let done = match (sweep, rows) {
            (Sweep::Rows(done), true) | (Sweep::Columns(done), false) => f32::from(u8::from(share <= done)),
            (Sweep::Rows(done) | Sweep::Columns(done) | Sweep::All(done), _) => done,
        };
        // Several rows may share a bar: show the one farthest from its target.
        let farthest = |of: &[f32]| {
            of[from..to].iter().copied().fold(1.0_f32, |a, b| if (b - 1.0).abs() > (a - 1.0).abs() { b } else { a })
        };
        let value = farthest(old) + done * (farthest(new) - farthest(old));
        let reach = (value / MOST).min(1.0) * breadth;
        let thick = (length / count as f32 - if count < 200 { 1.0 } else { 0.0 }).max(0.5);
        let along = share * length - thick / 2.0;
        let fill = if (value - 1.0).abs() <= SETTLED { colors.settled } else { color };
        let place = if rows {
            Rect::from_min_size(pos2(matrix.right() + 4.0, matrix.top() + along), vec2(reach, thick))
        } else {
            Rect::from_min_size(pos2(matrix.left() + along, matrix.bottom() + 4.0), vec2(thick, reach))
        };
        painter.rect_filled(place, 0.0, fill);
        // A dot marks a bar that was cut off.
        if value > MOST {
            let end = if rows { place.right_center() + vec2(3.0, 0.0) } else { place.center_bottom() + vec2(0.0, 3.0) };
            painter.circle_filled(end, 1.5, fill);
        }
    }
    let target = breadth / MOST + 4.0;
    let line = if rows {
        [matrix.right_top() + vec2(target, -3.0), matrix.right_bottom() + vec2(target, 3.0)]
    } else {
        [matrix.left_bottom() + vec2(-3.0, target), matrix.right_bottom() + vec2(3.0, target)]
    };
    painter.line_segment(line, Stroke::new(1.5, colors.text));
    let font = FontId::proportional(CAPTION);
    if rows {
        let above = matrix.right_top() + vec2(BARS, -4.0);
        painter.text(above, Align2::RIGHT_BOTTOM, "rows", font, colors.rows);
    } else {
        let below = matrix.left_bottom() + vec2(0.0, BARS - 2.0);
        painter.text(below, Align2::LEFT_BOTTOM, "columns", font, colors.columns);
    }
}

/// The vectors of a singular value beside the matrix: the left one along the rows, the right one along the columns.
fn strips(painter: &Painter, matrix: Rect, direction: &Direction, colors: &Colors) {
    let largest =
        |vector: &[f32]| vector.iter().fold(0.0_f32, |largest, x| largest.max(x.abs())).max(f32::MIN_POSITIVE);
    let fill = |x: f32| {
        let strong = if x >= 0.0 { colors.positive } else { colors.negative };
        colors.surface.lerp_to_gamma(strong, x.abs())
    };
    let (of_rows, of_columns) = (largest(&direction.left), largest(&direction.right));
    let (rows, columns) = (extremes(&direction.left, matrix.height()), extremes(&direction.right, matrix.width()));
    let (high, wide) = (matrix.height() / rows.len() as f32, matrix.width() / columns.len() as f32);
    for (row, x) in rows.iter().enumerate() {
        let corner = pos2(matrix.left() - STRIP, matrix.top() + row as f32 * high);
        painter.rect_filled(Rect::from_min_size(corner, vec2(STRIP - 4.0, high)), 0.0, fill(x / of_rows));
    }
    for (column, x) in columns.iter().enumerate() {
        let corner = pos2(matrix.left() + column as f32 * wide, matrix.top() - STRIP);
        painter.rect_filled(Rect::from_min_size(corner, vec2(wide, STRIP - 4.0)), 0.0, fill(x / of_columns));
    }
}

/// Play, back, forward and a slider over the passes; arrow keys do the same.
fn walk(ui: &mut Ui, scene: &Scene<'_>, acts: &mut Vec<Action>) {
    let last = scene.looks.iter().map(|look| look.followed.record.passes.len() - 1).max().unwrap_or(0);
    let playing = scene.lab.settings.half_step.is_none();
    let pass = scene.moment.pass.min(last);
    ui.horizontal(|ui| {
        let (word, meaning) = if playing { ("Pause", "stay at this pass") } else { ("Play", "play the passes") };
        if ui.button(RichText::new(word).strong()).on_hover_text(meaning).clicked() {
            acts.push(Action::Pass(playing.then_some(pass)));
        }
        if ui.add_enabled(pass > 0, egui::Button::new("◀")).on_hover_text("one pass back (←)").clicked() {
            acts.push(Action::Pass(Some(pass - 1)));
        }
        if ui.add_enabled(pass < last, egui::Button::new("▶")).on_hover_text("one pass forward (→)").clicked() {
            acts.push(Action::Pass(Some(pass + 1)));
        }
        let mut chosen = pass;
        ui.spacing_mut().slider_width = (ui.available_width() - 80.0).clamp(60.0, 420.0);
        let slider = egui::Slider::new(&mut chosen, 0..=last).show_value(false);
        if ui.add(slider).on_hover_text("passes done").changed() {
            acts.push(Action::Pass(Some(chosen)));
        }
        ui.label(format!("{pass} of {last}"));
    });
}
