//! The kinds of plots: lines, factors, spreads and bars, each as one SVG element.

use std::io;
use std::ops::Range;

use plotters::coord::CoordTranslate;
use plotters::coord::Shift;
use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::FontTransform;

use super::super::plan::factor_words;
use super::super::statistics::Spread;
use super::ink::{FOREGROUND, GRID, Ink, Marker, themed};

/// Width and height of every plot, in pixels before the page scales it.
pub(super) const SIZE: (u32, u32) = (640, 380);

/// What the axes say.
pub(super) struct Axis {
    pub x: String,
    pub y: String,
}

/// One curve.
pub(super) struct Series {
    pub ink: Ink,
    pub points: Vec<(f64, f64)>,
    /// Whether every point has a mark.
    pub marked: bool,
}

/// Final losses of one optimizer over the factors.
pub(super) struct Factors {
    pub ink: Ink,
    pub losses: Vec<(f64, f64)>,
    pub diverged: Vec<f64>,
}

/// Final losses of one optimizer over the seeds.
pub(super) struct Spreads {
    pub ink: Ink,
    pub name: String,
    pub spread: Spread,
    pub values: Vec<f64>,
}

/// One number of one optimizer.
pub(super) struct Bar {
    pub ink: Ink,
    pub name: String,
    pub value: f64,
    /// The number with its unit.
    pub words: String,
}

/// Curves over one axis; what lies above `cap` is drawn at its height, so that one spike flattens nothing.
pub(super) fn lines(axis: &Axis, series: &[Series], cap: Option<f64>, n_inks: usize) -> String {
    let capped = |y: f64| cap.map_or(y, |cap| y.min(cap));
    let points = || series.iter().flat_map(|series| &series.points);
    let x = 0.0..points().map(|point| point.0).fold(0.0, f64::max).max(f64::MIN_POSITIVE);
    let y = padded(points().map(|point| capped(point.1)));
    drawn(n_inks, |area| {
        let mut chart = ChartBuilder::on(area)
            .margin(10)
            .margin_right(24)
            .x_label_area_size(48)
            .y_label_area_size(64)
            .build_cartesian_2d(x, y)?;
        let words = |value: &f64| short(*value);
        let digits = |value: &f64| format!("{value:.2}");
        mesh!(chart).x_desc(&axis.x).y_desc(&axis.y).x_label_formatter(&words).y_label_formatter(&digits).draw()?;
        for Series { ink, points, marked } in series {
            let points: Vec<_> = thinned(points).map(|&(x, y)| (x, capped(y))).collect();
            chart.draw_series(LineSeries::new(points.iter().copied(), ink.key().stroke_width(2)))?;
            if *marked && points.len() <= 40 {
                mark(&mut chart, *ink, &points)?;
            }
        }
        Ok(())
    })
}

/// Loss against the factor on the learning rate, which is spaced by its logarithm.
pub(super) fn factors(all: &[f64], optimizers: &[Factors], n_inks: usize) -> String {
    let losses = || optimizers.iter().flat_map(|factors| &factors.losses).map(|point| point.1);
    let y = padded(losses());
    let top = y.end;
    let places: Vec<f64> = all.iter().map(|factor| factor.ln()).collect();
    let x = padded(places.iter().copied());
    drawn(n_inks, |area| {
        let mut chart = ChartBuilder::on(area)
            .margin(10)
            .margin_top(16)
            .x_label_area_size(48)
            .y_label_area_size(64)
            .build_cartesian_2d(Ticks { range: x, at: places.clone() }, y)?;
        let words = |place: &f64| {
            let of = places.iter().position(|other| other == place);
            of.map_or(String::new(), |index| format!("× {}", factor_words(all[index])))
        };
        let digits = |value: &f64| format!("{value:.2}");
        mesh!(chart)
            .x_desc("factor on every learning rate")
            .y_desc("final validation loss, nats a token")
            .x_label_formatter(&words)
            .y_label_formatter(&digits)
            .draw()?;
        for Factors { ink, losses, diverged } in optimizers {
            let points: Vec<_> = losses.iter().map(|&(factor, loss)| (factor.ln(), loss)).collect();
            chart.draw_series(LineSeries::new(points.iter().copied(), ink.key().stroke_width(2)))?;
            mark(&mut chart, *ink, &points)?;
            let lost = diverged.iter().map(|factor| Cross::new((factor.ln(), top), 6, ink.key().stroke_width(3)));
            chart.draw_series(lost)?;
        }
        Ok(())
    })
}

