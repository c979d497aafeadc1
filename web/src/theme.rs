//! The look of the lab in one place: type scale, spacing, two themes, and the optimizers' colours.

use std::sync::Arc;

use eframe::egui::style::{Spacing, WidgetVisuals};
use eframe::egui::{
    Color32, ComboBox, Context, CornerRadius, FontData, FontDefinitions, FontFamily, FontId, Id, Response, RichText,
    Stroke, TextStyle, Theme, ThemePreference, Ui, Visuals, vec2,
};
use multinorm::config::optimizer_names;

/// Text sizes in points: captions and ticks, body, plot headings, view headings.
pub const CAPTION: f32 = 12.5;
/// See [`CAPTION`].
pub const BODY: f32 = 14.5;
/// See [`CAPTION`].
pub const SECTION: f32 = 16.0;
/// See [`CAPTION`].
pub const TITLE: f32 = 22.0;

/// The minimum height of a touch target.
pub const TOUCH: f32 = 44.0;
/// The minimum height of a mouse target.
const CLICK: f32 = 26.0;

/// The colours of a theme by purpose. Every text colour has a contrast of at least 4.5:1 on both surfaces.
pub struct Colors {
    /// Behind everything.
    pub surface: Color32,
    /// Behind plots.
    pub panel: Color32,
    /// Primary text.
    pub text: Color32,
    /// Captions, ticks, units.
    pub secondary: Color32,
    /// The grid behind data.
    pub grid: Color32,
    /// Edges of plots and widgets.
    pub edge: Color32,
    /// The primary action, selections and cursors.
    pub accent: Color32,
    /// Text on the accent colour.
    pub on_accent: Color32,
    /// Behind selected or hovered items.
    pub chosen: Color32,
    /// Rows or columns that have converged.
    pub settled: Color32,
    /// Rows: their lengths and deviations.
    pub rows: Color32,
    /// Columns.
    pub columns: Color32,
    /// Entries of a matrix above zero.
    pub positive: Color32,
    /// Entries below zero.
    pub negative: Color32,
    /// Success.
    pub good: Color32,
    /// Errors.
    pub bad: Color32,
}

const fn rgb(hex: u32) -> Color32 {
    Color32::from_rgb((hex >> 16) as u8, (hex >> 8) as u8, hex as u8)
}

const LIGHT: Colors = Colors {
    surface: rgb(0xffffff),
    panel: rgb(0xf7f8fa),
    text: rgb(0x1b1e23),
    secondary: rgb(0x565d68),
    grid: rgb(0xe2e5ea),
    edge: rgb(0xb4bac4),
    accent: rgb(0x0b57b0),
    on_accent: rgb(0xffffff),
    chosen: rgb(0xdce9fa),
    settled: rgb(0xc3c9d2),
    rows: rgb(0x7a3fa8),
    columns: rgb(0x00766c),
    positive: rgb(0x0072b2),
    negative: rgb(0xc04a00),
    good: rgb(0x19733b),
    bad: rgb(0xb3261e),
};

const DARK: Colors = Colors {
    surface: rgb(0x16181b),
    panel: rgb(0x1d2024),
    text: rgb(0xeceef1),
    secondary: rgb(0xa9b1bd),
    grid: rgb(0x2d3239),
    edge: rgb(0x59616c),
    accent: rgb(0x6cb2ff),
    on_accent: rgb(0x10151b),
    chosen: rgb(0x23405f),
    settled: rgb(0x4d545e),
    rows: rgb(0xc79bec),
    columns: rgb(0x4fc9bb),
    positive: rgb(0x4aa8e8),
    negative: rgb(0xff8a3d),
    good: rgb(0x63cf8d),
    bad: rgb(0xff8a80),
};

/// The colours of `ui`'s current theme.
pub fn colors(ui: &Ui) -> &'static Colors {
    if ui.visuals().dark_mode { &DARK } else { &LIGHT }
}

/// The colours of series without an optimizer (Okabe & Ito 2008; lighter on a dark background).
const SERIES: [[Color32; 6]; 2] = [
    [rgb(0x0072b2), rgb(0xc04a00), rgb(0x007a59), rgb(0xa8508a), rgb(0x946600), rgb(0x5c5c5c)],
    [rgb(0x4aa8e8), rgb(0xff8a3d), rgb(0x2fc79a), rgb(0xe59ac8), rgb(0xf0b429), rgb(0xb8b8b8)],
];

