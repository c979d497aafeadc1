//! Bytes by class, for every optimizer at every preset.

use std::collections::BTreeMap;

use eframe::egui::{self, RichText, Ui};
use egui_plot::{Bar, BarChart, Corner, Legend, Plot};
use multinorm::config::{PRESETS, RunConfig, RunDefaults};
use multinorm::gpu::{Class, Form, Memory, Profile, bytes_in_words};
use multinorm::train::record_training;

use super::{caption, choice};
use crate::lab::Lab;
use crate::plots::ink;
use crate::settings::optimizers;

/// What was planned so far: planning the largest takes a moment.
#[derive(Default)]
pub struct MemoryPanel {
    preset: Option<String>,
    planned: BTreeMap<(String, &'static str), Memory>,
}

/// What is drawn, from the bottom.
const CLASSES: [Class; 4] = [Class::Parameters, Class::Gradients, Class::OptimizerState, Class::Activations];

impl MemoryPanel {
    /// The view.
    pub fn show(&mut self, ui: &mut Ui, lab: &Lab) {
        let mut preset = self.preset.clone().unwrap_or_else(|| "60m".into());
        let presets: Vec<String> = PRESETS.iter().map(|preset| (*preset).to_owned()).collect();
        choice(ui, "model", &mut preset, &presets);
        self.preset = Some(preset.clone());
        // One plan a frame, so that the view never waits long.
        let missing = optimizers().into_iter().find(|name| !self.planned.contains_key(&(preset.clone(), *name)));
        if let Some(name) = missing {
            if let Some(memory) = plan(&preset, name) {
                self.planned.insert((preset.clone(), name), memory);
            }
            ui.ctx().request_repaint();
        }
        let rows: Vec<(&str, &Memory)> = optimizers()
            .into_iter()
            .filter_map(|name| Some((name, self.planned.get(&(preset.clone(), name))?)))
            .collect();
        chart(ui, &rows);
        caption(
            ui,
            "One step of one sequence of 256 tokens in float32, as the trainer's own ledger plans it, to the byte. The part \
             that an optimizer adds is its state; SinkGD, SWAN and signSGD keep none for the linear layers.",
        );
        table(ui, &rows);
        for run in &lab.runs {
            if let Some(memory) = &run.memory {
                let parts = Class::ALL.map(|class| format!("{} {}", words(class), bytes_in_words(memory.bytes(class))));
                ui.label(format!(
                    "This run, {}: {}; in all {}",
                    run.optimizer,
                    parts.join(", "),
                    bytes_in_words(memory.total())
                ));
            }
        }
    }
}

/// The ledger of a run that is not made.
fn plan(preset: &str, optimizer: &str) -> Option<Memory> {
    let sets = [
        format!("model.preset={preset}"),
        format!("optimizer.name={optimizer}"),
        "train.batch_size=1".into(),
        "train.micro_batch_size=1".into(),
        "train.sequence_length=256".into(),
        "eval.batch_size=1".into(),
    ];
    let config = RunConfig::load(None, &sets, RunDefaults::Gpu).ok()?;
    Some(record_training(&config, &Profile::webgpu_default(Form::WorkgroupTiles)).ok()?.recorder.memory())
}

fn words(class: Class) -> String {
    class.name().replace('_', " ")
}

fn chart(ui: &mut Ui, rows: &[(&str, &Memory)]) {
    const GIB: f64 = (1u64 << 30) as f64;
    let mut charts: Vec<BarChart> = Vec::new();
    for (index, class) in CLASSES.into_iter().enumerate() {
        let bars = rows.iter().enumerate().map(|(at, (name, memory))| {
            let bytes = memory.bytes(class);
            Bar::new(at as f64, bytes as f64 / GIB).name(format!("{name}: {} {}", words(class), bytes_in_words(bytes)))
        });
        let below: Vec<&BarChart> = charts.iter().collect();
        let chart = BarChart::new(words(class), bars.collect()).color(ink(ui, index)).width(0.7).stack_on(&below);
        charts.push(chart);
    }
    let names: Vec<String> = rows.iter().map(|(name, _)| name.replace('-', "-\n")).collect();
    Plot::new("memory")
        .height(300.0)
        .allow_scroll(false)
        .allow_drag(false)
        .allow_zoom(false)
        .y_axis_label("GiB on the device")
        .include_x(rows.len() as f64 + 1.5)
        .x_axis_formatter(move |mark, _| match (mark.value.fract() == 0.0, usize::try_from(mark.value as i64)) {
            (true, Ok(at)) => names.get(at).cloned().unwrap_or_default(),
            _ => String::new(),
        })
        .legend(Legend::default().position(Corner::RightTop))
        .show(ui, |plot| charts.into_iter().for_each(|chart| plot.bar_chart(chart)));
}

fn table(ui: &mut Ui, rows: &[(&str, &Memory)]) {
    egui::ScrollArea::horizontal().show(ui, |ui| {
        egui::Grid::new("memory table").striped(true).num_columns(CLASSES.len() + 2).show(ui, |ui| {
            ui.strong("optimizer");
            CLASSES.iter().for_each(|class| drop(ui.strong(words(*class))));
            ui.strong("in all");
            ui.end_row();
            for (name, memory) in rows {
                ui.label(*name);
                for class in CLASSES {
                    ui.label(RichText::new(bytes_in_words(memory.bytes(class))).monospace());
                }
                ui.label(RichText::new(bytes_in_words(memory.total())).monospace());
                ui.end_row();
            }
        });
    });
}
