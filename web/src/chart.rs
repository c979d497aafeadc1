//! Plots: axes whose ticks fit their range, a light grid behind strong data, a legend with dash and mark, the value of the
//! point nearest to the pointer, and a cursor that other plots share.

use eframe::egui::{
    self, Align2, Color32, Context, CursorIcon, FontId, Id, Pos2, Rect, Response, RichText, Role, Sense, Shape, Stroke,
    Ui, UiBuilder, WidgetInfo, pos2, vec2,
};

use crate::lab::is_taking;
use crate::theme::{self, CAPTION, colors};

/// How an axis is spaced.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scale {
    /// By value.
    Linear,
    /// By value, with ticks at whole numbers alone: what counts something.
    Whole,
    /// By the logarithm; what is not above 0 is left out.
    Log,
}

impl Scale {
    /// Logarithmic if asked for.
    pub fn log_if(log: bool) -> Self {
        if log { Self::Log } else { Self::Linear }
    }

    /// Where a value stands; none for what the axis does not have.
    fn place(self, value: f64) -> Option<f64> {
        match self {
            Self::Log => (value > 0.0 && value.is_finite()).then(|| value.log10()),
            _ => value.is_finite().then_some(value),
        }
    }

    fn value(self, place: f64) -> f64 {
        if self == Self::Log { 10f64.powf(place) } else { place }
    }
}

/// One axis.
#[derive(Clone, Copy)]
pub struct Axis<'a> {
    /// What it measures, with its unit.
    pub label: &'a str,
    /// How it is spaced.
    pub scale: Scale,
    /// From and to; none fits the data.
    pub range: Option<[f64; 2]>,
}

impl<'a> Axis<'a> {
    /// An axis that fits the data.
    pub fn new(label: &'a str, scale: Scale) -> Self {
        Self { label, scale, range: None }
    }
}

/// How a line is drawn, so that nobody needs the colours.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Dash {
    /// Without gaps.
    Solid,
    /// Long dashes.
    Long,
    /// Dots.
    Dots,
    /// Short dashes.
    Short,
}

impl Dash {
    /// By turns.
    pub fn of(index: usize) -> Self {
        [Self::Solid, Self::Long, Self::Dots, Self::Short][index % 4]
    }
}

/// What stands at every point.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mark {
    /// A filled circle.
    Circle,
    /// A filled square.
    Square,
    /// A triangle that points upwards.
    Triangle,
    /// A square on its corner.
    Diamond,
}

impl Mark {
    /// By turns.
    pub fn of(index: usize) -> Self {
        [Self::Circle, Self::Square, Self::Triangle, Self::Diamond][index % 4]
    }
}

/// Points, joined by a line or marked or both.
#[derive(Clone)]
pub struct Curve {
    /// In the legend and at the pointer; one without a name has no line in the legend.
    pub name: String,
    /// x and y as they are.
    pub points: Vec<[f64; 2]>,
    /// Of line and marks.
    pub color: Color32,
    /// Of the line.
    pub dash: Dash,
    /// At every point.
    pub mark: Option<Mark>,
    /// Of the line, in points; 0 draws none.
    pub width: f32,
}

impl Curve {
    /// A line without marks.
    pub fn line(name: impl Into<String>, color: Color32, points: Vec<[f64; 2]>) -> Self {
        Self { name: name.into(), points, color, dash: Dash::Solid, mark: None, width: 1.8 }
    }

    /// With this dash.
    pub fn dashed(self, dash: Dash) -> Self {
        Self { dash, ..self }
    }

    /// With a mark at every point.
    pub fn marked(self, mark: Mark) -> Self {
        Self { mark: Some(mark), ..self }
    }

    /// Behind the others.
    pub fn faint(self) -> Self {
        Self { color: self.color.gamma_multiply(0.45), width: 1.0, ..self }
    }

    /// Marks and no line.
    pub fn loose(self) -> Self {
        Self { width: 0.0, ..self }
    }
}

