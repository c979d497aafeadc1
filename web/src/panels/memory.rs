//! Bytes by class for every optimizer and preset.

use std::collections::BTreeMap;

use eframe::egui::{self, Rect, RichText, Sense, TextStyle, Ui, pos2, vec2};
use multinorm::config::{PRESETS, RunConfig, RunDefaults};
use multinorm::gpu::{Class, Profile, bytes_in_words};
use multinorm::train::record_training;

use super::{caption, choice, text_width, wrap_as_one};
use crate::lab::Lab;
use crate::settings::optimizers;
use crate::theme::{is_narrow, series};

/// The plans made so far; planning the largest model takes a moment.
#[derive(Default)]
pub struct MemoryPanel {
    preset: Option<String>,
    planned: BTreeMap<(String, &'static str), Option<Planned>>,
}

/// The memory of a run that is planned but never started.
struct Planned {
    total: u64,
    /// In the order of [`PARTS`].
    parts: [u64; 6],
}

/// What the bytes are for. State of the linear layers is separate, because "stateless" refers to it.
const PARTS: [&str; 6] =
    ["parameters", "gradients", "state, linear layers", "state, embedding and head", "activations", "scratch"];

impl MemoryPanel {
    /// The view.
    pub fn show(&mut self, ui: &mut Ui, lab: &Lab) {
        let mut preset = self.preset.clone().unwrap_or_else(|| "60m".into());
        let presets: Vec<String> = PRESETS.iter().map(|preset| (*preset).to_owned()).collect();
        choice(ui, "model", &mut preset, &presets);
        self.preset = Some(preset.clone());
        // One plan per frame, so that the view never blocks for long.
        let missing = optimizers().into_iter().find(|name| !self.planned.contains_key(&(preset.clone(), *name)));
        if let Some(name) = missing {
            self.planned.insert((preset.clone(), name), plan(&preset, name));
            ui.ctx().request_repaint();
        }
        let mut rows: Vec<(&str, &Planned)> = optimizers()
            .into_iter()
            .filter_map(|name| Some((name, self.planned.get(&(preset.clone(), name))?.as_ref()?)))
            .collect();
        rows.sort_by_key(|(_, planned)| planned.total);
        caption(
            ui,
            "Memory for one step on one 256-token sequence in float32, exact to the byte, as the trainer plans it. The \
             main difference is the optimizer state, listed separately for linear layers and for embedding and head. \
             SinkGD, SWAN and signSGD keep none for linear layers. Methods that need no gradients store none.",
        );
        table(ui, &rows);
        ui.add_space(6.0);
        for run in &lab.runs {
            if let Some(memory) = &run.memory {
                let parts =
                    Class::ALL.map(|class| format!("{} {}", describe(class), bytes_in_words(memory.bytes(class))));
                ui.label(format!(
                    "This run, {}: {}; total {}",
                    run.optimizer,
                    parts.join(", "),
                    bytes_in_words(memory.total())
                ));
            }
        }
    }
}

fn plan(preset: &str, optimizer: &str) -> Option<Planned> {
    let sets = [
        format!("model.preset={preset}"),
        format!("optimizer.name={optimizer}"),
        "train.batch_size=1".into(),
        "train.micro_batch_size=1".into(),
        "train.sequence_length=256".into(),
        "eval.batch_size=1".into(),
    ];
    let config = RunConfig::load(None, &sets, RunDefaults::Gpu).ok()?;
    let recorded = record_training(&config, &Profile::webgpu_default()).ok()?;
    let memory = recorded.recorder.memory();
    let linear = recorded.linear_state_bytes(&config.model);
    let [parameters, gradients, state, activations, scratch] = Class::ALL.map(|class| memory.bytes(class));
    Some(Planned {
        total: memory.total(),
        parts: [parameters, gradients, linear, state - linear, activations, scratch],
    })
}

fn describe(class: Class) -> String {
    class.name().replace('_', " ")
}

/// One line per optimizer, smallest total first: a stacked bar and its numbers.
fn table(ui: &mut Ui, rows: &[(&str, &Planned)]) {
    let largest = rows.iter().map(|(_, planned)| planned.total).max().unwrap_or(1);
    // A phone only has room for bars and totals; the legend names the parts.
    let narrow = is_narrow(ui);
    let width = if narrow { 0.26 * ui.available_width() } else { (0.26 * ui.available_width()).clamp(140.0, 560.0) };
    if narrow {
        ui.horizontal_wrapped(|ui| (0..PARTS.len()).for_each(|part| named(ui, part)));
    }
    egui::ScrollArea::horizontal().show(ui, |ui| {
        egui::Grid::new("memory table").striped(true).show(ui, |ui| {
            ui.strong("optimizer");
            ui.strong(format!("0 – {}", bytes_in_words(largest)));
            ui.strong("total");
            if !narrow {
                (0..PARTS.len()).for_each(|part| named(ui, part));
            }
            ui.end_row();
            for (name, planned) in rows {
                ui.label(*name);
                bar(ui, planned, width, largest);
                ui.label(RichText::new(bytes_in_words(planned.total)).monospace().strong());
                for bytes in planned.parts.into_iter().filter(|_| !narrow) {
                    ui.label(RichText::new(bytes_in_words(bytes)).monospace());
                }
                ui.end_row();
            }
        });
    });
}

/// A part's name with its colour in the bars.
fn named(ui: &mut Ui, part: usize) {
    wrap_as_one(ui, text_width(ui, PARTS[part], TextStyle::Small) + 24.0);
    ui.horizontal(|ui| {
        let (square, _) = ui.allocate_exact_size(vec2(10.0, 10.0), Sense::hover());
        ui.painter().rect_filled(square, 0.0, series(ui, part));
        ui.label(RichText::new(PARTS[part]).small().strong());
    });
}

/// The parts side by side; `largest` bytes take up `width`.
fn bar(ui: &mut Ui, planned: &Planned, width: f32, largest: u64) {
    let (room, _) = ui.allocate_exact_size(vec2(width, ui.text_style_height(&TextStyle::Body)), Sense::hover());
    let mut left = room.left();
    for (index, bytes) in planned.parts.into_iter().enumerate() {
        let length = width * (bytes as f64 / largest as f64) as f32;
        let part = Rect::from_min_size(pos2(left, room.top()), vec2(length, room.height()));
        ui.painter().rect_filled(part, 0.0, series(ui, index));
        left += length;
    }
}