/// The colour of series `index`.
pub fn series(ui: &Ui, index: usize) -> Color32 {
    let palette = SERIES[usize::from(ui.visuals().dark_mode)];
    palette[index % palette.len()]
}

/// The optimizers compared most often get the colours easiest to tell apart, also for colour-blind readers.
const KNOWN: [(&str, usize); 6] = [("sinkgd", 0), ("adam", 1), ("muon", 2), ("swan", 3), ("scale", 4), ("adamw", 5)];

/// The colour of an optimizer, the same everywhere. An opened run is named after its folder and gets the first colour.
pub fn optimizer(ui: &Ui, name: &str) -> Color32 {
    optimizer_color(ui.visuals().dark_mode, name)
}

fn optimizer_color(dark: bool, name: &str) -> Color32 {
    if let Some((_, index)) = KNOWN.iter().find(|(known, _)| *known == name) {
        return SERIES[usize::from(dark)][*index];
    }
    match optimizer_names().iter().position(|other| *other == name) {
        // The golden angle keeps neighbours in the catalog far apart.
        Some(at) => oklch(if dark { 0.77 } else { 0.50 }, 0.11, 20.0 + 137.508 * at as f64),
        None => SERIES[usize::from(dark)][0],
    }
}

/// A colour by lightness, chroma and hue in degrees (Ottosson 2020, "A perceptual color space for image processing").
fn oklch(lightness: f64, chroma: f64, hue: f64) -> Color32 {
    let (b, a) = hue.to_radians().sin_cos();
    let (a, b) = (chroma * a, chroma * b);
    let cube = |x: f64| x * x * x;
    let l = cube(lightness + 0.396_337_777_4 * a + 0.215_803_757_3 * b);
    let m = cube(lightness - 0.105_561_345_8 * a - 0.063_854_172_8 * b);
    let s = cube(lightness - 0.089_484_177_5 * a - 1.291_485_548_0 * b);
    let linear = [
        4.076_741_662_1 * l - 3.307_711_591_3 * m + 0.230_969_929_2 * s,
        -1.268_438_004_6 * l + 2.609_757_401_1 * m - 0.341_319_396_5 * s,
        -0.004_196_086_3 * l - 0.703_418_614_7 * m + 1.707_614_701_0 * s,
    ];
    let gamma = |x: f64| if x <= 0.003_130_8 { 12.92 * x } else { 1.055 * x.powf(1.0 / 2.4) - 0.055 };
    let [r, g, b] = linear.map(|x| (255.0 * gamma(x).clamp(0.0, 1.0)).round() as u8);
    Color32::from_rgb(r, g, b)
}

/// A ramp for ordered values: as `share` goes from 0 to 1, from dark violet through teal to yellow, within the
/// lightness that suits the theme (shaped like viridis, van der Walt & Smith 2015).
pub fn ramp(ui: &Ui, share: f64) -> Color32 {
    ramp_color(ui.visuals().dark_mode, share)
}

/// [`ramp`] for a given theme.
pub fn ramp_color(dark: bool, share: f64) -> Color32 {
    let share = share.clamp(0.0, 1.0);
    let (from, to) = if dark { (0.52, 0.90) } else { (0.36, 0.74) };
    oklch(from + (to - from) * share, 0.12, 300.0 - 215.0 * share)
}

/// Sets fonts and styles, and follows the system's light or dark theme.
pub fn apply(ctx: &Context) {
    ctx.set_fonts(fonts());
    ctx.set_theme(ThemePreference::System);
    ctx.set_visuals_of(Theme::Light, visuals(Visuals::light(), &LIGHT));
    ctx.set_visuals_of(Theme::Dark, visuals(Visuals::dark(), &DARK));
    ctx.all_styles_mut(|style| {
        style.text_styles = [
            (TextStyle::Small, FontId::proportional(CAPTION)),
            (TextStyle::Body, FontId::proportional(BODY)),
            (TextStyle::Button, FontId::proportional(BODY)),
            (TextStyle::Monospace, FontId::monospace(13.5)),
            (TextStyle::Heading, FontId::proportional(TITLE)),
        ]
        .into();
        let spacing = &mut style.spacing;
        spacing.item_spacing = vec2(8.0, 6.0);
        spacing.tooltip_width = 320.0;
        set_sizes(spacing, false);
    });
}

