//! Plots with a logarithmic axis, and colours that any eye tells apart.

use crate::lab::is_taking;
use eframe::egui::{self, Color32, Context, Id, Rect, Stroke, Ui, UiBuilder};
use egui_plot::{
    Corner, GridInput, GridMark, HoverPosition, Legend, Line, LineStyle, MarkerShape, Plot, PlotPoints, Points,
};

/// Colours of Okabe and Ito (2008), the dark theme's lightened where the background would swallow them.
const LIGHT: [Color32; 6] = [
    Color32::from_rgb(0x00, 0x72, 0xb2),
    Color32::from_rgb(0xc0, 0x4a, 0x00),
    Color32::from_rgb(0x00, 0x7a, 0x59),
    Color32::from_rgb(0xa8, 0x50, 0x8a),
    Color32::from_rgb(0x9a, 0x6a, 0x00),
    Color32::from_rgb(0x5c, 0x5c, 0x5c),
];
const DARK: [Color32; 6] = [
    Color32::from_rgb(0x4a, 0xa8, 0xe8),
    Color32::from_rgb(0xff, 0x8a, 0x3d),
    Color32::from_rgb(0x2f, 0xc7, 0x9a),
    Color32::from_rgb(0xe5, 0x9a, 0xc8),
    Color32::from_rgb(0xf0, 0xb4, 0x29),
    Color32::from_rgb(0xb8, 0xb8, 0xb8),
];

/// The colour of series `index` in the theme of `ui`.
pub fn ink(ui: &Ui, index: usize) -> Color32 {
    let palette = if ui.visuals().dark_mode { DARK } else { LIGHT };
    palette[index % palette.len()]
}

/// Line styles by turns, so that nobody needs the colours.
pub fn dash(index: usize) -> LineStyle {
    match index % 4 {
        0 => LineStyle::Solid,
        1 => LineStyle::Dashed { length: 8.0 },
        2 => LineStyle::Dotted { spacing: 5.0 },
        _ => LineStyle::Dashed { length: 3.0 },
    }
}

/// Marks by turns.
pub fn marker(index: usize) -> MarkerShape {
    [MarkerShape::Circle, MarkerShape::Square, MarkerShape::Up, MarkerShape::Diamond, MarkerShape::Cross][index % 5]
}

/// One curve.
pub struct Series {
    /// In the legend.
    pub name: String,
    /// x and y as they are; a logarithmic plot takes the logarithm itself.
    pub points: Vec<[f64; 2]>,
    /// Which colour, dash and mark.
    pub index: usize,
    /// Whether every point has a mark.
    pub marked: bool,
    /// Whether it stands back behind the others.
    pub faint: bool,
    /// Whether there is nothing but marks.
    pub loose: bool,
}

impl Series {
    /// A line without marks.
    pub fn line(name: impl Into<String>, index: usize, points: Vec<[f64; 2]>) -> Self {
        Self { name: name.into(), points, index, marked: false, faint: false, loose: false }
    }

    /// A line with a mark at every point.
    pub fn marked(name: impl Into<String>, index: usize, points: Vec<[f64; 2]>) -> Self {
        Self { marked: true, ..Self::line(name, index, points) }
    }
}

/// What a plot's axes say.
#[derive(Clone, Copy)]
pub struct Axes<'a> {
    /// Tells plots apart.
    pub id: &'a str,
    /// Below.
    pub x: &'a str,
    /// To the left.
    pub y: &'a str,
    /// Whether y is spaced by its logarithm.
    pub log: bool,
    /// Whether x counts something: fractions have no label then.
    pub whole: bool,
    /// In points.
    pub height: f32,
}

/// Draws curves; what is not above 0 is left out of a logarithmic plot.
pub fn curves(ui: &mut Ui, axes: Axes<'_>, series: &[Series]) {
    draw(ui, axes, series, framed(axes));
}

/// Draws curves without a legend, for many that need no name.
pub fn unnamed(ui: &mut Ui, axes: Axes<'_>, series: &[Series]) {
    draw(ui, axes, series, frame(axes));
}

