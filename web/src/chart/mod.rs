//! Plots with ticks that fit the range, a light grid, a legend with dashes and markers, the value of the point nearest
//! the pointer, and a cursor shared with other plots.

mod axis;
mod curve;
mod save;

pub use self::axis::{Axis, Scale, short};
pub use self::curve::{Curve, Dash, Mark};
pub use self::save::{SaveRequest, take_wishes};

use eframe::egui::{
    Align2, CursorIcon, FontId, Id, Painter, Pos2, Rect, Response, RichText, Role, Sense, Shape, Stroke, TextStyle, Ui,
    WidgetInfo, pos2, vec2,
};

use self::axis::{range, ticks};
use self::curve::{legend, paint_curve};
use crate::theme::{self, CAPTION, colors, text_width};

/// A shaded interval of the x axis.
pub struct Band {
    /// Lower and upper end.
    pub x: [f64; 2],
    /// Text at the bottom edge.
    pub label: String,
}

/// A labelled horizontal line.
pub struct Rule {
    /// Its y value.
    pub y: f64,
    /// Text at the right end.
    pub label: String,
}

/// A plot.
pub struct Chart<'a> {
    /// Unique name, also used for saved files.
    pub id: &'a str,
    /// Heading; may be empty.
    pub title: &'a str,
    /// Horizontal axis.
    pub x: Axis<'a>,
    /// Vertical axis.
    pub y: Axis<'a>,
    /// Height of the plot and its axes in points, without title and legend; infinite to fill the available space.
    pub height: f32,
    /// Shaded intervals.
    pub bands: Vec<Band>,
    /// Horizontal lines.
    pub rules: Vec<Rule>,
    /// x of the cursor shared with other plots; [`Shown::chosen`] reports where the reader moves it.
    pub cursor: Option<f64>,
    /// Whether to draw a legend.
    pub legend: bool,
}

/// What the reader did with a plot in this frame.
pub struct Shown {
    /// Index of the curve nearest the pointer, and its nearest point.
    pub touched: Option<(usize, [f64; 2])>,
    /// x where the reader put the cursor.
    pub chosen: Option<f64>,
    /// x and y under a pressed pointer.
    pub pressed: Option<[f64; 2]>,
    /// Whether the plot was clicked.
    pub clicked: bool,
}

/// Maps data to the screen.
#[derive(Clone, Copy)]
struct Frame {
    rect: Rect,
    scales: [Scale; 2],
    x: [f64; 2],
    y: [f64; 2],
}

impl Frame {
    fn at(&self, [x, y]: [f64; 2]) -> Option<Pos2> {
        let share = |place: f64, [from, to]: [f64; 2]| ((place - from) / (to - from)) as f32;
        let (x, y) = (self.scales[0].place(x)?, self.scales[1].place(y)?);
        Some(pos2(
            self.rect.left() + self.rect.width() * share(x, self.x),
            self.rect.bottom() - self.rect.height() * share(y, self.y),
        ))
    }

    /// x and y at a position on the screen.
    fn read(&self, at: Pos2) -> [f64; 2] {
        let x = f64::from((at.x - self.rect.left()) / self.rect.width().max(1.0));
        let y = f64::from((self.rect.bottom() - at.y) / self.rect.height().max(1.0));
        let value = |scale: Scale, share: f64, [from, to]: [f64; 2]| scale.value(from + share * (to - from));
        [value(self.scales[0], x, self.x), value(self.scales[1], y, self.y)]
    }
}

/// Least distance between ticks of the y axis, in points.
const ROWS_APART: f32 = 26.0;
/// The same for the x axis, where labels are side by side.
const COLUMNS_APART: f32 = 44.0;
/// The pointer picks a data point within this distance, in screen points.
const NEAR: f32 = 28.0;

impl<'a> Chart<'a> {
    /// A plot with a legend and without bands, rules and cursor.
    pub fn new(id: &'a str, title: &'a str, x: Axis<'a>, y: Axis<'a>, height: f32) -> Self {
        Self { id, title, x, y, height, bands: Vec::new(), rules: Vec::new(), cursor: None, legend: true }
    }