/// A part of the x axis that is shaded, with words for it.
pub struct Band {
    /// From and to.
    pub x: [f64; 2],
    /// At its top.
    pub label: String,
}

/// A height that matters, with words for it.
pub struct Rule {
    /// The height.
    pub y: f64,
    /// At its right end.
    pub label: String,
}

/// A plot.
pub struct Chart<'a> {
    /// Tells plots apart, and names the files that are saved.
    pub id: &'a str,
    /// Above it.
    pub title: &'a str,
    /// Below it.
    pub x: Axis<'a>,
    /// At its left.
    pub y: Axis<'a>,
    /// Of the plot with its axes, title and legend aside; infinite for all the room that there is.
    pub height: f32,
    /// Shaded parts.
    pub bands: Vec<Band>,
    /// Heights that matter.
    pub rules: Vec<Rule>,
    /// What other plots point at; a plot with a cursor is told by `Shown::chosen` where it is put.
    pub cursor: Option<f64>,
    /// Whether there is a legend.
    pub legend: bool,
}

/// What a plot was told.
pub struct Shown {
    /// Which curve, and which of its points, is nearest to the pointer.
    pub touched: Option<(usize, [f64; 2])>,
    /// Where on the x axis the reader put the cursor.
    pub chosen: Option<f64>,
    /// x and y where the reader presses.
    pub pressed: Option<[f64; 2]>,
    /// Whether the plot was clicked.
    pub clicked: bool,
}

/// From data to the screen.
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

    /// x and y at a place on the screen.
    fn read(&self, at: Pos2) -> [f64; 2] {
        let x = f64::from((at.x - self.rect.left()) / self.rect.width().max(1.0));
        let y = f64::from((self.rect.bottom() - at.y) / self.rect.height().max(1.0));
        let value = |scale: Scale, share: f64, [from, to]: [f64; 2]| scale.value(from + share * (to - from));
        [value(self.scales[0], x, self.x), value(self.scales[1], y, self.y)]
    }
}

/// How near the pointer must be to a point, in points of the screen.
const NEAR: f32 = 28.0;

impl<'a> Chart<'a> {
    /// A plot with a legend, and nothing beside its curves.
    pub fn new(id: &'a str, title: &'a str, x: Axis<'a>, y: Axis<'a>, height: f32) -> Self {
        Self { id, title, x, y, height, bands: Vec::new(), rules: Vec::new(), cursor: None, legend: true }
    }

    /// Draws it as wide as there is room.
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
        // A finger that moves scrolls the view.
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

    /// The axes' ranges, and the room that their words leave.
    fn frame(&self, ui: &Ui, rect: Rect, curves: &[Curve]) -> Frame {
        let scales = [self.x.scale, self.y.scale];
        let x = range(self.x, curves.iter().flat_map(|curve| &curve.points).map(|point| point[0]), 0.0);
        let rules = self.rules.iter().map(|rule| rule.y);
        let y = range(self.y, curves.iter().flat_map(|curve| &curve.points).map(|point| point[1]).chain(rules), 0.06);
        let (above, below) = (CAPTION + 8.0, 2.0 * CAPTION + 10.0);
        let words = ticks(self.y.scale, y, rect.height() - above - below);
        let widest = words.iter().map(|(_, words)| text_width(ui, words)).fold(0.0, f32::max);
        let inner = Rect::from_min_max(rect.min + vec2(widest + 8.0, above), rect.max - vec2(10.0, below));
        Frame { rect: inner, scales, x, y }
    }

