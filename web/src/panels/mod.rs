//! The six views. Each draws what the lab knows and changes its settings; none computes.

mod fixed_point;
mod formula;
mod heat_map;
mod lesson;
mod memory;
mod newton_schulz;
mod spectrum;
mod train;

pub use fixed_point::FixedPointPanel;
pub use heat_map::HeatMap;
pub use lesson::LessonPanel;
pub use memory::MemoryPanel;
pub use newton_schulz::NewtonSchulzPanel;
pub use spectrum::SpectrumPanel;
pub use train::TrainPanel;

use eframe::egui::{self, RichText, Ui};

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