    /// Draws the plot across the available width.
    pub fn show(self, ui: &mut Ui, curves: &[Curve]) -> Shown {
        let mut shown = Shown { touched: None, chosen: None, pressed: None, clicked: false };
        let place = ui.vertical(|ui| self.draw(ui, curves, &mut shown)).response.rect;
        self.save_menu(ui, place, curves);
        shown
    }

    fn draw(&self, ui: &mut Ui, curves: &[Curve], shown: &mut Shown) {
        if !self.title.is_empty() {
            theme::section(ui, self.title);
        }
        if self.legend {
            legend(ui, curves);
        }
        let height = if self.height.is_finite() { self.height } else { ui.available_height() };
        let size = vec2(ui.available_width(), height.max(80.0));
        // A moving finger scrolls the view.
        let sense = if theme::is_narrow(ui) { Sense::click() } else { Sense::click_and_drag() };
        let (rect, response) = ui.allocate_exact_size(size, sense);
        let name = if self.title.is_empty() { self.id } else { self.title };
        response.widget_info(|| WidgetInfo::labeled(Role::Image, true, format!("{name}, plot")));
        let frame = self.frame(ui, rect, curves);
        let frame = self.zoomed(ui, &response, frame, curves);
        self.paint(ui, rect, frame, curves);
        shown.clicked = response.clicked();
        let pointer = response.hover_pos().or(response.interact_pointer_pos().filter(|_| response.dragged()));
        if let Some(pointer) = pointer {
            shown.touched = nearest(frame, curves, pointer);
            if response.clicked() || response.dragged() {
                shown.pressed = Some(frame.read(pointer));
            }
            if self.cursor.is_some() {
                ui.ctx().set_cursor_icon(CursorIcon::ResizeHorizontal);
                shown.chosen = shown.pressed.map(|[x, _]| x);
            }
        }
        if let Some((curve, point)) = shown.touched {
            self.point_out(ui, &response, frame, &curves[curve], point);
        }
    }

    /// Chooses the range of each axis and the rectangle left for the data beside the tick labels.
    fn frame(&self, ui: &Ui, rect: Rect, curves: &[Curve]) -> Frame {
        let scales = [self.x.scale, self.y.scale];
        let x = range(self.x, curves.iter().flat_map(|curve| &curve.points).map(|point| point[0]), 0.0);
        let rules = self.rules.iter().map(|rule| rule.y);
        let y = range(self.y, curves.iter().flat_map(|curve| &curve.points).map(|point| point[1]).chain(rules), 0.06);
        let (above, below) = (CAPTION + 8.0, 2.0 * CAPTION + 10.0);
        let words = ticks(self.y.scale, y, rect.height() - above - below, ROWS_APART);
        let widest = words.iter().map(|(_, words)| text_width(ui, words, TextStyle::Small)).fold(0.0, f32::max);
        let inner = Rect::from_min_max(rect.min + vec2(widest + 8.0, above), rect.max - vec2(10.0, below));
        Frame { rect: inner, scales, x, y }
    }