    /// Ctrl and the wheel zoom along x, a drag moves what is zoomed where there is no cursor, a double click shows all.
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
        let font = FontId::proportional(CAPTION);
        painter.rect_filled(inner, 3.0, colors.panel);
        for (at, words) in ticks(self.y.scale, frame.y, inner.height()) {
            let Some(place) = frame.at([self.x.scale.value(frame.x[0]), at]) else { continue };
            painter.hline(inner.x_range(), place.y, Stroke::new(1.0, colors.grid));
            let left = pos2(inner.left() - 6.0, place.y);
            painter.text(left, Align2::RIGHT_CENTER, words, font.clone(), colors.secondary);
        }
        let mut free = whole.left();
        for (at, words) in ticks(self.x.scale, frame.x, inner.width()) {
            let Some(place) = frame.at([at, self.y.scale.value(frame.y[0])]) else { continue };
            painter.vline(place.x, inner.y_range(), Stroke::new(1.0, colors.grid));
            let half = text_width(ui, &words) / 2.0;
            let center = place.x.min(whole.right() - half);
            // Words that would touch those before them stay away.
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
        let inside = painter.with_clip_rect(inner.expand(5.0));
        for Band { x, label } in &self.bands {
            let at = |x: f64| frame.at([x, self.y.scale.value(frame.y[0])]).map_or(inner.left(), |place| place.x);
            let shaded = Rect::from_x_y_ranges(at(x[0])..=at(x[1]), inner.y_range());
            painter.with_clip_rect(inner).rect_filled(shaded, 0.0, colors.grid.gamma_multiply(0.8));
            if text_width(ui, label) < shaded.width() - 6.0 {
                let top = shaded.left_top() + vec2(4.0, 3.0);
                inside.text(top, Align2::LEFT_TOP, label, font.clone(), colors.secondary);
            }
        }
        for Rule { y, label } in &self.rules {
            let Some(place) = frame.at([self.x.scale.value(frame.x[0]), *y]) else { continue };
            let line = [pos2(inner.left(), place.y), pos2(inner.right(), place.y)];
            inside.extend(Shape::dashed_line(&line, Stroke::new(1.0, colors.secondary), 4.0, 3.0));
            let over = pos2(inner.right() - 4.0, place.y - 2.0);
            inside.text(over, Align2::RIGHT_BOTTOM, label, font.clone(), colors.secondary);
        }
        for curve in curves {
            paint_curve(&inside, frame, curve);
        }
        if let Some(place) = self.cursor.and_then(|x| frame.at([x, self.y.scale.value(frame.y[0])])) {
            inside.vline(place.x, inner.y_range(), Stroke::new(1.5, colors.accent));
            inside.circle_filled(pos2(place.x, inner.bottom()), 4.0, colors.accent);
        }
    }

    /// A ring round a point, and what it is.
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

    /// A button at the upper right that saves picture or numbers.
    fn save_menu(&self, ui: &mut Ui, place: Rect, curves: &[Curve]) {
        // On a phone it would be too small to tap; the view as a whole can be saved there.
        if is_taking(ui.ctx()) || theme::is_narrow(ui) {
            return;
        }
        let corner = Rect::from_min_size(place.right_top() - vec2(26.0, 0.0), vec2(24.0, 22.0));
        let mut over = ui.new_child(UiBuilder::new().max_rect(corner).id_salt(self.id));
        let name = format!("multinorm-{}", self.id.replace(' ', "-"));
        let button = over.menu_button(RichText::new("↓").small(), |ui| {
            let wish = if ui.button("This plot as PNG").clicked() {
                Wish::Picture { name, place }
            } else if ui.button("Its numbers as CSV").clicked() {
                Wish::Csv { name, csv: csv(self.x.label, self.y.label, curves) }
            } else {
                return;
            };
            ui.data_mut(|data| data.get_temp_mut_or_default::<Vec<Wish>>(Id::unique(WISHES)).push(wish));
            ui.close();
        });
        button.response.on_hover_text("save this plot as PNG, or its numbers as CSV");
    }
}

