//! Why it converges as it does: the balanced squares with the pattern that dies out slowest, and a map of rates.

use eframe::egui::{
    self, Align2, Color32, ColorImage, FontId, Painter, Rect, RichText, Sense, Stroke, TextureHandle, TextureOptions,
    Ui, pos2, vec2,
};
use multinorm::spectrum::{BalancePicture, Map};

use super::{caption, columns, nothing_yet, short_name};
use crate::chart::short;
use crate::lab::{Lab, Made};
use crate::theme::{self, CAPTION, colors, ramp, section};

/// Room for the bars of the vectors.
const BARS: f32 = 60.0;

/// What the view keeps from frame to frame.
#[derive(Default)]
pub struct WhyPanel {
    /// The picture of P, and what it is of.
    squares: Option<(String, TextureHandle)>,
    /// The picture of the map, and how many cells it has.
    map: Option<((usize, bool), TextureHandle)>,
}

impl WhyPanel {
    /// The view.
    pub fn show(&mut self, ui: &mut Ui, lab: &mut Lab) {
        lab.ask_for_map();
        columns(ui, 2, |ui, index| match index {
            0 => self.balanced(ui, lab),
            _ => self.rates(ui, lab),
        });
    }

    /// P of the matrix that is watched, or of the one that was made on the map.
    fn balanced(&mut self, ui: &mut Ui, lab: &mut Lab) {
        section(ui, "The pattern that dies out slowest");
        let made = lab.made.as_ref().and_then(|made| Some((made, made.balance.as_ref()?)));
        let (what, balance) = match made {
            Some((Made { shape: [m, n], heaviness, .. }, balance)) => {
                (format!("a matrix {m}×{n} of independent entries, heaviness {}", short(*heaviness)), balance)
            }
            None => {
                let look = &lab.seen()[0].followed;
                let [m, n] = look.record.shape;
                let what = format!("{}, {m}×{n}, step {}", short_name(&look.record.parameter), look.record.step);
                match &look.balance {
                    Some(balance) => (what, balance),
                    None => {
                        nothing_yet(
                            ui,
                            "This gradient has no balanced form: it is zero, or a block of zeros is too large.",
                        );
                        return;
                    }
                }
            }
        };
        ui.label(RichText::new(what.as_str()).color(colors(ui).secondary));
        ui.label(format!(
            "σ₂² = {}: near the end, one round of row and column passes leaves {} % of what is wrong.",
            short(balance.rate),
            format_args!("{:.1}", 100.0 * balance.rate)
        ));
        let width = ui.available_width();
        let height = (width * 0.75).clamp(220.0, 460.0);
        let (rect, _) = ui.allocate_exact_size(vec2(width, height), Sense::hover());
        let matrix = Rect::from_min_max(rect.min, rect.max - vec2(BARS, BARS));
        let key = format!("{what} {}", ui.visuals().dark_mode);
        if self.squares.as_ref().is_none_or(|(of, _)| *of != key) {
            let texture = ui.ctx().load_texture("squares", picture(ui, balance), TextureOptions::NEAREST);
            self.squares = Some((key, texture));
        }
        let painter = ui.painter_at(rect);
        if let Some((_, texture)) = &self.squares {
            let whole = Rect::from_min_max(pos2(0.0, 0.0), pos2(1.0, 1.0));
            painter.image(texture.id(), matrix, whole, Color32::WHITE);
        }
        vector_bars(ui, &painter, matrix, balance);
        caption(
            ui,
            "Strong colour: entries of the balanced squares X⊙X above their mean. Rows and columns are sorted by the second singular vectors, the \
             bars: rows with long bars to one side share their columns with one another and few with the rows of the other \
             side, so that length passes between the two groups slowly. Where the picture has no blocks, it passes fast.",
        );
        if lab.made.is_some() && ui.button("Back to the model's gradient").clicked() {
            lab.made = None;
        }
    }