    /// Ctrl+wheel zooms along x, dragging pans a zoomed plot without a cursor, a double click resets.
    fn zoomed(&self, ui: &Ui, response: &Response, frame: Frame, curves: &[Curve]) -> Frame {
        let id = Id::unique(("zoom", self.id));
        let whole = frame.x;
        let mut x: [f64; 2] = ui.data(|data| data.get_temp(id)).unwrap_or(whole);
        if response.double_clicked() {
            ui.data_mut(|data| data.remove::<[f64; 2]>(id));
            return frame;
        }
        let zoom = if response.hovered() { f64::from(ui.input(|input| input.zoom_delta())) } else { 1.0 };
        let mut changed = false;
        if zoom != 1.0
            && let Some(pointer) = response.hover_pos()
        {
            let share = f64::from((pointer.x - frame.rect.left()) / frame.rect.width()).clamp(0.0, 1.0);
            let middle = x[0] + share * (x[1] - x[0]);
            x = [middle + (x[0] - middle) / zoom, middle + (x[1] - middle) / zoom];
            changed = true;
        }
        let is_zoomed = x[1] - x[0] < whole[1] - whole[0];
        if is_zoomed && self.cursor.is_none() && response.dragged() {
            let by = f64::from(-response.drag_delta().x / frame.rect.width()) * (x[1] - x[0]);
            x = x.map(|x| x + by);
            changed = true;
        }
        if changed {
            if x[1] - x[0] >= whole[1] - whole[0] {
                ui.data_mut(|data| data.remove::<[f64; 2]>(id));
                return frame;
            }
            ui.data_mut(|data| data.insert_temp(id, x));
        } else if x == whole {
            return frame;
        }
        let inside = |point: &&[f64; 2]| frame.scales[0].place(point[0]).is_some_and(|at| at >= x[0] && at <= x[1]);
        let seen = curves.iter().flat_map(|curve| &curve.points).filter(inside).map(|point| point[1]);
        Frame { x, y: range(self.y, seen, 0.06), ..frame }
    }

    fn paint(&self, ui: &Ui, whole: Rect, frame: Frame, curves: &[Curve]) {
        let (colors, inner) = (colors(ui), frame.rect);
        let painter = ui.painter_at(whole);
        self.paint_grid(ui, &painter, whole, frame);
        let inside = painter.with_clip_rect(inner.expand(5.0));
        self.paint_marks(ui, &inside, frame);
        for curve in curves {
            paint_curve(&inside, frame, curve);
        }
        if let Some(place) = self.cursor.and_then(|x| frame.at([x, self.y.scale.value(frame.y[0])])) {
            inside.vline(place.x, inner.y_range(), Stroke::new(1.5, colors.accent));
            inside.circle_filled(pos2(place.x, inner.bottom()), 4.0, colors.accent);
        }
    }

    /// Grid lines and labels of both axes.
    fn paint_grid(&self, ui: &Ui, painter: &Painter, whole: Rect, frame: Frame) {
        let (colors, inner) = (colors(ui), frame.rect);
        let font = FontId::proportional(CAPTION);
        painter.rect_filled(inner, 3.0, colors.panel);
        for (at, words) in ticks(self.y.scale, frame.y, inner.height(), ROWS_APART) {
            let Some(place) = frame.at([self.x.scale.value(frame.x[0]), at]) else { continue };
            painter.hline(inner.x_range(), place.y, Stroke::new(1.0, colors.grid));
            let left = pos2(inner.left() - 6.0, place.y);
            painter.text(left, Align2::RIGHT_CENTER, words, font.clone(), colors.secondary);
        }
        let mut free = whole.left();
        for (at, words) in ticks(self.x.scale, frame.x, inner.width(), COLUMNS_APART) {
            let Some(place) = frame.at([at, self.y.scale.value(frame.y[0])]) else { continue };
            painter.vline(place.x, inner.y_range(), Stroke::new(1.0, colors.grid));
            let half = text_width(ui, &words, TextStyle::Small) / 2.0;
            let center = place.x.min(whole.right() - half);
            // Skip labels that would touch the previous one.
            if center - half > free {
                let below = pos2(center, inner.bottom() + 4.0);
                painter.text(below, Align2::CENTER_TOP, words, font.clone(), colors.secondary);
                free = center + half + 4.0;
            }
        }
        let above = pos2(whole.left(), whole.top());
        painter.text(above, Align2::LEFT_TOP, self.y.label, font.clone(), colors.secondary);
        painter.text(
            pos2(inner.right(), whole.bottom()),
            Align2::RIGHT_BOTTOM,
            self.x.label,
            font.clone(),
            colors.secondary,
        );
    }