/// The names of the curves, each with its dash and its mark.
fn legend(ui: &mut Ui, curves: &[Curve]) {
    let mut named: Vec<&Curve> = curves.iter().filter(|curve| !curve.name.is_empty()).collect();
    named.dedup_by(|one, other| one.name == other.name);
    if named.is_empty() {
        return;
    }
    ui.horizontal_wrapped(|ui| {
        ui.spacing_mut().interact_size.y = CAPTION + 4.0;
        for curve in named {
            // Sample and words stay on one line.
            let words = ui.painter().layout_no_wrap(curve.name.clone(), FontId::proportional(CAPTION), curve.color);
            let (rect, _) = ui.allocate_exact_size(vec2(30.0 + words.size().x, CAPTION + 4.0), Sense::hover());
            let y = rect.center().y;
            let line = [pos2(rect.left(), y), pos2(rect.left() + 24.0, y)];
            paint_line(ui.painter(), &line, curve);
            if let Some(mark) = curve.mark {
                paint_mark(ui.painter(), pos2(rect.left() + 12.0, y), mark, curve.color, 3.5);
            }
            ui.painter().galley(pos2(rect.left() + 30.0, y - words.size().y / 2.0), words, curve.color);
        }
    });
}

fn paint_curve(painter: &egui::Painter, frame: Frame, curve: &Curve) {
    let places: Vec<Pos2> = thinned(&curve.points).iter().filter_map(|point| frame.at(*point)).collect();
    paint_line(painter, &places, curve);
    if let Some(mark) = curve.mark {
        let radius = if places.len() > 60 { 2.0 } else { 3.5 };
        places.iter().for_each(|place| paint_mark(painter, *place, mark, curve.color, radius));
    }
}

fn paint_line(painter: &egui::Painter, places: &[Pos2], curve: &Curve) {
    if curve.width == 0.0 || places.len() < 2 {
        return;
    }
    let stroke = Stroke::new(curve.width, curve.color);
    match curve.dash {
        Dash::Solid => {
            painter.line(places.to_vec(), stroke);
        }
        Dash::Long => painter.extend(Shape::dashed_line(places, stroke, 8.0, 4.0)),
        Dash::Short => painter.extend(Shape::dashed_line(places, stroke, 4.0, 3.0)),
        Dash::Dots => painter.extend(Shape::dotted_line(places, curve.color, 5.0, curve.width * 0.7)),
    }
}

fn paint_mark(painter: &egui::Painter, at: Pos2, mark: Mark, color: Color32, radius: f32) {
    let polygon = |points: &[[f32; 2]]| {
        let places = points.iter().map(|[x, y]| at + radius * vec2(*x, *y)).collect();
        painter.add(Shape::convex_polygon(places, color, Stroke::NONE));
    };
    match mark {
        Mark::Circle => {
            painter.circle_filled(at, radius, color);
        }
        Mark::Square => {
            painter.rect_filled(Rect::from_center_size(at, egui::Vec2::splat(1.8 * radius)), 0.0, color);
        }
        Mark::Triangle => polygon(&[[0.0, -1.2], [1.1, 0.9], [-1.1, 0.9]]),
        Mark::Diamond => polygon(&[[0.0, -1.3], [1.1, 0.0], [0.0, 1.3], [-1.1, 0.0]]),
    }
}

/// The curve and the point nearest to a place, if one is near.
fn nearest(frame: Frame, curves: &[Curve], pointer: Pos2) -> Option<(usize, [f64; 2])> {
    let points = curves.iter().enumerate().flat_map(|(at, curve)| curve.points.iter().map(move |point| (at, *point)));
    let distances = points.filter_map(|(at, point)| Some((frame.at(point)?.distance_sq(pointer), at, point)));
    let (distance, at, point) = distances.min_by(|one, other| one.0.total_cmp(&other.0))?;
    (distance < NEAR * NEAR).then_some((at, point))
}

/// From and to along an axis, as places; with this share of the length as margin where the data decides.
fn range(axis: Axis<'_>, values: impl Iterator<Item = f64>, margin: f64) -> [f64; 2] {
    if let Some([from, to]) = axis.range {
        return [from, to].map(|value| axis.scale.place(value).unwrap_or(0.0));
    }
    let places = values.filter_map(|value| axis.scale.place(value));
    let [from, to] = places.fold([f64::INFINITY, f64::NEG_INFINITY], |[from, to], at| [from.min(at), to.max(at)]);
    if from > to {
        return if axis.scale == Scale::Log { [-1.0, 0.0] } else { [0.0, 1.0] };
    }
    // One value alone stands in the middle.
    let half = if to > from { margin * (to - from) } else { 0.5f64.max(0.1 * to.abs()) };
    [from - half, to + half]
}

