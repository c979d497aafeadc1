//! Why a matrix converges fast or slowly: its balanced squares with the slowest-decaying pattern, and a map of rates.

use eframe::egui::{
    self, Align2, Color32, ColorImage, FontId, Painter, Rect, RichText, Sense, Stroke, TextureHandle, TextureOptions,
    Ui, pos2, vec2,
};
use multinorm::spectrum::{BalancePicture, Map};

use super::{caption, color_bar, columns, extremes, nothing_yet, rest_of_window, short_name};
use crate::chart::short;
use crate::lab::{Lab, SyntheticMatrix};
use crate::theme::{self, CAPTION, Colors, colors, is_narrow, ramp, section};

/// Space for the bars of the vectors.
const BARS: f32 = 60.0;

/// The matrix that P belongs to.
#[derive(Clone, Copy, PartialEq)]
enum Of {
    Look(u64),
    SyntheticMatrix([usize; 2], f64),
}

/// What the view keeps between frames.
#[derive(Default)]
pub struct WhyPanel {
    /// The picture of P, with the look or generated matrix and the theme it was made for.
    squares: Option<((Of, bool), TextureHandle)>,
    /// The picture of the map, with the number of cells and the theme it was made for.
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

    /// P of the watched matrix, or of the one generated on the map.
    fn balanced(&mut self, ui: &mut Ui, lab: &mut Lab) {
        section(ui, "The slowest-decaying error pattern");
        let (of, what, balance, words) = subject(lab);
        let back = ui.horizontal_wrapped(|ui| {
            ui.label(RichText::new(what).color(colors(ui).secondary));
            matches!(of, Of::SyntheticMatrix(..)) && theme::small_button(ui, "Back to the model's gradient").clicked()
        });
        match balance {
            Some(balance) => self.squares(ui, of, balance),
            None => nothing_yet(ui, words),
        }
        if back.inner {
            lab.made = None;
        }
    }

    /// The picture of P with its vectors, and how to read it.
    fn squares(&mut self, ui: &mut Ui, of: Of, balance: &BalancePicture) {
        ui.label(format!(
            "Rate σ₂² = {}: near balance, each round of row and column passes leaves {:.1} % of the error.",
            short(balance.rate),
            100.0 * balance.rate
        ));
        let width = ui.available_width();
        let height = if is_narrow(ui) { 0.75 * width } else { (rest_of_window(ui) - 60.0).clamp(220.0, width) };
        let (rect, response) = ui.allocate_exact_size(vec2(width, height), Sense::hover());
        let matrix = Rect::from_min_max(rect.min, rect.max - vec2(BARS, BARS));
        if let Some(pointer) = response.hover_pos().filter(|at| matrix.contains(*at)) {
            let [rows, columns] = balance.squares_shape;
            let row = ((pointer.y - matrix.top()) / matrix.height() * rows as f32) as usize;
            let column = ((pointer.x - matrix.left()) / matrix.width() * columns as f32) as usize;
            if let Some(p) = balance.squares.get(row.min(rows - 1) * columns + column.min(columns - 1)) {
                response.on_hover_text_at_pointer(format!(
                    "{} × the mean of X⊙X",
                    short(f64::from(BalancePicture::entry(*p)))
                ));
            }
        }
        let key = (of, ui.visuals().dark_mode);
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
        ui.horizontal(|ui| {
            ui.label(RichText::new("0").small().color(colors(ui).secondary));
            let colors = colors(ui);
            color_bar(ui, 90.0, |share| square_color(colors, share.sqrt()));
            ui.label(RichText::new("4 × the mean of X⊙X").small().color(colors.secondary));
        });
        caption(
            ui,
            "Rows and columns are sorted by the second singular vectors (bars). Rows whose bars point the same way \
             mostly use the same columns. Rows whose bars point opposite ways share few, so length errors between the \
             two groups even out slowly. Without visible blocks they even out fast.",
        );
    }