fn draw(ui: &mut Ui, axes: Axes<'_>, series: &[Series], plot: Plot<'_>) {
    let placed: Vec<(Line<'_>, Option<Points<'_>>)> = series.iter().map(|series| items(ui, axes.log, series)).collect();
    saved(ui, axes, series, |ui| {
        plot.show(ui, |plot| {
            for (line, points) in placed {
                plot.line(line);
                points.into_iter().for_each(|points| plot.points(points));
            }
        });
    });
}

/// Draws the marks of every series and no lines, without a legend.
pub fn columns_of_marks(ui: &mut Ui, axes: Axes<'_>, series: &[Series]) {
    let marks: Vec<_> = series.iter().filter_map(|series| items(ui, axes.log, series).1).collect();
    saved(ui, axes, series, |ui| {
        frame(axes).show(ui, |plot| marks.into_iter().for_each(|marks| plot.points(marks.radius(2.0))));
    });
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

/// Draws a plot with a button on it that saves its picture or its numbers.
pub fn saved(ui: &mut Ui, axes: Axes<'_>, series: &[Series], draw: impl FnOnce(&mut Ui)) {
    let place = ui.scope(draw).response.rect;
    if is_taking(ui.ctx()) {
        return;
    }
    let corner = Rect::from_min_size(place.left_top() + egui::vec2(0.0, 2.0), egui::vec2(20.0, 20.0));
    let mut over = ui.new_child(UiBuilder::new().max_rect(corner).id_salt(axes.id));
    let name = format!("multinorm-{}", axes.id.replace(' ', "-"));
    over.menu_button("⬇", |ui| {
        let wish = if ui.button("This plot as PNG").clicked() {
            Wish::Picture { name, place }
        } else if ui.button("Its numbers as CSV").clicked() {
            Wish::Csv { name, csv: csv(axes, series) }
        } else {
            return;
        };
        ui.data_mut(|data| data.get_temp_mut_or_default::<Vec<Wish>>(Id::unique(WISHES)).push(wish));
        ui.close();
    })
    .response
    .on_hover_text("save this plot as PNG, or its numbers as CSV");
}

/// A line a point; what holds a comma or a quotation mark is quoted.
fn csv(axes: Axes<'_>, series: &[Series]) -> String {
    let quoted = |words: &str| match words.contains([',', '"', '\n']) {
        true => format!("\"{}\"", words.replace('"', "\"\"")),
        false => words.to_owned(),
    };
    let mut csv = format!("curve,{},{}\n", quoted(axes.x), quoted(axes.y));
    for Series { name, points, .. } in series {
        points.iter().for_each(|[x, y]| csv += &format!("{},{x},{y}\n", quoted(name)));
    }
    csv
}

fn framed<'a>(axes: Axes<'a>) -> Plot<'a> {
    frame(axes).legend(Legend::default().position(Corner::RightTop).background_alpha(0.6))
}

fn frame<'a>(axes: Axes<'a>) -> Plot<'a> {
    let Axes { id, x, y, log, whole, height } = axes;
    let plot =
        Plot::new(id.to_owned()).height(height).x_axis_label(x).y_axis_label(y).allow_scroll(false).label_formatter(
            move |at| {
                let (name, at) = match at {
                    HoverPosition::NearDataPoint { plot_name, position, .. } => (*plot_name, position),
                    HoverPosition::Elsewhere { position } => ("", position),
                };
                let y_value = if log { 10f64.powf(at.y) } else { at.y };
                let words = format!("{x}: {}\n{y}: {}", short(at.x), short(y_value));
                Some(if name.is_empty() { words } else { format!("{name}\n{words}") })
            },
        );
    let plot =
        plot.x_axis_formatter(
            move |mark, _| {
                if whole && mark.value.fract() != 0.0 { String::new() } else { short(mark.value) }
            },
        );
    if log {
        plot.y_axis_formatter(|mark, _| short(10f64.powf(mark.value))).y_grid_spacer(log_marks)
    } else {
        plot.y_axis_formatter(|mark, _| short(mark.value))
    }
}

