//! The atlas: every matrix of the network as a tile, by layer and kind. Clicking a tile inspects that matrix.

use std::collections::{BTreeMap, VecDeque};

use eframe::egui::{self, Align2, FontId, Rect, RichText, Sense, Stroke, Ui, pos2, vec2};
use multinorm::train::MatrixSummary;

use super::{Action, Scene, steps_in_words};
use crate::chart::short;
use crate::lab::Status;
use crate::panels::{color_bar, short_name};
use crate::theme::{self, CAPTION, colors, is_narrow, ramp};

/// The quantity that colours the tiles.
#[derive(Clone, Copy, PartialEq)]
enum Measure {
    Rate,
    Deviation,
    EffectiveRank,
    OperatorNorm,
    Share,
}

impl Measure {
    const ALL: [Self; 5] = [Self::Rate, Self::Deviation, Self::EffectiveRank, Self::OperatorNorm, Self::Share];

    fn name(self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::Deviation => "deviation left",
            Self::EffectiveRank => "effective rank",
            Self::OperatorNorm => "operator norm",
            Self::Share => "share of the update",
        }
    }

    fn meaning(self) -> &'static str {
        match self {
            Self::Rate => "fraction of the imbalance left after one round of row and column passes; near 1 is slow",
            Self::Deviation => "how unequal the update's row or column lengths still are (rms)",
            Self::EffectiveRank => "effective rank of the update, as a fraction of min(m, n)",
            Self::OperatorNorm => "largest singular value of the update over its Frobenius norm",
            Self::Share => "norm of this matrix's update over the norm of the whole update",
        }
    }

    /// The value for a tile, scaled to between 0 and 1 where the shape bounds it, so that different shapes compare.
    fn of(self, tile: &MatrixSummary, whole: f64) -> Option<f64> {
        let [m, n] = tile.shape.map(|size| size as f64);
        match self {
            Self::Rate => tile.rate,
            Self::Deviation => Some(tile.deviation),
            Self::EffectiveRank => Some(tile.effective_rank / m.min(n)),
            Self::OperatorNorm => Some(tile.operator_norm / (m * n).sqrt()),
            Self::Share => tile.length.filter(|_| whole > 0.0).map(|length| length / whole),
        }
    }

    /// The range of the colour scale: all possible values for a rate, otherwise from 0 to the largest value.
    fn range(self, values: impl Iterator<Item = f64>) -> [f64; 2] {
        let [least, most] = values.fold([f64::MAX, f64::MIN], |[least, most], x| [least.min(x), most.max(x)]);
        match self {
            Self::Rate => [0.0, 1.0],
            _ if least > most => [0.0, 1.0],
            _ => [0.0, most.max(1e-12)],
        }
    }
}

/// The chosen quantity and run.
pub struct Atlas {
    measure: Measure,
    run: usize,
}

impl Default for Atlas {
    fn default() -> Self {
        Self { measure: Measure::Rate, run: 0 }
    }
}

/// The line and column of a matrix in the atlas.
struct TilePosition {
    parameter: String,
    line: usize,
    column: usize,
}

/// The kinds of matrices in a layer, one per column.
const KINDS: [(&str, &str); 7] = [
    ("self_attn.q_proj", "q"),
    ("self_attn.k_proj", "k"),
    ("self_attn.v_proj", "v"),
    ("self_attn.o_proj", "o"),
    ("mlp.gate_proj", "gate"),
    ("mlp.up_proj", "up"),
    ("mlp.down_proj", "down"),
];