/// Every seed, their mean, and one standard deviation to either side; one row an optimizer.
pub(super) fn spreads(rows: &[Spreads], n_inks: usize) -> String {
    let reach = |row: &Spreads| {
        let sd = row.spread.sd.unwrap_or(0.0);
        [row.spread.mean - sd, row.spread.mean + sd].into_iter().chain(row.values.clone())
    };
    let x = padded(rows.iter().flat_map(reach));
    let names: Vec<&str> = rows.iter().map(|row| row.name.as_str()).collect();
    drawn(n_inks, |area| {
        let mut chart =
            by_name(area, x, &names, "final validation loss, nats a token", &|value| format!("{value:.3}"))?;
        for (index, Spreads { ink, spread, values, .. }) in rows.iter().enumerate() {
            let (y, style) = (row_center(index), ink.key().stroke_width(3));
            let sd = spread.sd.unwrap_or(0.0);
            let line = |points: Vec<(f64, f64)>| PathElement::new(points, style);
            chart.draw_series([
                line(vec![(spread.mean - sd, y), (spread.mean + sd, y)]),
                line(vec![(spread.mean, y - 0.25), (spread.mean, y + 0.25)]),
            ])?;
            let points: Vec<_> = values.iter().map(|&value| (value, y)).collect();
            mark(&mut chart, *ink, &points)?;
        }
        Ok(())
    })
}

/// One bar an optimizer, its number behind it.
pub(super) fn bars(unit: &str, rows: &[Bar], tick: &dyn Fn(f64) -> String, n_inks: usize) -> String {
    let largest = rows.iter().map(|row| row.value).fold(0.0, f64::max);
    // Room for the number behind the longest bar.
    let x = 0.0..if largest > 0.0 { 1.25 * largest } else { 1.0 };
    let names: Vec<&str> = rows.iter().map(|row| row.name.as_str()).collect();
    drawn(n_inks, |area| {
        let mut chart = by_name(area, x, &names, unit, tick)?;
        for (index, Bar { ink, value, words, .. }) in rows.iter().enumerate() {
            let y = row_center(index);
            chart.draw_series([Rectangle::new([(0.0, y - 0.3), (*value, y + 0.3)], ink.key().filled())])?;
            let number = EmptyElement::at((*value, y)) + Text::new(words.clone(), (6, -8), font());
            chart.draw_series([number])?;
        }
        Ok(())
    })
}

type Drawn<T = ()> = Result<T, DrawingAreaErrorKind<io::Error>>;
type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Axes and grid in the page's colours.
macro_rules! mesh {
    ($chart:expr) => {
        $chart
            .configure_mesh()
            .axis_style(FOREGROUND)
            .bold_line_style(GRID)
            .light_line_style(TRANSPARENT)
            .label_style(font())
            .axis_desc_style(font())
    };
}
use mesh;

fn drawn(n_inks: usize, draw: impl FnOnce(&Area<'_>) -> Drawn) -> String {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        draw(&area).and_then(|()| area.present()).expect("a string takes whatever is drawn");
    }
    themed(&svg, n_inks)
}

/// A chart with a row for each name, the first at the top, and a number along the bottom.
fn by_name<'a, 'b>(
    area: &Area<'a>,
    x: Range<f64>,
    names: &[&str],
    x_words: &str,
    tick: &dyn Fn(f64) -> String,
) -> Drawn<ChartContext<'b, SVGBackend<'a>, Cartesian2d<RangedCoordf64, Ticks>>> {
    let longest = names.iter().map(|name| name.chars().count()).max().unwrap_or(0) as u32;
    let rows = Ticks { range: -(names.len().max(1) as f64)..0.0, at: (0..names.len()).map(row_center).collect() };
    let mut chart = ChartBuilder::on(area)
        .margin(10)
        .margin_right(24)
        .x_label_area_size(48)
        .y_label_area_size(24 + 9 * longest)
        .build_cartesian_2d(x, rows)?;
    let name = |y: &f64| names.get((-y - 0.5).round() as usize).copied().unwrap_or_default().to_owned();
    let words = |value: &f64| tick(*value);
    mesh!(chart)
        .disable_y_mesh()
        .x_desc(x_words)
        .x_labels(5)
        .y_labels(names.len())
        .y_label_formatter(&name)
        .x_label_formatter(&words)
        .draw()?;
    Ok(chart)
}

/// The middle of a row; rows have height 1 and go downwards from 0.
fn row_center(index: usize) -> f64 {
    -(index as f64) - 0.5
}

/// A linear axis with ticks at these places and nowhere else.
struct Ticks {
    range: Range<f64>,
    at: Vec<f64>,
}

impl Ranged for Ticks {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (from, to): (i32, i32)) -> i32 {
        let share = (value - self.range.start) / (self.range.end - self.range.start);
        from + (f64::from(to - from) * share).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _hint: Hint) -> Vec<f64> {
        self.at.clone()
    }

    fn range(&self) -> Range<f64> {
        self.range.clone()
    }
}

