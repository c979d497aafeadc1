//! A card to share: the gradient before and after its passes, its convergence, and the link.

use eframe::egui::{Align2, Color32, FontId, Rect, Ui, pos2, vec2};

use super::convergence::ConvergencePlot;
use super::matrix::MatrixView;
use super::{Scene, part, steps_in_words};
use crate::lab::{CARD, Moment};
use crate::panels::short_name;
use crate::platform;
use crate::theme::colors;

/// The largest rectangle on the screen with a card's proportions.
pub fn place(screen: Rect) -> Rect {
    let scale = (screen.width() / CARD[0] as f32).min(screen.height() / CARD[1] as f32).min(1.0);
    Rect::from_min_size(screen.min, scale * vec2(CARD[0] as f32, CARD[1] as f32))
}

/// Characters of a link that fit.
const MOST_SIGNS: usize = 100;

/// Cuts text that is too long, with an ellipsis.
fn shortened(words: &str, most: usize) -> String {
    if words.chars().count() <= most {
        return words.to_owned();
    }
    words.chars().take(most - 1).chain(['…']).collect()
}

/// Draws the card over everything else.
pub(super) fn show(
    ui: &mut Ui,
    scene: &Scene<'_>,
    rect: Rect,
    matrix: &mut MatrixView,
    convergence: &mut ConvergencePlot,
) {
    let colors = colors(ui);
    ui.painter().rect_filled(rect.expand(2.0), 0.0, colors.surface);
    let unit = rect.height() / CARD[1] as f32;
    let inside = rect.shrink(36.0 * unit);
    let text = |at, align, words: &str, size: f32, color: Color32| {
        ui.painter().text(at, align, words, FontId::proportional(size * unit), color);
    };
    text(inside.min, Align2::LEFT_TOP, "Watch a gradient become balanced", 44.0, colors.text);
    let record = &scene.looks[0].followed.record;
    let [m, n] = record.shape;
    let name = short_name(&record.parameter);
    let words = if scene.lab.opened.is_some() {
        format!("{name}, {m}×{n}")
    } else if scene.lab.shows_recorded() {
        format!("a recorded gradient of {name}, {m}×{n}")
    } else {
        format!("{name}, {m}×{n}, after {} of training", steps_in_words(record.step))
    };
    text(inside.min + vec2(0.0, 58.0 * unit), Align2::LEFT_TOP, &words, 24.0, colors.secondary);
    text(inside.left_bottom(), Align2::LEFT_BOTTOM, "multinorm lab", 22.0, colors.accent);
    let link = shortened(&platform::address(&scene.lab.link()), MOST_SIGNS);
    text(inside.right_bottom(), Align2::RIGHT_BOTTOM, &link, 18.0, colors.secondary);
    let body = Rect::from_min_max(
        pos2(inside.left(), inside.top() + 100.0 * unit),
        pos2(inside.right(), inside.bottom() - 40.0 * unit),
    );
    let (gap, width) = (24.0 * unit, body.width());
    let matrices = Rect::from_min_size(body.min, vec2(0.5 * width, body.height()));
    let half = vec2(matrices.width(), (matrices.height() - gap) / 2.0);
    let last = scene.passes(0).len() - 1;
    for (at, pass) in [0, last].into_iter().enumerate() {
        let place = Rect::from_min_size(matrices.min + vec2(0.0, at as f32 * (half.y + gap)), half);
        let moment = Moment { pass, before: pass, done: 1.0, next: None };
        let scene = Scene { lab: scene.lab, looks: scene.looks.clone(), names: scene.names.clone(), moment };
        part(ui, if at == 0 { "card before" } else { "card after" }, place, |ui| matrix.one(ui, &scene, 0, half));
    }
    let plot = Rect::from_min_max(pos2(matrices.right() + gap, body.top()), body.max);
    let moment = Moment { pass: last, before: last, done: 1.0, next: None };
    let scene = Scene { lab: scene.lab, looks: scene.looks.clone(), names: scene.names.clone(), moment };
    part(ui, "card plot", plot, |ui| convergence.show(ui, &scene, None, &mut Vec::new()));
}

#[cfg(test)]
mod tests {
    use super::shortened;

    #[test]
    fn a_long_link_ends_in_dots() {
        assert_eq!(shortened("panel=why", 9), "panel=why");
        assert_eq!(shortened("panel=watch&step=3", 9), "panel=wa…");
    }
}
