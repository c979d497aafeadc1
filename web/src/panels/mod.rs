//! The views. Each draws the lab's state and changes its settings; none computes anything.

mod formula;
mod lesson;
mod memory;
mod newton_schulz;
mod train;
mod watch;
mod why;

#[cfg(test)]
pub use lesson::tasks_and_answers;
pub use watch::card_place;

use eframe::egui::{self, Color32, Rect, RichText, Sense, Ui, pos2, vec2};

use crate::lab::Lab;
use crate::settings::Panel;
use crate::theme::{SECTION, colors, text_width};

/// Lists the view of every panel.
macro_rules! views {
    ($($panel:ident: $module:ident::$view:ident;)+) => {
        /// What the views keep between frames.
        #[derive(Default)]
        pub struct Views {
            $(pub $module: $module::$view,)+
        }

        impl Views {
            /// Draws the view of a panel.
            pub fn show(&mut self, panel: Panel, ui: &mut Ui, lab: &mut Lab) {
                match panel {
                    $(Panel::$panel => self.$module.show(ui, lab),)+
                }
            }
        }
    };
}

views! {
    Watch: watch::WatchPanel;
    Why: why::WhyPanel;
    Lesson: lesson::LessonPanel;
    Train: train::TrainPanel;
    NewtonSchulz: newton_schulz::NewtonSchulzPanel;
    Memory: memory::MemoryPanel;
}

/// Relative distance from its target within which a row or column length counts as balanced.
const SETTLED: f32 = 0.01;
/// The smallest deviation to plot: with float32 rounding, a deviation of zero comes out smaller than this.
const FLOOR: f64 = 1e-7;

/// Tells the reader what to look for in a plot, in a few sentences below it.
pub fn caption(ui: &mut Ui, words: &str) {
    ui.label(RichText::new(words).small().color(colors(ui).secondary));
    ui.add_space(6.0);
}

/// A readable name for a matrix: `down_proj of layer 0`.
pub fn short_name(parameter: &str) -> String {
    let bare = parameter.trim_end_matches(".weight");
    let last = bare.rsplit('.').next().unwrap_or(bare);
    match bare.strip_prefix("model.layers.").and_then(|rest| rest.split_once('.')) {
        Some((layer, _)) => format!("{last} of layer {layer}"),
        None => last.to_owned(),
    }
}

/// Side-by-side columns where there is room, stacked on a phone.
pub fn columns(ui: &mut Ui, wanted: usize, mut draw: impl FnMut(&mut Ui, usize)) {
    if ui.available_width() < 340.0 * wanted as f32 {
        for index in 0..wanted {
            draw(ui, index);
        }
    } else {
        // egui justifies its columns, which would also justify the text in them.
        let mut draw = |(index, ui): (usize, &mut Ui)| ui.vertical(|ui| draw(ui, index));
        ui.columns(wanted, |columns| {
            columns.iter_mut().enumerate().for_each(|column| {
                draw(column);
            });
        });
    }
}

/// Starts a new line of a wrapped row if a group of widgets of this width no longer fits.
fn wrap_as_one(ui: &mut Ui, width: f32) {
    if ui.layout().main_wrap() && ui.available_size_before_wrap().x < width + 2.0 {
        ui.end_row();
    }
}

/// A colour scale for shares from 0 to 1.
pub fn color_bar(ui: &mut Ui, width: f32, color: impl Fn(f32) -> Color32) {
    let (bar, _) = ui.allocate_exact_size(vec2(width, 10.0), Sense::hover());
    let count = (width / 2.0) as usize;
    for at in 0..count {
        let left = bar.left() + 2.0 * at as f32;
        let stripe = Rect::from_min_size(pos2(left, bar.top()), vec2(2.0, bar.height()));
        ui.painter().rect_filled(stripe, 0.0, color(at as f32 / (count - 1).max(1) as f32));
    }
}

/// At most one value per screen point: among those that share a point, the one farthest from 0.
pub fn extremes(values: &[f32], length: f32) -> Vec<f32> {
    let count = values.len().min(length as usize).max(1);
    let farthest = |at: usize| {
        let part = &values[at * values.len() / count..(at + 1) * values.len() / count];
        part.iter().copied().fold(0.0, |a: f32, b| if b.abs() > a.abs() { b } else { a })
    };
    (0..count).map(farthest).collect()
}

/// A labelled number that shows its meaning on hover.
pub fn reading(ui: &mut Ui, name: &str, value: String, meaning: &str) {
    wrap_as_one(ui, text_width(ui, name, egui::TextStyle::Small));
    ui.vertical(|ui| {
        ui.spacing_mut().item_spacing.y = 1.0;
        ui.label(RichText::new(name).small().color(colors(ui).secondary)).on_hover_text(meaning);
        ui.label(RichText::new(value).size(SECTION).strong()).on_hover_text(meaning);
    });
    ui.add_space(8.0);
}

/// Height of a plot that shares the view with another one.
pub fn half_height(ui: &Ui) -> f32 {
    (0.42 * ui.ctx().content_rect().height()).clamp(180.0, 420.0)
}

/// Height left between the last widget and the bottom of the window, minus a chart's title and legend.
pub fn rest_of_window(ui: &Ui) -> f32 {
    ui.clip_rect().bottom() - ui.cursor().top() - 76.0
}

/// A message in place of content that does not exist yet.
pub fn nothing_yet(ui: &mut Ui, words: &str) {
    ui.add_space(24.0);
    ui.vertical_centered(|ui| ui.label(RichText::new(words).weak()));
}

/// A slider after its label.
pub fn slider(ui: &mut Ui, label: &str, enabled: bool, slider: egui::Slider<'_>) {
    let width = text_width(ui, label, egui::TextStyle::Body) + ui.spacing().slider_width + 80.0;
    wrap_as_one(ui, width);
    ui.horizontal(|ui| {
        if width > ui.available_width() {
            ui.spacing_mut().slider_width = 80.0;
        }
        ui.label(label);
        ui.add_enabled(enabled, slider);
    });
}

/// A choice among words, its label before it.
pub fn choice(ui: &mut Ui, label: &str, chosen: &mut String, options: &[String]) -> bool {
    let before = chosen.clone();
    // A label and what it names stay on one line.
    let label_width = text_width(ui, label, egui::TextStyle::Body);
    wrap_as_one(ui, label_width + 140.0 + ui.spacing().item_spacing.x);
    ui.horizontal(|ui| {
        ui.label(label);
        egui::ComboBox::from_id_salt(label).selected_text(chosen.clone()).width(120.0).show_ui(ui, |ui| {
            for option in options {
                ui.selectable_value(chosen, option.clone(), option);
            }
        });
    });
    *chosen != before
}

#[cfg(test)]
mod tests {
    use super::{extremes, short_name};

    #[test]
    fn matrices_are_called_as_one_says_it() {
        assert_eq!(short_name("model.layers.3.mlp.down_proj.weight"), "down_proj of layer 3");
        assert_eq!(short_name("model.embed_tokens.weight"), "embed_tokens");
        assert_eq!(short_name("lm_head.weight"), "lm_head");
        assert_eq!(short_name("mine"), "mine");
    }

    #[test]
    fn of_values_that_share_a_point_the_farthest_from_zero_is_drawn() {
        assert_eq!(extremes(&[1.0, -3.0, 2.0, 0.5, 0.0, 0.1], 3.4), [-3.0, 2.0, 0.1]);
        assert_eq!(extremes(&[1.0, 2.0], 100.0), [1.0, 2.0]);
        assert_eq!(extremes(&[], 10.0), [0.0]);
    }
}