    fn rates(&mut self, ui: &mut Ui, lab: &mut Lab) {
        section(ui, "Rate by shape and heaviness");
        ui.label(
            RichText::new("Drag the ring to generate such a matrix. Dots are your model's matrices.")
                .color(colors(ui).secondary),
        );
        let width = ui.available_width();
        let height = if is_narrow(ui) { 0.75 * width } else { (rest_of_window(ui) - 60.0).clamp(220.0, width) };
        let size = vec2(width, height);
        let sense = if is_narrow(ui) { Sense::click() } else { Sense::click_and_drag() };
        let (rect, response) = ui.allocate_exact_size(size, sense);
        let map = Rect::from_min_max(rect.min + vec2(34.0, 18.0), rect.max - vec2(12.0, 36.0));
        let known = lab.map.n_known();
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
        let pointer = response.interact_pointer_pos().filter(|_| response.clicked() || response.dragged());
        if let Some(pointer) = pointer.filter(|at| map.contains(*at)) {
            let (aspect, heaviness) = read(map, pointer);
            lab.make(Map::default().shape(aspect), heaviness);
        }
        let (shape, heaviness) = lab.wanted_matrix.unwrap_or(([64, 64], 3.0));
        let ring = place(map, shape, heaviness);
        painter.circle(ring, 8.0, Color32::TRANSPARENT, Stroke::new(4.5, colors(ui).surface));
        painter.circle(ring, 8.0, Color32::TRANSPARENT, Stroke::new(2.5, colors(ui).text));
        if let Some(pointer) = response.hover_pos().filter(|at| map.contains(*at)) {
            describe_point(lab, map, pointer, response);
        }
        legend(ui);
        let all = Map::N_ASPECTS * Map::N_HEAVINESS;
        let progress = if known < all { format!(" {known} of {all} cells computed.") } else { String::new() };
        caption(
            ui,
            &format!(
                "Each cell: mean rate of three matrices of 4096 independent entries. Heaviness is the kurtosis of the \
                 balanced entries: 1 if all have the same magnitude, about 3 if they are normal. A dot whose colour \
                 differs from its cell's has structure that heaviness does not capture.{progress}"
            ),
        );
    }
}

/// The subject of the left half: which matrix, its description, its balance, and what to say if it has none.
fn subject(lab: &Lab) -> (Of, String, Option<&BalancePicture>, &'static str) {
    if let Some(SyntheticMatrix { shape: [m, n], heaviness, balance }) = &lab.made {
        let what = format!("a {m}×{n} matrix of independent entries, heaviness {}", short(*heaviness));
        let words = "No matrix of this shape with independent entries is this heavy.";
        return (Of::SyntheticMatrix([*m, *n], *heaviness), what, balance.as_ref(), words);
    }
    let look = lab.shown()[0];
    let record = &look.followed.record;
    let [m, n] = record.shape;
    let what = format!("{}, {m}×{n}, step {}", short_name(&record.parameter), record.step);
    let words = "This gradient has no balanced form: it is zero, or a block of zeros is too large.";
    (Of::Look(look.id), what, look.followed.balance.as_ref(), words)
}

/// P as a picture: the background's colour for 0, full colour for [`BalancePicture::LIMIT`] times the mean.
fn picture(ui: &Ui, balance: &BalancePicture) -> ColorImage {
    let colors = colors(ui);
    let pixel = |p: &u8| square_color(colors, f32::from(*p) / 255.0);
    let [height, width] = balance.squares_shape;
    ColorImage::new([width, height], balance.squares.iter().map(pixel).collect())
}

/// The colour of a balanced square, given the square root of its share of [`BalancePicture::LIMIT`].
fn square_color(colors: &Colors, root: f32) -> Color32 {
    colors.surface.lerp_to_gamma(colors.accent, root)
}