    /// Bands and rules.
    fn paint_marks(&self, ui: &Ui, inside: &Painter, frame: Frame) {
        let (colors, inner, font) = (colors(ui), frame.rect, FontId::proportional(CAPTION));
        for Band { x, label } in &self.bands {
            let at = |x: f64| frame.at([x, self.y.scale.value(frame.y[0])]).map_or(inner.left(), |place| place.x);
            let shaded = Rect::from_x_y_ranges(at(x[0])..=at(x[1]), inner.y_range());
            inside.with_clip_rect(inner).rect_filled(shaded, 0.0, colors.grid.gamma_multiply(0.8));
            if text_width(ui, label, TextStyle::Small) < shaded.width() - 6.0 {
                // Falling curves leave the lower left corner free.
                let low = shaded.left_bottom() + vec2(4.0, -3.0);
                inside.text(low, Align2::LEFT_BOTTOM, label, font.clone(), colors.secondary);
            }
        }
        for Rule { y, label } in &self.rules {
            let Some(place) = frame.at([self.x.scale.value(frame.x[0]), *y]) else { continue };
            let line = [pos2(inner.left(), place.y), pos2(inner.right(), place.y)];
            inside.extend(Shape::dashed_line(&line, Stroke::new(1.0, colors.secondary), 4.0, 3.0));
            let over = pos2(inner.right() - 4.0, place.y - 2.0);
            inside.text(over, Align2::RIGHT_BOTTOM, label, font.clone(), colors.secondary);
        }
    }

    /// Circles a point and shows its values.
    fn point_out(&self, ui: &Ui, response: &Response, frame: Frame, curve: &Curve, point: [f64; 2]) {
        let Some(place) = frame.at(point) else { return };
        ui.painter().circle_stroke(place, 5.0, Stroke::new(2.0, colors(ui).text));
        response.clone().on_hover_ui_at_pointer(|ui| {
            if !curve.name.is_empty() {
                ui.label(RichText::new(&curve.name).color(curve.color).strong());
            }
            ui.label(format!("{}: {}", self.x.label, short(point[0])));
            ui.label(format!("{}: {}", self.y.label, short(point[1])));
        });
    }
}

/// The curve and point nearest to a position, if close enough.
fn nearest(frame: Frame, curves: &[Curve], pointer: Pos2) -> Option<(usize, [f64; 2])> {
    let points = curves.iter().enumerate().flat_map(|(at, curve)| curve.points.iter().map(move |point| (at, *point)));
    let distances = points.filter_map(|(at, point)| Some((frame.at(point)?.distance_sq(pointer), at, point)));
    let (distance, at, point) = distances.min_by(|one, other| one.0.total_cmp(&other.0))?;
    (distance < NEAR * NEAR).then_some((at, point))
}

#[cfg(test)]
mod tests {
    use eframe::egui::Color32;

    use super::*;

    #[test]
    fn the_nearest_point_is_found_and_far_ones_are_not() {
        let rect = Rect::from_min_size(pos2(0.0, 0.0), vec2(100.0, 100.0));
        let frame = Frame { rect, scales: [Scale::Linear, Scale::Log], x: [0.0, 10.0], y: [-2.0, 0.0] };
        let curves = [
            Curve::line("one", Color32::BLACK, vec![[0.0, 1.0], [10.0, 0.01]]),
            Curve::line("other", Color32::BLACK, vec![[5.0, 0.1], [6.0, 0.0]]),
        ];
        assert_eq!(nearest(frame, &curves, pos2(48.0, 51.0)), Some((1, [5.0, 0.1])));
        assert_eq!(nearest(frame, &curves, pos2(97.0, 95.0)), Some((0, [10.0, 0.01])));
        assert_eq!(nearest(frame, &curves, pos2(95.0, 5.0)), None);
        let [x, y] = frame.read(pos2(25.0, 50.0));
        assert!((x - 2.5).abs() < 1e-6 && (y - 0.1).abs() < 1e-6);
    }
}