fn items<'a>(ui: &Ui, log: bool, series: &Series) -> (Line<'a>, Option<Points<'a>>) {
    let place = |&[x, y]: &[f64; 2]| match log {
        true => (y > 0.0).then(|| [x, y.log10()]),
        false => y.is_finite().then_some([x, y]),
    };
    let points: Vec<[f64; 2]> = thinned(&series.points).iter().filter_map(place).collect();
    let color = ink(ui, series.index);
    let (color, width) = if series.faint { (color.gamma_multiply(0.4), 1.0) } else { (color, 1.8) };
    let joined = if series.loose { Vec::new() } else { points.clone() };
    let line = Line::new(series.name.clone(), PlotPoints::from(joined))
        .stroke(Stroke::new(width, color))
        .style(dash(series.index));
    let marks = series.marked.then(|| {
        Points::new(series.name.clone(), PlotPoints::from(points)).color(color).radius(3.5).shape(marker(series.index))
    });
    (line, marks)
}

/// At most some 800 points, the last among them: more than a plot shows.
fn thinned(points: &[[f64; 2]]) -> Vec<[f64; 2]> {
    let stride = points.len().div_ceil(800).max(1);
    let mut kept: Vec<[f64; 2]> = points.iter().rev().step_by(stride).copied().collect();
    kept.reverse();
    kept
}

/// A line at every power of ten, and where few are in sight at 2 and 5 times them.
fn log_marks(input: GridInput) -> Vec<GridMark> {
    let (low, high) = (input.bounds.0.floor() as i64, input.bounds.1.ceil() as i64);
    let decades = (high - low).max(1);
    let stride = (decades / 8).max(1);
    let mut marks: Vec<GridMark> = (low..=high)
        .filter(|power| power % stride == 0)
        .map(|power| GridMark { value: power as f64, step_size: stride as f64 })
        .collect();
    if decades <= 3 {
        let between = (low..=high).flat_map(|power| [2f64, 5.0].map(|times| power as f64 + times.log10()));
        marks.extend(between.map(|value| GridMark { value, step_size: 0.3 }));
    }
    marks.retain(|mark| (input.bounds.0..=input.bounds.1).contains(&mark.value));
    marks
}

/// Four digits: `1.234`, `0.0123`, `1.2e-5`, `614 k`.
pub fn short(value: f64) -> String {
    let size = value.abs();
    if value == 0.0 {
        return "0".into();
    }
    if !(1e-3..1e4).contains(&size) {
        let words = format!("{value:.2e}");
        return match words.split_once('e') {
            Some((digits, power)) => format!("{}e{power}", digits.trim_end_matches('0').trim_end_matches('.')),
            None => words,
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
        let words = [0.0, 1.0, 0.02, 1234.0, 614_400.0, 1.2345e-7, -3.98765, 0.5].map(short);
        assert_eq!(words, ["0", "1", "0.02", "1234", "6.14e5", "1.23e-7", "-3.988", "0.5"]);
    }

    #[test]
    fn numbers_are_saved_as_they_are() {
        let axes = Axes { id: "x", x: "steps", y: "loss, \"nats\"", log: true, whole: true, height: 1.0 };
        let series = [Series::line("adam", 0, vec![[1.0, 5.5], [2.0, 0.0]]), Series::line("a,b", 1, vec![[0.5, 1e-7]])];
        let lines = "curve,steps,\"loss, \"\"nats\"\"\"\nadam,1,5.5\nadam,2,0\n\"a,b\",0.5,0.0000001\n";
        assert_eq!(csv(axes, &series), lines);
    }

    #[test]
    fn the_last_point_stays() {
        let points: Vec<[f64; 2]> = (0..5000).map(|at| [f64::from(at), 0.0]).collect();
        let kept = thinned(&points);
        assert!(kept.len() <= 800 && kept.last() == Some(&[4999.0, 0.0]) && kept.is_sorted());
    }

    #[test]
    fn a_logarithmic_axis_has_marks_wherever_one_looks() {
        for bounds in [(-7.0, 0.5), (0.1, 0.4), (-300.0, 12.0)] {
            let marks = log_marks(GridInput { bounds, base_step_size: 0.1 });
            let seen = marks.iter().filter(|mark| (bounds.0..bounds.1).contains(&mark.value)).count();
            assert!((1..=14).contains(&seen), "{bounds:?}: {seen}");
        }
    }
}
