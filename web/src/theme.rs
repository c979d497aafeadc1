//! Letters and distances: sizes that a person can scale.

use eframe::egui::{ComboBox, Context, FontDefinitions, FontFamily, FontId, TextStyle, ThemePreference, Ui};

/// Follows the system's light or dark theme, with text a little larger than egui's, and signs of mathematics in it.
pub fn apply(ctx: &Context) {
    let mut fonts = FontDefinitions::default();
    let monospace = fonts.families.get(&FontFamily::Monospace).cloned().unwrap_or_default();
    fonts.families.entry(FontFamily::Proportional).or_default().extend(monospace);
    ctx.set_fonts(fonts);
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use eframe::egui::{Context, FontId, RawInput};

    /// What stands in the sources beyond ASCII, comments and tests aside.
    fn signs(folder: &Path, found: &mut BTreeSet<char>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                signs(&path, found);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]").next().unwrap();
            let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
            found.extend(lines.flat_map(str::chars).filter(|sign| !sign.is_ascii()));
        }
    }

    #[test]
    fn the_fonts_have_every_sign_that_is_shown() {
        let mut found = BTreeSet::new();
        signs(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
        assert!(found.contains(&'√'), "{found:?}");
        let ctx = Context::default();
        super::apply(&ctx);
        let _ = ctx.run_ui(RawInput::default(), |_| ());
        let fonts = [FontId::proportional(14.0), FontId::monospace(14.0)];
        let missing = |sign: &char| ctx.fonts_mut(|of| fonts.iter().any(|font| !of.has_glyph(font, *sign)));
        let missing: Vec<char> = found.into_iter().filter(missing).collect();
        assert_eq!(missing, [], "shown as empty boxes");
    }
}
