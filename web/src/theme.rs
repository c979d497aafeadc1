//! Letters and distances: sizes that a person can scale.

use eframe::egui::{ComboBox, Context, FontId, TextStyle, ThemePreference, Ui};

/// Follows the system's light or dark theme, with text a little larger than egui's.
pub fn apply(ctx: &Context) {
    ctx.set_theme(ThemePreference::System);
    ctx.all_styles_mut(|style| {
        style.text_styles.insert(TextStyle::Body, FontId::proportional(14.5));
        style.text_styles.insert(TextStyle::Button, FontId::proportional(14.5));
        style.text_styles.insert(TextStyle::Small, FontId::proportional(12.0));
        style.spacing.item_spacing.y = 5.0;
    });
}

/// Light, dark, or as the system has it.
pub fn choice(ui: &mut Ui) {
    let mut chosen = ui.ctx().options(|options| options.theme_preference);
    let words =
        [(ThemePreference::System, "system"), (ThemePreference::Light, "light"), (ThemePreference::Dark, "dark")];
    let shown = words.iter().find(|(theme, _)| *theme == chosen).map_or("", |(_, word)| word);
    ComboBox::from_id_salt("theme").selected_text(shown).width(72.0).show_ui(ui, |ui| {
        for (theme, word) in words {
            ui.selectable_value(&mut chosen, theme, word);
        }
    });
    ui.ctx().set_theme(chosen);
}