/// Sizes widgets for touch on a narrow screen and for a mouse elsewhere.
pub fn scale_to_screen(ui: &mut Ui) {
    let (id, narrow) = (Id::unique("scaled for a narrow screen"), is_narrow(ui));
    // Menus and combo boxes use the context's style.
    if ui.data(|data| data.get_temp(id)) != Some(narrow) {
        ui.data_mut(|data| data.insert_temp(id, narrow));
        ui.ctx().all_styles_mut(|style| set_sizes(&mut style.spacing, narrow));
    }
    set_sizes(ui.spacing_mut(), narrow);
}

fn set_sizes(spacing: &mut Spacing, narrow: bool) {
    spacing.interact_size.y = if narrow { TOUCH } else { CLICK };
    spacing.button_padding = if narrow { vec2(12.0, 10.0) } else { vec2(9.0, 4.0) };
    spacing.slider_width = if narrow { 150.0 } else { 100.0 };
}

/// A button within a line of text; full size on a phone.
pub fn small_button(ui: &mut Ui, words: &str) -> Response {
    if is_narrow(ui) { ui.button(words) } else { ui.small_button(words) }
}

/// The width of a line of text, in points.
pub fn text_width(ui: &Ui, words: &str, style: TextStyle) -> f32 {
    let font = style.resolve(ui.style());
    ui.painter().layout_no_wrap(words.to_owned(), font, Color32::PLACEHOLDER).size().x
}

/// Whether the screen is as narrow as an upright phone; everything is in one column then.
pub fn is_narrow(ui: &Ui) -> bool {
    ui.ctx().content_rect().width() < 640.0
}

/// The fonts; both families take mathematical symbols from the monospaced one.
fn fonts() -> FontDefinitions {
    let fonts = [
        ("Ubuntu-Light", epaint_default_fonts::UBUNTU_LIGHT),
        ("Hack", include_bytes!("../fonts/Hack-Regular-subset.ttf")),
        ("egui-icons", epaint_default_fonts::EGUI_ICONS),
    ];
    let family = |names: [&str; 3]| names.map(str::to_owned).to_vec();
    FontDefinitions {
        font_data: fonts.map(|(name, bytes)| (name.to_owned(), Arc::new(FontData::from_static(bytes)))).into(),
        families: [
            (FontFamily::Proportional, family(["Ubuntu-Light", "Hack", "egui-icons"])),
            (FontFamily::Monospace, family(["Hack", "Ubuntu-Light", "egui-icons"])),
        ]
        .into(),
    }
}

fn visuals(mut visuals: Visuals, colors: &Colors) -> Visuals {
    visuals.panel_fill = colors.surface;
    visuals.window_fill = colors.surface;
    visuals.extreme_bg_color = colors.panel;
    visuals.faint_bg_color = colors.panel;
    visuals.weak_text_color = Some(colors.secondary);
    visuals.hyperlink_color = colors.accent;
    visuals.error_fg_color = colors.bad;
    visuals.window_stroke = Stroke::new(1.0, colors.edge);
    visuals.selection.bg_fill = colors.chosen;
    visuals.selection.stroke = Stroke::new(1.0, colors.accent);
    visuals.slider_trailing_fill = true;
    visuals.interact_cursor = Some(eframe::egui::CursorIcon::PointingHand);
    let paint = |widget: &mut WidgetVisuals, fill: Color32, edge: Color32, text: Color32| {
        widget.weak_bg_fill = fill;
        widget.bg_fill = fill;
        widget.bg_stroke = Stroke::new(1.0, edge);
        widget.fg_stroke = Stroke::new(1.0, text);
        widget.corner_radius = CornerRadius::same(6);
        widget.expansion = 0.0;
    };
    let widgets = &mut visuals.widgets;
    paint(&mut widgets.noninteractive, colors.surface, colors.grid, colors.text);
    paint(&mut widgets.inactive, colors.panel, colors.edge, colors.text);
    paint(&mut widgets.hovered, colors.chosen, colors.accent, colors.text);
    paint(&mut widgets.active, colors.chosen, colors.accent, colors.text);
    paint(&mut widgets.open, colors.chosen, colors.edge, colors.text);
    visuals
}