impl Atlas {
    /// The tiles, their scale, and thumbnails of earlier in training.
    pub fn show(&mut self, ui: &mut Ui, scene: &Scene<'_>, acts: &mut Vec<Action>) {
        self.head(ui, scene);
        let Some(run) = scene.lab.runs.get(self.run) else { return };
        let places = places(&scene.lab.matrices);
        let lines = places.iter().map(|place| place.line).max().map_or(0, |line| line + 1);
        if lines == 0 || matches!(scene.lab.status, Status::Record { .. }) {
            ui.weak("This run cannot train: no network to show.");
            return;
        }
        // Shares need the norm of the whole update, hence every tile.
        let whole = if run.tiles.len() == places.len() { whole(&run.tiles) } else { 0.0 };
        let tiles: BTreeMap<&str, &MatrixSummary> =
            run.tiles.iter().map(|tile| (tile.parameter.as_str(), tile)).collect();
        let range = self.measure.range(run.tiles.iter().filter_map(|tile| self.measure.of(tile, whole)));
        let narrow = is_narrow(ui);
        let labels = if narrow { 56.0 } else { 92.0 };
        let room = if narrow { f32::INFINITY } else { (ui.available_height() - 66.0).max(60.0) };
        let least = if narrow { theme::TOUCH } else { 12.0 };
        let cell = vec2(
            ((ui.available_width() - labels) / 7.0).clamp(16.0, 64.0),
            (room / (lines as f32 + 1.0)).clamp(least, least.max(40.0)),
        );
        let size = vec2(labels + 7.0 * cell.x, CAPTION + 4.0 + lines as f32 * cell.y);
        let (rect, _) = ui.allocate_exact_size(size, Sense::hover());
        let font = FontId::proportional(CAPTION);
        let secondary = colors(ui).secondary;
        for (column, (_, word)) in KINDS.iter().enumerate() {
            let at = rect.min + vec2(labels + (column as f32 + 0.5) * cell.x, 0.0);
            ui.painter().text(at, Align2::CENTER_TOP, *word, font.clone(), secondary);
        }
        let corner = rect.min + vec2(labels, CAPTION + 4.0);
        let newest = run.last().map_or(0, |last| last.step);
        for place in &places {
            let wide = is_wide(&place.parameter);
            let at = corner + vec2(place.column as f32 * cell.x, place.line as f32 * cell.y);
            let size = if wide { vec2(7.0 * cell.x, cell.y) } else { cell };
            let square = Rect::from_min_size(at, size).shrink(1.5);
            let tile = tiles.get(place.parameter.as_str()).copied();
            let value = tile.and_then(|tile| self.measure.of(tile, whole));
            self.tile(ui, scene, place, square, (tile, value, newest), range, acts);
            if place.column == 0 {
                let words = match layer(&place.parameter) {
                    Some(layer) => format!("layer {layer}"),
                    None if narrow => short_name(&place.parameter).replace("_tokens", "").replace("lm_", ""),
                    None => short_name(&place.parameter),
                };
                let left = pos2(rect.left(), square.center().y);
                ui.painter().text(left, Align2::LEFT_CENTER, words, font.clone(), secondary);
            }
        }
        self.scale(ui, range, run.tiles.iter().map(|tile| newest.saturating_sub(tile.step)).max());
        let chosen = history(ui, &run.sweeps, &places, lines, |tile, whole| {
            Some(share_of(self.measure.of(tile, whole)?, range))
        });
        acts.extend(chosen.map(|step| Action::Step(Some(step))));
    }

    fn head(&mut self, ui: &mut Ui, scene: &Scene<'_>) {
        ui.horizontal_wrapped(|ui| {
            theme::section(ui, "The network");
            ui.weak("coloured by");
            egui::ComboBox::from_id_salt("measure").selected_text(self.measure.name()).show_ui(ui, |ui| {
                for measure in Measure::ALL {
                    ui.selectable_value(&mut self.measure, measure, measure.name()).on_hover_text(measure.meaning());
                }
            });
            self.run = self.run.min(scene.lab.runs.len().saturating_sub(1));
            if scene.lab.runs.len() > 1 {
                for (index, run) in scene.lab.runs.iter().enumerate() {
                    let words = RichText::new(&run.optimizer).color(theme::optimizer(ui, &run.optimizer));
                    ui.selectable_value(&mut self.run, index, words);
                }
            }
        });
    }

    #[expect(clippy::too_many_arguments, reason = "what one tile is drawn from")]
    fn tile(
        &self,
        ui: &Ui,
        scene: &Scene<'_>,
        place: &TilePosition,
        square: Rect,
        (tile, value, newest): (Option<&MatrixSummary>, Option<f64>, u64),
        range: [f64; 2],
        acts: &mut Vec<Action>,
    ) {
        let colors = colors(ui);
        let fill = match value {
            Some(value) => ramp(ui, share_of(value, range)),
            None => colors.panel,
        };
        ui.painter().rect_filled(square, 3.0, fill);
        let is_chosen = scene.lab.opened.is_none() && scene.lab.settings.parameter == place.parameter;
        let edge = if is_chosen { Stroke::new(2.5, colors.text) } else { Stroke::new(1.0, colors.grid) };
        ui.painter().rect_stroke(square, 3.0, edge, egui::StrokeKind::Middle);
        let response = ui.interact(square, ui.scope_id().with(&place.parameter), Sense::click());
        let response = response.on_hover_ui(|ui| {
            ui.strong(short_name(&place.parameter));
            match tile {
                Some(tile) => {
                    let [m, n] = tile.shape;
                    let age = steps_in_words(newest.saturating_sub(tile.step));
                    ui.label(format!("{m}×{n}, measured at step {} ({age} ago)", tile.step));
                    let told = value.map_or("not known".into(), short);
                    ui.label(format!("{}: {told}", self.measure.name()));
                }
                None => {
                    ui.label("not measured yet");
                }
            }
        });
        response.widget_info(|| {
            let words = format!("{}, {}", short_name(&place.parameter), value.map_or("not known".into(), short));
            egui::WidgetInfo::labeled(egui::Role::Button, true, words)
        });
        if response.clicked() {
            if scene.lab.opened.is_some() {
                acts.push(Action::CloseFile);
            }
            acts.push(Action::Matrix(place.parameter.clone()));
        }
    }

