//! Curves, in the plot and in the legend.

use eframe::egui::{self, Color32, FontId, Pos2, Rect, Sense, Shape, Stroke, Ui, pos2, vec2};

use super::Frame;
use crate::theme::CAPTION;

/// Dash pattern, so that curves can be told apart without colour.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Dash {
    /// No gaps.
    Solid,
    /// Long dashes.
    Long,
    /// Dots.
    Dots,
    /// Short dashes.
    Short,
}

impl Dash {
    /// Cycles through all.
    pub fn of(index: usize) -> Self {
        [Self::Solid, Self::Long, Self::Dots, Self::Short][index % 4]
    }
}

/// Marker of a data point.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mark {
    /// A filled circle.
    Circle,
    /// A filled square.
    Square,
    /// A triangle pointing up.
    Triangle,
    /// A square on its corner.
    Diamond,
}

impl Mark {
    /// Cycles through all.
    pub fn of(index: usize) -> Self {
        [Self::Circle, Self::Square, Self::Triangle, Self::Diamond][index % 4]
    }
}

/// Points joined by a line, marked, or both.
#[derive(Clone)]
pub struct Curve {
    /// Shown in the legend and at the pointer; unnamed curves are not in the legend.
    pub name: String,
    /// x and y, unscaled.
    pub points: Vec<[f64; 2]>,
    /// Color of line and markers.
    pub color: Color32,
    /// Dash pattern of the line.
    pub dash: Dash,
    /// Marker of each point.
    pub mark: Option<Mark>,
    /// Line width in screen points; 0 for no line.
    pub width: f32,
}

impl Curve {
    /// A line without marks.
    pub fn line(name: impl Into<String>, color: Color32, points: Vec<[f64; 2]>) -> Self {
        Self { name: name.into(), points, color, dash: Dash::Solid, mark: None, width: 1.8 }
    }

    /// With this dash pattern.
    pub fn dashed(self, dash: Dash) -> Self {
        Self { dash, ..self }
    }

    /// With a mark at every point.
    pub fn marked(self, mark: Mark) -> Self {
        Self { mark: Some(mark), ..self }
    }

    /// Thin and pale, as a background to other curves.
    pub fn faint(self) -> Self {
        Self { color: self.color.gamma_multiply(0.45), width: 1.0, ..self }
    }

    /// Without a line, for marks only.
    pub fn loose(self) -> Self {
        Self { width: 0.0, ..self }
    }
}

/// The names of the curves, each with its dash pattern and marker.
pub(super) fn legend(ui: &mut Ui, curves: &[Curve]) {
    let mut named: Vec<&Curve> = curves.iter().filter(|curve| !curve.name.is_empty()).collect();
    named.dedup_by(|one, other| one.name == other.name);
    if named.is_empty() {
        return;
    }
    ui.horizontal_wrapped(|ui| {
        ui.spacing_mut().interact_size.y = CAPTION + 4.0;
        for curve in named {
            // Keep the sample and its name on one line.
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

pub(super) fn paint_curve(painter: &egui::Painter, frame: Frame, curve: &Curve) {
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

/// At most 800 points, including the last; a plot cannot show more.
fn thinned(points: &[[f64; 2]]) -> Vec<[f64; 2]> {
    let stride = points.len().div_ceil(800).max(1);
    let mut kept: Vec<[f64; 2]> = points.iter().rev().step_by(stride).copied().collect();
    kept.reverse();
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_point_stays() {
        let points: Vec<[f64; 2]> = (0..5000).map(|at| [f64::from(at), 0.0]).collect();
        let kept = thinned(&points);
        assert!(kept.len() <= 800 && kept.last() == Some(&[4999.0, 0.0]) && kept.is_sorted());
    }
}
