//! The views. Each draws what the lab knows and changes its settings; none computes.

mod fixed_point;
mod formula;
mod heat_map;
mod lesson;
mod memory;
mod newton_schulz;
mod spectrum;
mod train;

pub use heat_map::HeatMap;

use eframe::egui::{self, RichText, Ui};

use crate::lab::Lab;
use crate::settings::Panel;

/// The view of every panel.
macro_rules! views {
    ($($panel:ident: $module:ident::$view:ident;)+) => {
        /// What the views keep from frame to frame.
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
    Train: train::TrainPanel;
    Spectrum: spectrum::SpectrumPanel;
    FixedPoint: fixed_point::FixedPointPanel;
    NewtonSchulz: newton_schulz::NewtonSchulzPanel;
    Memory: memory::MemoryPanel;
    Lesson: lesson::LessonPanel;
}

/// What to look for in a plot: one or two sentences below it.
pub fn caption(ui: &mut Ui, words: &str) {
    ui.label(RichText::new(words).small().weak());
    ui.add_space(6.0);
}

/// Several columns where there is room, one below the other on a phone.
pub fn columns(ui: &mut Ui, wanted: usize, mut draw: impl FnMut(&mut Ui, usize)) {
    if ui.available_width() < 340.0 * wanted as f32 {
        for index in 0..wanted {
            draw(ui, index);
        }
    } else {
        ui.columns(wanted, |columns| columns.iter_mut().enumerate().for_each(|(index, ui)| draw(ui, index)));
    }
}

/// A number with what it means, the meaning on hover.
pub fn reading(ui: &mut Ui, name: &str, value: String, meaning: &str) {
    ui.vertical(|ui| {
        ui.label(RichText::new(name).small().weak()).on_hover_text(meaning);
        ui.label(RichText::new(value).monospace().strong()).on_hover_text(meaning);
    });
    ui.add_space(8.0);
}

/// Height of a plot that shares the view with another.
pub fn half_height(ui: &Ui) -> f32 {
    (0.42 * ui.ctx().content_rect().height()).clamp(180.0, 420.0)
}

/// Words where there is nothing to show yet.
pub fn nothing_yet(ui: &mut Ui, words: &str) {
    ui.add_space(24.0);
    ui.vertical_centered(|ui| ui.label(RichText::new(words).weak()));
}

/// A choice among words.
pub fn choice(ui: &mut Ui, label: &str, chosen: &mut String, options: &[String]) -> bool {
    let before = chosen.clone();
    egui::ComboBox::from_label(label).selected_text(chosen.clone()).width(150.0).show_ui(ui, |ui| {
        for option in options {
            ui.selectable_value(chosen, option.clone(), option);
        }
    });
    *chosen != before
}