impl ValueFormatter<f64> for Ticks {
    fn format(value: &f64) -> String {
        short(*value)
    }
}

fn font() -> TextStyle<'static> {
    ("sans-serif", 17).into_font().transform(FontTransform::None).color(&FOREGROUND)
}

/// The series' marker at every point.
fn mark<Plane: CoordTranslate<From = (f64, f64)>>(
    chart: &mut ChartContext<'_, SVGBackend<'_>, Plane>,
    ink: Ink,
    points: &[(f64, f64)],
) -> Drawn {
    let (style, points) = (ink.key(), points.iter().copied());
    let corners = match ink.marker() {
        Marker::Circle => {
            chart.draw_series(points.map(|at| Circle::new(at, 4, style.filled())))?;
            return Ok(());
        }
        Marker::Cross => {
            chart.draw_series(points.map(|at| Cross::new(at, 4, style.stroke_width(2))))?;
            return Ok(());
        }
        Marker::Square => vec![(-4, -4), (4, -4), (4, 4), (-4, 4)],
        Marker::Triangle => vec![(0, -5), (5, 4), (-5, 4)],
        Marker::Diamond => vec![(0, -6), (6, 0), (0, 6), (-6, 0)],
    };
    chart.draw_series(points.map(|at| EmptyElement::at(at) + Polygon::new(corners.clone(), style.filled())))?;
    Ok(())
}

/// A range that holds all values, with room at both ends; never empty.
fn padded(values: impl Iterator<Item = f64>) -> Range<f64> {
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
    if low > high {
        return 0.0..1.0;
    }
    let room = (0.06 * (high - low)).max(1e-3 * high.abs()).max(1e-9);
    low - room..high + room
}

/// At most some 300 points, the last among them: more than a plot of this width shows.
fn thinned(points: &[(f64, f64)]) -> impl Iterator<Item = &(f64, f64)> {
    let stride = points.len().div_ceil(300).max(1);
    points.iter().rev().step_by(stride).collect::<Vec<_>>().into_iter().rev()
}

/// `1.2M`, `600k`, `50`, `0.25`.
pub(super) fn short(value: f64) -> String {
    let trimmed = |value: f64, unit: &str| {
        let digits = format!("{value:.2}");
        format!("{}{unit}", digits.trim_end_matches('0').trim_end_matches('.'))
    };
    match value.abs() {
        v if v >= 1e9 => trimmed(value / 1e9, "G"),
        v if v >= 1e6 => trimmed(value / 1e6, "M"),
        v if v >= 1e3 => trimmed(value / 1e3, "k"),
        _ => trimmed(value, ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_and_words_of_axes() {
        assert_eq!(padded([].into_iter()), 0.0..1.0);
        let one = padded([2.0].into_iter());
        assert!(one.start < 2.0 && 2.0 < one.end);
        assert_eq!([0.0, 0.25, 50.0, 614_400.0, 1.2e6].map(short), ["0", "0.25", "50", "614.4k", "1.2M"]);
        let points: Vec<(f64, f64)> = (0..1001).map(|i| (f64::from(i), 0.0)).collect();
        let kept: Vec<f64> = thinned(&points).map(|point| point.0).collect();
        assert!(kept.len() <= 300 && kept.last() == Some(&1000.0) && kept.is_sorted(), "{kept:?}");
    }

    #[test]
    fn plots_of_nothing_and_of_one_point_are_drawn() {
        let axis = Axis { x: "steps".into(), y: "nats".into() };
        let one = |points| vec![Series { ink: Ink(0), points, marked: true }];
        for series in [vec![], one(vec![]), one(vec![(1.0, 2.0)]), one(vec![(1.0, 1e30), (2.0, 3.0)])] {
            assert!(lines(&axis, &series, Some(5.0), 1).contains("</svg>"));
        }
        assert!(bars("bytes", &[], &|value| short(value), 1).contains("</svg>"));
        assert!(spreads(&[], 1).contains("</svg>"));
    }

    #[test]
    fn no_stand_in_colour_is_left() {
        let series: Vec<Series> =
            (0..13).map(|i| Series { ink: Ink(i), points: vec![(1.0, 2.0), (2.0, i as f64)], marked: true }).collect();
        let svg = lines(&Axis { x: "steps".into(), y: "nats".into() }, &series, None, 13);
        assert!(!svg.contains("\"#"), "{svg}");
        assert!(svg.contains("var(--ink-6)") && svg.contains("stroke-dasharray=\"7 3\""));
        assert!(svg.contains("currentColor") && svg.contains("var(--grid)"));
    }
}