/// The second singular vectors as bars: along the rows on the right, along the columns below.
fn vector_bars(ui: &Ui, painter: &Painter, matrix: Rect, balance: &BalancePicture) {
    let colors = colors(ui);
    let font = FontId::proportional(CAPTION);
    let half = (BARS - 16.0) / 2.0;
    for (vector, of_rows) in [(&balance.rows, true), (&balance.columns, false)] {
        let length = if of_rows { matrix.height() } else { matrix.width() };
        let vector = extremes(vector, length);
        let largest = vector.iter().fold(f32::MIN_POSITIVE, |largest, x| largest.max(x.abs()));
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

/// One pixel per cell, the heaviest at the top.
fn map_picture(ui: &Ui, lab: &Lab) -> ColorImage {
    let [width, height] = [Map::N_ASPECTS, Map::N_HEAVINESS];
    let pixel = |at: usize| {
        let (row, aspect) = (height - 1 - at / width, at % width);
        // A coarser cell stands in for one not computed yet.
        let near = |stride: usize| lab.map.cells[row / stride * stride * width + aspect / stride * stride].as_ref();
        match [1, 2, 4].into_iter().find_map(near).map(|cell| cell.rate) {
            Some(Some(rate)) => ramp(ui, rate),
            // No matrix is this heavy.
            Some(None) => colors(ui).grid,
            None => colors(ui).panel,
        }
    };
    ColorImage::new([width, height], (0..width * height).map(pixel).collect())
}

/// The position of a matrix by log₂(n/m) and log₂ of its heaviness, clamped to the map.
fn place(map: Rect, [m, n]: [usize; 2], heaviness: f64) -> egui::Pos2 {
    let share = |at: f64, count: usize| ((at + 0.5) / count as f64).clamp(0.0, 1.0) as f32;
    let aspect = 2.0 * (n as f64 / m as f64).log2() + (Map::N_ASPECTS / 2) as f64;
    let row = Map::row(heaviness);
    pos2(
        map.left() + share(aspect, Map::N_ASPECTS) * map.width(),
        map.bottom() - share(row, Map::N_HEAVINESS) * map.height(),
    )
}

/// The column of the map and the heaviness at a position.
fn read(map: Rect, at: egui::Pos2) -> (usize, f64) {
    let aspect = ((at.x - map.left()) / map.width() * Map::N_ASPECTS as f32) as usize;
    let row = f64::from((map.bottom() - at.y) / map.height()) * Map::N_HEAVINESS as f64 - 0.5;
    (aspect.min(Map::N_ASPECTS - 1), Map::heaviness(row.max(0.0)))
}

fn axes(ui: &Ui, painter: &Painter, rect: Rect, map: Rect) {
    let colors = colors(ui);
    let font = FontId::proportional(CAPTION);
    painter.text(rect.min, Align2::LEFT_TOP, "heaviness", font.clone(), colors.secondary);
    for heaviness in [1, 2, 4, 8, 16] {
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

/// The model's matrices, each coloured by its own rate.
fn dots(ui: &Ui, painter: &Painter, map: Rect, lab: &Lab) {
    let watched = &lab.settings.parameter;
    for tile in lab.runs.first().map_or(&[][..], |run| &run.tiles[..]) {
        let (Some(rate), Some(heaviness)) = (tile.rate, tile.heaviness) else { continue };
        let at = place(map, tile.shape, heaviness);
        let radius = if tile.parameter == *watched { 6.5 } else { 4.5 };
        painter.circle(at, radius, ramp(ui, rate), Stroke::new(1.5, colors(ui).text));
    }
}

/// Describes what is under the pointer: a matrix of the model, or a cell.
fn describe_point(lab: &Lab, map: Rect, pointer: egui::Pos2, response: egui::Response) {
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
            let row = (Map::row(heaviness).round() as usize).min(Map::N_HEAVINESS - 1);
            let cell = lab.map.cells.get(row * Map::N_ASPECTS + aspect).and_then(Option::as_ref);
            let rate = match cell.map(|cell| cell.rate) {
                Some(Some(rate)) => format!("rate {}", short(rate)),
                Some(None) => "no matrix of this shape is this heavy".into(),
                None => "not computed yet".into(),
            };
            format!("{m}×{n}, heaviness {}\n{rate}", short(heaviness))
        }
    };
    response.on_hover_text_at_pointer(words);
}

/// The colours of rates.
fn legend(ui: &mut Ui) {
    ui.horizontal_wrapped(|ui| {
        ui.spacing_mut().item_spacing.x = 4.0;
        let words = |words: String| RichText::new(words).small().color(colors(ui).secondary);
        let [first, none] = ["rate", "none this heavy"].map(|text| words(text.to_owned()));
        let values = [0.0, 0.25, 0.5, 0.75, 1.0].map(|rate| (rate, words(rate.to_string())));
        let grid = colors(ui).grid;
        ui.label(first);
        for (rate, words) in values {
            let color = ramp(ui, rate);
            color_bar(ui, 20.0, |_| color);
            ui.label(words);
        }
        color_bar(ui, 20.0, |_| grid);
        ui.label(none);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_on_the_map_is_that_of_its_cell() {
        let map = Rect::from_min_size(pos2(30.0, 20.0), vec2(340.0, 210.0));
        for row in 0..Map::N_HEAVINESS {
            for aspect in 0..Map::N_ASPECTS {
                let (shape, heaviness) = (Map::default().shape(aspect), Map::heaviness(row as f64));
                let at = place(map, shape, heaviness);
                // The picture has one pixel per cell, the heaviest at the top.
                let pixel = [(at.x - map.left()) / 20.0, (map.bottom() - at.y) / 10.0].map(f32::floor);
                assert_eq!(pixel, [aspect as f32, row as f32], "{shape:?} {heaviness}");
                let (read_aspect, read_heaviness) = read(map, at);
                assert_eq!(read_aspect, aspect);
                assert!((read_heaviness / heaviness - 1.0).abs() < 1e-3, "{heaviness} {read_heaviness}");
            }
        }
    }
}