/// Values with their words, as many as there is room for: `range` in places, `length` in points of the screen.
fn ticks(scale: Scale, [from, to]: [f64; 2], length: f32) -> Vec<(f64, String)> {
    let most = f64::from((length / 44.0).max(2.0));
    if scale == Scale::Log && to - from >= 1.0 {
        let stride = ((to - from) / most).ceil().max(1.0);
        let mut all: Vec<(f64, String)> = multiples(stride, from, to).map(|at| (10f64.powf(at), power(at))).collect();
        if to - from <= 2.2 {
            let decades = (from.floor() as i32..=to.ceil() as i32).flat_map(|at| [2.0, 5.0].map(|x| (at, x)));
            let between = decades.map(|(at, times)| times * 10f64.powi(at));
            all.extend(between.filter(|x| (from..=to).contains(&x.log10())).map(|value| (value, short(value))));
            all.sort_by(|one, other| one.0.total_cmp(&other.0));
        }
        return all;
    }
    // Within one power of ten a logarithmic axis has the ticks of a linear one.
    let [low, high] = [from, to].map(|place| scale.value(place));
    let rough = ((high - low) / most).max(f64::MIN_POSITIVE);
    let decade = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|times| times * decade).find(|step| *step >= rough * 0.999);
    let step = step.unwrap_or(rough);
    let step = if scale == Scale::Whole { step.max(1.0).ceil() } else { step };
    // As many digits as tell one tick from the next.
    let (largest, place) = (low.abs().max(high.abs()), step.log10().floor());
    let words = |value: f64| match value {
        0.0 => "0".to_owned(),
        _ if (1e-3..1e6).contains(&largest) => format!("{value:.*}", (-place).clamp(0.0, 12.0) as usize),
        _ => format!("{value:.*e}", (value.abs().log10().floor() - place).clamp(0.0, 12.0) as usize),
    };
    multiples(step, low, high).map(|value| (value, words(value))).collect()
}

/// Multiples of `step` in a range.
fn multiples(step: f64, from: f64, to: f64) -> impl Iterator<Item = f64> {
    let slack = 1e-9 * (to - from).abs();
    let (first, last) = (((from - slack) / step).ceil() as i64, ((to + slack) / step).floor() as i64);
    (first..=last.min(first + 1000)).map(move |count| count as f64 * step)
}

/// A power of ten in few signs.
fn power(exponent: f64) -> String {
    if (-3.0..=4.0).contains(&exponent) { short(10f64.powf(exponent)) } else { format!("1e{exponent}") }
}

fn text_width(ui: &Ui, words: &str) -> f32 {
    ui.painter().layout_no_wrap(words.to_owned(), FontId::proportional(CAPTION), Color32::PLACEHOLDER).size().x
}

/// At most some 800 points, the last among them: more than a plot shows.
fn thinned(points: &[[f64; 2]]) -> Vec<[f64; 2]> {
    let stride = points.len().div_ceil(800).max(1);
    let mut kept: Vec<[f64; 2]> = points.iter().rev().step_by(stride).copied().collect();
    kept.reverse();
    kept
}

/// What a plot was asked for.
#[derive(Clone, Debug)]
pub enum Wish {
    /// A picture of it.
    Picture {
        /// The file's name, without its ending.
        name: String,
        /// Where it stands, in points.
        place: Rect,
    },
    /// Its numbers.
    Csv {
        /// The file's name, without its ending.
        name: String,
        /// A line a point: curve, x, y.
        csv: String,
    },
}

/// What plots were asked for since the last call.
pub fn take_wishes(ctx: &Context) -> Vec<Wish> {
    ctx.data_mut(|data| data.remove_temp(Id::unique(WISHES))).unwrap_or_default()
}

const WISHES: &str = "wishes of plots";

