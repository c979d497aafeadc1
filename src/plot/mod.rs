//! Plots as SVG, in colours that follow the reader's theme; shared by all reports.
//!
//! plotters draws with placeholder colours. They become CSS variables, which a report's page defines or [`standalone`]
//! puts into the file itself.

mod histogram;
mod ink;
mod lines;

use std::io;
use std::ops::Range;

use plotters::coord::CoordTranslate;
use plotters::coord::Shift;
use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};
use plotters::prelude::*;
use plotters::style::FontTransform;

pub use histogram::{Bins, Bound, histogram};
pub use ink::Ink;
pub(crate) use ink::{FOREGROUND, GRID, palette};
pub use lines::{Axis, Scale, Series, lines};

use ink::{Marker, themed};

/// Width and height of every plot, in pixels before the page scales it.
pub(crate) const SIZE: (u32, u32) = (640, 380);

/// The result of drawing; drawing to a string never fails.
pub(crate) type Drawn<T = ()> = Result<T, DrawingAreaErrorKind<io::Error>>;
/// A drawing area.
pub(crate) type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Axes and grid in the page's colours.
macro_rules! mesh {
    ($chart:expr) => {
        $chart
            .configure_mesh()
            .axis_style(crate::plot::FOREGROUND)
            .bold_line_style(crate::plot::GRID)
            .light_line_style(plotters::style::TRANSPARENT)
            .label_style(crate::plot::font())
            .axis_desc_style(crate::plot::font())
    };
}
pub(crate) use mesh;

/// A chart with margins for its axis labels; `left` is the width of the margin for the vertical axis.
pub(crate) fn chart<'a, 'svg>(area: &'a Area<'svg>, left: u32) -> ChartBuilder<'a, 'static, SVGBackend<'svg>> {
    let mut chart = ChartBuilder::on(area);
    chart.margin(10).margin_right(24).x_label_area_size(48).y_label_area_size(left);
    chart
}

/// Room for the numbers of a vertical axis.
pub(crate) const NUMBERS: u32 = 64;

/// One SVG element with `n_inks` inks.
pub(crate) fn drawn(n_inks: usize, draw: impl FnOnce(&Area<'_>) -> Drawn) -> String {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        draw(&area).and_then(|()| area.present()).expect("a string takes whatever is drawn");
    }
    themed(&svg, n_inks)
}

/// A linear axis with ticks at exactly these positions.
pub(crate) struct Ticks {
    pub range: Range<f64>,
    pub at: Vec<f64>,
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

/// The font of a plot.
pub(crate) fn font() -> TextStyle<'static> {
    ("sans-serif", 17).into_font().transform(FontTransform::None).color(&FOREGROUND)
}

/// The series' marker at every point.
pub(crate) fn mark<Plane: CoordTranslate<From = (f64, f64)>>(
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

/// A range that includes all values, with a margin at both ends; never empty.
pub(crate) fn padded(values: impl Iterator<Item = f64>) -> Range<f64> {
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
    if low > high {
        return 0.0..1.0;
    }
    let room = (0.06 * (high - low)).max(1e-3 * high.abs()).max(1e-9);
    low - room..high + room
}

/// `1.2M`, `600k`, `50`, `0.25`.
pub(crate) fn short(value: f64) -> String {
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

/// Escapes text for HTML and SVG.
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// One panel of a standalone picture.
pub struct Panel {
    /// Its title, which is also its accessible text.
    pub title: String,
    /// A plot from [`lines`] or [`histogram`].
    pub svg: String,
    /// The inks and their labels.
    pub legend: Vec<(Ink, String)>,
}

/// Panels stacked in a standalone file with the colours of both themes, for use in an `<img>`.
pub fn standalone(title: &str, panels: &[Panel]) -> String {
    const HEAD: u32 = 34;
    const LEGEND_ROW: u32 = 22;
    let (width, plot_height) = SIZE;
    let mut body = String::new();
    let mut top = 0;
    for Panel { title, svg, legend } in panels {
        let inner = svg.split_once('>').expect("an svg element").1.trim_end().trim_end_matches("</svg>");
        let words = format!(
            "<text x=\"{}\" y=\"22\" text-anchor=\"middle\" class=\"title\">{}</text>",
            width / 2,
            escape(title)
        );
        let rows = legend.len().div_ceil(2) as u32;
        let items: String = legend
            .iter()
            .enumerate()
            .map(|(at, (ink, name))| {
                let (x, y) = (70 + 290 * (at % 2), HEAD + plot_height + 4 + LEGEND_ROW * (at / 2) as u32);
                let name = escape(name);
                format!("<g transform=\"translate({x} {y})\">{}<text x=\"48\" y=\"12\">{name}</text></g>", ink.sample())
            })
            .collect();
        body += &format!(
            "<g transform=\"translate(0 {top})\">{words}<g transform=\"translate(0 {HEAD})\">{inner}</g>{items}</g>\n"
        );
        top += HEAD + plot_height + LEGEND_ROW * rows + 14;
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {top}\" width=\"{width}\" height=\"{top}\" role=\"img\">\n\
         <title>{}</title>\n<style>svg {{ color: #1a1a1a; --grid: #dddddd; --paper: #ffffff; }}\n\
         @media (prefers-color-scheme: dark) {{ svg {{ color: #ececec; --grid: #34383d; --paper: #16181b; }} }}\n\
         text {{ font-family: system-ui, sans-serif; font-size: 14px; fill: currentColor; }} .title {{ font-size: 16px; font-weight: 600; }}\n{}</style>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"var(--paper)\"/>\n{body}</svg>\n",
        escape(title),
        palette()
    )
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
        assert_eq!(escape("<a & \"b\">"), "&lt;a &amp; &quot;b&quot;&gt;");
    }

    #[test]
    fn a_file_on_its_own_has_its_colours_and_its_words() {
        let panel =
            Panel { title: "a < b".into(), svg: drawn(1, |_| Ok(())), legend: vec![(Ink(0), "rows & columns".into())] };
        let svg = standalone("both", &[panel]);
        for words in ["a &lt; b", "rows &amp; columns", "--ink-0:", "prefers-color-scheme: dark", "<title>both</title>"]
        {
            assert!(svg.contains(words), "{words}:\n{svg}");
        }
        assert_eq!(svg.matches("<svg").count(), 1, "one element: {svg}");
        assert_eq!(svg.matches("</svg>").count(), 1);
    }
}