/// The heading of a plot or a part of a view.
pub fn section(ui: &mut Ui, words: impl Into<String>) {
    ui.label(RichText::new(words).size(SECTION).strong());
}

/// A button for a view's main action.
pub fn primary_button(ui: &mut Ui, words: &str) -> eframe::egui::Response {
    let colors = colors(ui);
    let words = RichText::new(words).color(colors.on_accent).strong();
    ui.add(eframe::egui::Button::new(words).fill(colors.accent).stroke(Stroke::new(1.0, colors.accent)))
}

/// Lets the user choose the light, dark or system theme.
pub fn choice(ui: &mut Ui) {
    let mut chosen = ui.ctx().options(|options| options.theme_preference);
    let words =
        [(ThemePreference::System, "system"), (ThemePreference::Light, "light"), (ThemePreference::Dark, "dark")];
    let shown = words.iter().find(|(theme, _)| *theme == chosen).map_or("", |(_, word)| word);
    ui.label("theme");
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

    use super::*;

    /// Relative luminance (WCAG 2.2).
    fn luminance(color: Color32) -> f64 {
        let linear = |x: u8| {
            let x = f64::from(x) / 255.0;
            if x <= 0.040_45 { x / 12.92 } else { ((x + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * linear(color.r()) + 0.7152 * linear(color.g()) + 0.0722 * linear(color.b())
    }

    fn contrast(one: Color32, other: Color32) -> f64 {
        let [one, other] = [luminance(one), luminance(other)];
        (one.max(other) + 0.05) / (one.min(other) + 0.05)
    }

    #[test]
    fn every_text_stands_out_from_what_is_behind_it() {
        for (dark, colors) in [(false, &LIGHT), (true, &DARK)] {
            let own =
                [colors.text, colors.secondary, colors.accent, colors.rows, colors.columns, colors.good, colors.bad];
            let names = optimizer_names();
            let optimizers = names.iter().map(|name| optimizer_color(dark, name));
            for text in own.into_iter().chain(SERIES[usize::from(dark)]).chain(optimizers) {
                for behind in [colors.surface, colors.panel] {
                    assert!(contrast(text, behind) >= 4.5, "{text:?} on {behind:?}: {}", contrast(text, behind));
                }
            }
            assert!(contrast(colors.text, colors.chosen) >= 4.5 && contrast(colors.on_accent, colors.accent) >= 4.5);
            // Graphics other than text need 3:1 (WCAG 2.2, 1.4.11).
            for shape in [colors.positive, colors.negative] {
                assert!(contrast(shape, colors.panel) >= 3.0, "{shape:?}");
            }
        }
    }

    #[test]
    fn the_page_has_the_colours_of_the_lab() {
        let sheet = include_str!("../page/page.css");
        // The light theme's variables come first; the dark ones are in the media query.
        let (light, dark) = sheet.split_once("@media (prefers-color-scheme: dark)").unwrap();
        for (variables, theme) in [(light, &LIGHT), (dark, &DARK)] {
            let variables = variables.split_once(":root {").unwrap().1.split_once('}').unwrap().0;
            for (name, color) in [
                ("surface", theme.surface),
                ("panel", theme.panel),
                ("text", theme.text),
                ("secondary", theme.secondary),
                ("grid", theme.grid),
                ("edge", theme.edge),
                ("accent", theme.accent),
                ("settled", theme.settled),
                ("rows", theme.rows),
                ("columns", theme.columns),
                ("positive", theme.positive),
                ("negative", theme.negative),
            ] {
                let of_page = variables.split_once(&format!("--{name}: ")).map(|(_, rest)| &rest[..7]);
                let [r, g, b, _] = color.to_array();
                assert_eq!(of_page, Some(format!("#{r:02x}{g:02x}{b:02x}").as_str()), "--{name}");
            }
        }
    }

    #[test]
    fn no_two_optimizers_share_a_colour() {
        for dark in [false, true] {
            let all: BTreeSet<[u8; 4]> =
                optimizer_names().iter().map(|name| optimizer_color(dark, name).to_array()).collect();
            assert_eq!(all.len(), optimizer_names().len());
        }
    }

    /// Collects the non-ASCII characters in the sources, except for comments and tests.
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