/// A line a point; what holds a comma or a quotation mark is quoted.
fn csv(x: &str, y: &str, curves: &[Curve]) -> String {
    let quoted = |words: &str| match words.contains([',', '"', '\n']) {
        true => format!("\"{}\"", words.replace('"', "\"\"")),
        false => words.to_owned(),
    };
    let mut csv = format!("curve,{},{}\n", quoted(x), quoted(y));
    for Curve { name, points, .. } in curves {
        points.iter().for_each(|[x, y]| csv += &format!("{},{x},{y}\n", quoted(name)));
    }
    csv
}

/// Four digits: `1.234`, `0.0123`, `1.2e-5`, `6.14e5`.
pub fn short(value: f64) -> String {
    let size = value.abs();
    if value == 0.0 {
        return "0".into();
    }
    if !(1e-3..1e5).contains(&size) {
        let words = format!("{value:.2e}");
        return match words.split_once('e') {
            Some((digits, power)) if digits.contains('.') => {
                format!("{}e{power}", digits.trim_end_matches('0').trim_end_matches('.'))
            }
            _ => words,
        };
    }
    let digits = (3 - size.log10().floor() as i64).clamp(0, 6) as usize;
    let words = format!("{value:.digits$}");
    if words.contains('.') { words.trim_end_matches('0').trim_end_matches('.').to_owned() } else { words }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let words = [0.0, 1.0, 0.02, 1234.0, 614_400.0, 1.2345e-7, -3.98765, 0.5, f64::INFINITY].map(short);
        assert_eq!(words, ["0", "1", "0.02", "1234", "6.14e5", "1.23e-7", "-3.988", "0.5", "inf"]);
    }

    #[test]
    fn numbers_are_saved_as_they_are() {
        let color = Color32::BLACK;
        let curves =
            [Curve::line("adam", color, vec![[1.0, 5.5], [2.0, 0.0]]), Curve::line("a,b", color, vec![[0.5, 1e-7]])];
        let lines = "curve,steps,\"loss, \"\"nats\"\"\"\nadam,1,5.5\nadam,2,0\n\"a,b\",0.5,0.0000001\n";
        assert_eq!(csv("steps", "loss, \"nats\"", &curves), lines);
    }

    #[test]
    fn the_last_point_stays() {
        let points: Vec<[f64; 2]> = (0..5000).map(|at| [f64::from(at), 0.0]).collect();
        let kept = thinned(&points);
        assert!(kept.len() <= 800 && kept.last() == Some(&[4999.0, 0.0]) && kept.is_sorted());
    }

    #[test]
    fn every_axis_has_ticks_that_are_in_sight_and_tell_apart() {
        let cases = [
            (Scale::Linear, [0.0, 1.0]),
            (Scale::Linear, [5.5234, 5.5311]),
            (Scale::Linear, [-3.0, 1e7]),
            (Scale::Whole, [0.0, 3.0]),
            (Scale::Whole, [0.0, 4000.0]),
            (Scale::Log, [-7.0, 0.5]),
            (Scale::Log, [0.1, 0.4]),
            (Scale::Log, [-0.4, 1.3]),
            (Scale::Log, [-300.0, 12.0]),
        ];
        for (scale, range) in cases {
            for length in [90.0, 300.0, 1400.0] {
                let found = ticks(scale, range, length);
                assert!((1..=40).contains(&found.len()), "{scale:?} {range:?} {length}: {found:?}");
                assert!(found.len() as f32 <= length / 22.0 + 2.0, "crowded: {scale:?} {range:?} {length}: {found:?}");
                for pair in found.windows(2) {
                    assert!(pair[0].0 < pair[1].0 && pair[0].1 != pair[1].1, "{scale:?} {range:?}: {pair:?}");
                }
                for (value, words) in &found {
                    let place = scale.place(*value).unwrap();
                    assert!(place >= range[0] - 1e-6 && place <= range[1] + 1e-6, "{words}");
                    assert!(scale != Scale::Whole || !words.contains('.'), "{words}");
                }
            }
        }
    }

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