    /// The colour scale with its range, and the age of the oldest tile.
    fn scale(&self, ui: &mut Ui, [from, to]: [f64; 2], oldest: Option<u64>) {
        ui.horizontal(|ui| {
            ui.spacing_mut().item_spacing.x = 6.0;
            ui.label(RichText::new(short(from)).small().color(colors(ui).secondary));
            let is_dark = ui.visuals().dark_mode;
            color_bar(ui, 90.0, |share| theme::ramp_color(is_dark, f64::from(share)));
            let age = oldest.map_or(String::new(), |steps| format!("; up to {} old", steps_in_words(steps)));
            ui.label(RichText::new(format!("{}{age}", short(to))).small().color(colors(ui).secondary))
                .on_hover_text(self.measure.meaning());
        });
    }
}

/// Thumbnails of the whole network over time, oldest first; `share` places a tile on the ramp, given the norm of the
/// whole update. Returns the step of the clicked one.
fn history(
    ui: &mut Ui,
    sweeps: &VecDeque<Vec<MatrixSummary>>,
    places: &[TilePosition],
    lines: usize,
    share: impl Fn(&MatrixSummary, f64) -> Option<f64>,
) -> Option<u64> {
    if sweeps.len() < 2 {
        return None;
    }
    let mut chosen = None;
    let by_name: BTreeMap<&str, &TilePosition> = places.iter().map(|place| (place.parameter.as_str(), place)).collect();
    let dot = (26.0 / lines as f32).clamp(2.0, 5.0);
    let size = vec2(KINDS.len() as f32 * dot, lines as f32 * dot);
    let room = ((ui.available_width() + GAP) / (size.x + GAP)) as usize;
    ui.horizontal(|ui| {
        ui.spacing_mut().item_spacing.x = GAP;
        // If not all fit, show the newest.
        for sweep in sweeps.iter().skip(sweeps.len().saturating_sub(room)) {
            let (rect, response) = ui.allocate_exact_size(size, Sense::click());
            let whole = whole(sweep);
            for tile in sweep {
                let Some(place) = by_name.get(tile.parameter.as_str()) else { continue };
                let Some(share) = share(tile, whole) else { continue };
                let corner = rect.min + dot * vec2(place.column as f32, place.line as f32);
                let size = vec2(if is_wide(&tile.parameter) { size.x } else { dot }, dot);
                ui.painter().rect_filled(Rect::from_min_size(corner, size), 0.0, ramp(ui, share));
            }
            let step = sweep.iter().map(|tile| tile.step).max().unwrap_or(0);
            if response.on_hover_text(format!("step {step}; click to go there")).clicked() {
                chosen = Some(step);
            }
        }
    });
    chosen
}

/// Space between two thumbnails.
const GAP: f32 = 8.0;

/// The norm of the whole update, from the tiles that are known.
fn whole(tiles: &[MatrixSummary]) -> f64 {
    tiles.iter().filter_map(|tile| tile.length).map(|length| length * length).sum::<f64>().sqrt()
}

fn share_of(value: f64, [from, to]: [f64; 2]) -> f64 {
    (value - from) / (to - from)
}

/// Embedding and head take a whole line.
fn is_wide(parameter: &str) -> bool {
    layer(parameter).is_none()
}

/// The layer number in a parameter's name.
fn layer(parameter: &str) -> Option<usize> {
    parameter.strip_prefix("model.layers.")?.split('.').next()?.parse().ok()
}

/// The embedding on the first line, then one line per layer, the head on the last.
fn places(matrices: &[String]) -> Vec<TilePosition> {
    let layers = matrices.iter().filter_map(|name| layer(name)).max().map_or(0, |last| last + 1);
    let place = |name: &String| {
        let (line, column) = match layer(name) {
            Some(layer) => (layer + 1, KINDS.iter().position(|(kind, _)| name.contains(kind))?),
            None if name.contains("embed_tokens") => (0, 0),
            None => (layers + 1, 0),
        };
        Some(TilePosition { parameter: name.clone(), line, column })
    };
    matrices.iter().filter_map(place).collect()
}

#[cfg(test)]
mod tests {
    use super::places;
    use crate::settings::{Settings, matrices};

    #[test]
    fn every_matrix_of_a_model_has_a_place_of_its_own() {
        for model in ["micro", "small"] {
            let settings = Settings { model: model.into(), ..Settings::default_for(true) };
            let names = matrices(&settings.config("sinkgd", 256).unwrap());
            let found = places(&names);
            assert_eq!(found.len(), names.len());
            let mut at: Vec<[usize; 2]> = found.iter().map(|place| [place.line, place.column]).collect();
            at.sort_unstable();
            at.dedup();
            assert_eq!(at.len(), names.len(), "{model}");
        }
    }
}