    fn rates(&mut self, ui: &mut Ui, lab: &mut Lab) {
        section(ui, "The rate by shape and by heaviness");
        ui.label(
            RichText::new("Click anywhere to make such a matrix; dots are the matrices of your model.")
                .color(colors(ui).secondary),
        );
        let size = vec2(ui.available_width(), (ui.available_width() * 0.72).clamp(240.0, 440.0));
        let sense = if theme::is_narrow(ui) { Sense::click() } else { Sense::click_and_drag() };
        let (rect, response) = ui.allocate_exact_size(size, sense);
        let map = Rect::from_min_max(rect.min + vec2(34.0, 18.0), rect.max - vec2(12.0, 36.0));
        let known = lab.map.iter().flatten().count();
        let key = (known, ui.visuals().dark_mode);
        if self.map.as_ref().is_none_or(|(of, _)| *of != key) {
            let image = map_picture(ui, lab);
            let texture = ui.ctx().load_texture("rates", image, TextureOptions::NEAREST);
            self.map = Some((key, texture));
        }
        let painter = ui.painter_at(rect);
        if let Some((_, texture)) = &self.map {
            let whole = Rect::from_min_max(pos2(0.0, 0.0), pos2(1.0, 1.0));
            painter.image(texture.id(), map, whole, Color32::WHITE);
        }
        axes(ui, &painter, rect, map);
        dots(ui, &painter, map, lab);
        if let Some(made) = &lab.made {
            let at = place(map, made.shape, made.heaviness);
            painter.circle(at, 6.0, Color32::TRANSPARENT, Stroke::new(2.5, colors(ui).text));
        }
        let pointer = response.interact_pointer_pos().filter(|_| response.clicked() || response.drag_stopped());
        if let Some(pointer) = pointer.filter(|at| map.contains(*at)) {
            let (aspect, heaviness) = read(map, pointer);
            lab.make(Map::default().shape(aspect), heaviness);
        }
        if let Some(pointer) = response.hover_pos().filter(|at| map.contains(*at)) {
            tell(lab, map, pointer, response);
        }
        legend(ui);
        let all = Map::N_ASPECTS * Map::N_HEAVINESS;
        let progress =
            if known < all { format!(" {known} of {all} fields are computed by now.") } else { String::new() };
        caption(
            ui,
            &format!(
                "Every field is the mean rate of three matrices of 4096 independent entries, balanced by this program. Heaviness \
                 is the mean fourth power of the balanced entries over the square of their mean square: 1 for signs, 3 for \
                 normal numbers. A dot whose colour differs from the field under it has a structure that heaviness does not \
                 tell.{progress}"
            ),
        );
    }
}

/// P: the panel's colour for 0, full colour for [`BalancePicture::LIMIT`] times the mean.
fn picture(ui: &Ui, balance: &BalancePicture) -> ColorImage {
    let colors = colors(ui);
    let pixel = |p: &u8| colors.surface.lerp_to_gamma(colors.accent, f32::from(*p) / 255.0);
    let [height, width] = balance.squares_shape;
    ColorImage::new([width, height], balance.squares.iter().map(pixel).collect())
}

/// The second singular vectors as bars, along the rows at the right and along the columns below.
fn vector_bars(ui: &Ui, painter: &Painter, matrix: Rect, balance: &BalancePicture) {
    let colors = colors(ui);
    let font = FontId::proportional(CAPTION);
    let half = (BARS - 16.0) / 2.0;
    for (vector, of_rows) in [(&balance.rows, true), (&balance.columns, false)] {
        let largest = vector.iter().fold(f32::MIN_POSITIVE, |largest, x| largest.max(x.abs()));
        let length = if of_rows { matrix.height() } else { matrix.width() };
        let middle = (if of_rows { matrix.right() } else { matrix.bottom() }) + 6.0 + half;
        let thick = length / vector.len().max(1) as f32;
        for (at, x) in vector.iter().enumerate() {
            let reach = x / largest * half;
            let along = at as f32 * thick;
            let bar = if of_rows {
                Rect::from_two_pos(
                    pos2(middle, matrix.top() + along),
                    pos2(middle + reach, matrix.top() + along + (thick - 0.5).max(0.5)),
                )
            } else {
                Rect::from_two_pos(
                    pos2(matrix.left() + along, middle),
                    pos2(matrix.left() + along + (thick - 0.5).max(0.5), middle - reach),
                )
            };
            painter.rect_filled(bar, 0.0, if *x >= 0.0 { colors.positive } else { colors.negative });
        }
    }
    painter.text(matrix.right_bottom() + vec2(6.0, 6.0), Align2::LEFT_TOP, "rows", font.clone(), colors.secondary);
    painter.text(matrix.left_bottom() + vec2(0.0, BARS), Align2::LEFT_BOTTOM, "columns", font, colors.secondary);
    painter.rect_stroke(matrix, 0.0, Stroke::new(1.0, colors.edge), egui::StrokeKind::Outside);
}

/// A pixel a field, the heaviest at the top.
fn map_picture(ui: &Ui, lab: &Lab) -> ColorImage {
    let [width, height] = [Map::N_ASPECTS, Map::N_HEAVINESS];
    let pixel = |at: usize| {
        let (row, aspect) = (height - 1 - at / width, at % width);
        // Where a field is not computed yet, a coarser one stands in.
        let near = |stride: usize| lab.map[row / stride * stride * width + aspect / stride * stride].as_ref();
        match [1, 2, 4].into_iter().find_map(near).map(|cell| cell.rate) {
            Some(Some(rate)) => ramp(ui, rate),
            // There are none so heavy.
            Some(None) => colors(ui).grid,
            None => colors(ui).panel,
        }
    };
    ColorImage::new([width, height], (0..width * height).map(pixel).collect())
}

