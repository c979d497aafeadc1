//! Colours, dashes and markers: distinguishable without colour, and on the background of either theme.

use plotters::style::RGBColor;

/// How a series is drawn: a colour, a dash pattern and a marker, by number.
#[derive(Clone, Copy)]
pub struct Ink(pub usize);

/// Colours of Okabe and Ito (2008), distinguishable with any common colour blindness; darkened for the light theme and
/// lightened for the dark one where the background requires it.
const LIGHT: [&str; 7] = ["#0072b2", "#c04a00", "#007a59", "#a8508a", "#9a6a00", "#5c5c5c", "#2a8fc7"];
const DARK: [&str; 7] = ["#4aa8e8", "#ff8a3d", "#2fc79a", "#e59ac8", "#f0b429", "#b8b8b8", "#8fd3ff"];

/// Dash patterns, alternating with the colours: nine of them and seven colours repeat after sixty-three.
const DASHES: [&str; 9] = ["", "7 3", "2 3", "9 3 2 3", "12 4", "4 2", "9 3 2 3 2 3", "1 2", "14 3 4 3"];

/// The shape at an evaluation.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Marker {
    Circle,
    Square,
    Triangle,
    Diamond,
    Cross,
}

impl Ink {
    /// The placeholder colour that plotters draws this series with, until [`themed`] replaces it.
    pub(crate) fn key(self) -> RGBColor {
        RGBColor(1, 0, self.0 as u8)
    }

    pub(super) fn marker(self) -> Marker {
        [Marker::Circle, Marker::Square, Marker::Triangle, Marker::Diamond, Marker::Cross][self.0 % 5]
    }

    fn variable(self) -> String {
        format!("var(--ink-{})", self.0 % LIGHT.len())
    }

    fn dash(self) -> &'static str {
        DASHES[self.0 % DASHES.len()]
    }

    /// A sample of the series' line, for a legend.
    pub(crate) fn swatch(self) -> String {
        format!(
            "<svg class=\"swatch\" width=\"40\" height=\"14\" viewBox=\"0 0 40 14\" aria-hidden=\"true\">{}</svg>",
            self.sample()
        )
    }

    /// The same without an enclosing element, 40 wide and 14 high.
    pub(super) fn sample(self) -> String {
        let (ink, dash) = (self.variable(), self.dash());
        let shape = match self.marker() {
            Marker::Circle => format!("<circle cx=\"20\" cy=\"7\" r=\"4\" fill=\"{ink}\"/>"),
            Marker::Square => format!("<rect x=\"16\" y=\"3\" width=\"8\" height=\"8\" fill=\"{ink}\"/>"),
            Marker::Triangle => format!("<polygon points=\"20,2 25,11 15,11\" fill=\"{ink}\"/>"),
            Marker::Diamond => format!("<polygon points=\"20,1.5 25.5,7 20,12.5 14.5,7\" fill=\"{ink}\"/>"),
            Marker::Cross => format!("<path d=\"M16 3 L24 11 M24 3 L16 11\" stroke=\"{ink}\" stroke-width=\"2\"/>"),
        };
        format!("<path d=\"M0 7 H40\" stroke=\"{ink}\" stroke-width=\"2\" stroke-dasharray=\"{dash}\"/>{shape}")
    }
}

/// The placeholder colour for axes, grid and text, until [`themed`] replaces it.
pub(crate) const FOREGROUND: RGBColor = RGBColor(2, 0, 0);
pub(crate) const GRID: RGBColor = RGBColor(3, 0, 0);

/// Replaces placeholder colours by the page's, so that the plot follows the reader's theme.
pub(super) fn themed(svg: &str, n_series: usize) -> String {
    let hex = |RGBColor(r, g, b): RGBColor| format!("\"#{r:02X}{g:02X}{b:02X}\"");
    let mut themed = svg.replace(&hex(FOREGROUND), "\"currentColor\"").replace(&hex(GRID), "\"var(--grid)\"");
    for ink in (0..n_series).map(Ink) {
        let (key, own) = (hex(ink.key()), ink.variable());
        if !ink.dash().is_empty() {
            let line = format!("<polyline fill=\"none\" opacity=\"1\" stroke={key}");
            themed = themed.replace(&line, &format!("{line} stroke-dasharray=\"{}\"", ink.dash()));
        }
        themed = themed.replace(&key, &format!("\"{own}\""));
    }
    themed
}

/// The colours of both themes as CSS variables.
pub(crate) fn palette() -> String {
    let list = |colours: [&str; 7]| -> String {
        colours.iter().enumerate().map(|(index, colour)| format!(" --ink-{index}: {colour};")).collect()
    };
    let (light, dark) = (list(LIGHT), list(DARK));
    format!(":root {{{light} }}\n@media (prefers-color-scheme: dark) {{ :root {{{dark} }} }}\n")
}