/// Where a matrix lies: by log₂(n/m), and by log₂ of its heaviness; what lies beyond the edge lies on it.
fn place(map: Rect, [m, n]: [usize; 2], heaviness: f64) -> egui::Pos2 {
    let share = |at: f64, count: usize| ((at + 0.5) / count as f64).clamp(0.0, 1.0) as f32;
    let aspect = 2.0 * (n as f64 / m as f64).log2() + (Map::N_ASPECTS / 2) as f64;
    let row = 4.0 * heaviness.max(1.0).log2();
    pos2(
        map.left() + share(aspect, Map::N_ASPECTS) * map.width(),
        map.bottom() - share(row, Map::N_HEAVINESS) * map.height(),
    )
}

/// The column of the map and the heaviness at a place.
fn read(map: Rect, at: egui::Pos2) -> (usize, f64) {
    let aspect = ((at.x - map.left()) / map.width() * Map::N_ASPECTS as f32) as usize;
    let row = f64::from((map.bottom() - at.y) / map.height()) * Map::N_HEAVINESS as f64 - 0.5;
    (aspect.min(Map::N_ASPECTS - 1), 2f64.powf(row.max(0.0) / 4.0))
}

fn axes(ui: &Ui, painter: &Painter, rect: Rect, map: Rect) {
    let colors = colors(ui);
    let font = FontId::proportional(CAPTION);
    painter.text(rect.min, Align2::LEFT_TOP, "heaviness", font.clone(), colors.secondary);
    for heaviness in [1, 2, 4, 8, 16, 32] {
        let at = place(map, [1, 1], f64::from(heaviness));
        let left = pos2(map.left() - 6.0, at.y);
        painter.text(left, Align2::RIGHT_CENTER, heaviness.to_string(), font.clone(), colors.secondary);
    }
    for (words, shape) in [("16:1", [16, 1]), ("4:1", [4, 1]), ("1:1", [1, 1]), ("1:4", [1, 4]), ("1:16", [1, 16])] {
        let below = pos2(place(map, shape, 1.0).x, map.bottom() + 4.0);
        painter.text(below, Align2::CENTER_TOP, words, font.clone(), colors.secondary);
    }
    let right = pos2(map.right(), rect.bottom());
    painter.text(right, Align2::RIGHT_BOTTOM, "rows : columns", font, colors.secondary);
    painter.rect_stroke(map, 0.0, Stroke::new(1.0, colors.edge), egui::StrokeKind::Outside);
}

/// The model's matrices, each in the colour of its own rate.
fn dots(ui: &Ui, painter: &Painter, map: Rect, lab: &Lab) {
    let watched = &lab.settings.parameter;
    for tile in lab.runs.first().map_or(&[][..], |run| &run.tiles[..]) {
        let (Some(rate), Some(heaviness)) = (tile.rate, tile.heaviness) else { continue };
        let at = place(map, tile.shape, heaviness);
        let radius = if tile.parameter == *watched { 6.5 } else { 4.5 };
        painter.circle(at, radius, ramp(ui, rate), Stroke::new(1.5, colors(ui).text));
    }
}

/// What lies under the pointer: a matrix of the model, or a field.
fn tell(lab: &Lab, map: Rect, pointer: egui::Pos2, response: egui::Response) {
    let tiles = lab.runs.first().map_or(&[][..], |run| &run.tiles[..]);
    let near = tiles
        .iter()
        .find(|tile| tile.heaviness.is_some_and(|heaviness| place(map, tile.shape, heaviness).distance(pointer) < 7.0));
    let words = match near {
        Some(tile) => format!(
            "{}, {}×{}\nheaviness {}, rate {}",
            short_name(&tile.parameter),
            tile.shape[0],
            tile.shape[1],
            tile.heaviness.map_or("–".into(), short),
            tile.rate.map_or("–".into(), short)
        ),
        None => {
            let (aspect, heaviness) = read(map, pointer);
            let [m, n] = Map::default().shape(aspect);
            let row = ((4.0 * heaviness.log2()).round() as usize).min(Map::N_HEAVINESS - 1);
            let cell = lab.map.get(row * Map::N_ASPECTS + aspect).and_then(Option::as_ref);
            let rate = match cell.map(|cell| cell.rate) {
                Some(Some(rate)) => format!("rate {}", short(rate)),
                Some(None) => "no matrix of this size is so heavy".into(),
                None => "not computed yet".into(),
            };
            format!("{m}×{n}, heaviness {}\n{rate}", short(heaviness))
        }
    };
    response.on_hover_text_at_pointer(words);
}

/// The colours of rates.
fn legend(ui: &mut Ui) {
    ui.horizontal(|ui| {
        ui.label(RichText::new("rate 0: done in one round").small().color(colors(ui).secondary));
        let (bar, _) = ui.allocate_exact_size(vec2(120.0, 10.0), Sense::hover());
        for at in 0..40 {
            let stripe = Rect::from_min_size(pos2(bar.left() + 3.0 * at as f32, bar.top()), vec2(3.0, bar.height()));
            ui.painter().rect_filled(stripe, 0.0, ramp(ui, f64::from(at) / 39.0));
        }
        ui.label(RichText::new("1: never").small().color(colors(ui).secondary));
    });
}
