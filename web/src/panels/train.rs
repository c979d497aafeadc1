//! Loss, speed, time by kernel, and the text that the model writes as it learns.

use std::sync::Arc;

use eframe::egui::{self, RichText, Ui};
use multinorm::gpu::bytes_in_words;
use multinorm::train::Plan;

use super::watch::centered_mean;
use super::{caption, choice, columns, half_height, nothing_yet, reading};
use crate::chart::{Axis, Chart, Curve, Dash, Mark, Scale, short};
use crate::lab::{Lab, RunView, Status};
use crate::settings::{SIZES, optimizers_with_gradients};
use crate::theme::{optimizer, section, series};

/// How the curves are drawn.
#[derive(Default)]
pub struct TrainPanel {
    log: bool,
    by_second: bool,
    recent: bool,
}

/// Number of steps that "recent" shows.
const RECENT: usize = 200;

impl TrainPanel {
    /// The view.
    pub fn show(&mut self, ui: &mut Ui, lab: &mut Lab) {
        controls(ui, lab);
        ui.separator();
        readings(ui, lab);
        self.losses(ui, lab);
        columns(ui, 2, |ui, index| match index {
            0 => kernels(ui, lab),
            _ => texts(ui, lab),
        });
    }

    fn losses(&mut self, ui: &mut Ui, lab: &Lab) {
        ui.horizontal_wrapped(|ui| {
            ui.checkbox(&mut self.log, "logarithmic").on_hover_text("show the loss on a log axis");
            ui.checkbox(&mut self.by_second, "by time").on_hover_text("training seconds instead of steps");
            ui.checkbox(&mut self.recent, "newest 200 steps")
                .on_hover_text("keeps the high losses at the start from flattening the curve");
        });
        let mut curves = Vec::new();
        for (index, run) in lab.earlier.iter().enumerate() {
            let color = series(ui, index + 2);
            curves.push(Curve::line(&run.label, color, self.training(run)).faint().dashed(Dash::of(index + 1)));
        }
        for (index, run) in lab.runs.iter().enumerate() {
            let (name, color) = (&run.optimizer, optimizer(ui, &run.optimizer));
            curves.push(Curve::line("", color, self.training(run)).faint());
            let mean = centered_mean(&self.training(run));
            curves.push(Curve::line(format!("{name}: mean of 11"), color, mean));
            let held_out = run.evaluations.iter().map(|&(step, secs, loss)| [self.x(step, secs), loss]).collect();
            let held_out = Curve::line(format!("{name}: held-out text"), color, self.newest(held_out));
            curves.push(held_out.dashed(Dash::Long).marked(Mark::of(index)));
        }
        let x = match self.by_second {
            true => Axis::new("seconds of training", Scale::Linear),
            false => Axis::new("steps", Scale::Whole),
        };
        let y = Axis::new("nats per token", Scale::log_if(self.log));
        Chart::new("losses", "Loss", x, y, half_height(ui)).show(ui, &curves);
        caption(
            ui,
            "Lower is better. The thin line is the loss of each step's batch, which is noisy; marks are losses on text \
             not used for training. exp(loss) is perplexity: the model is as unsure as if it chose evenly among that many \
             tokens.",
        );
    }

    fn x(&self, step: u64, secs: f64) -> f64 {
        if self.by_second { secs } else { step as f64 }
    }

    fn training(&self, run: &RunView) -> Vec<[f64; 2]> {
        self.newest(run.steps.iter().map(|(report, secs)| [self.x(report.step, *secs), report.loss]).collect())
    }

    fn newest(&self, mut points: Vec<[f64; 2]>) -> Vec<[f64; 2]> {
        if self.recent && points.len() > RECENT {
            points.drain(..points.len() - RECENT);
        }
        points
    }
}

/// Step and reset buttons, and the choice of what to train.
fn controls(ui: &mut Ui, lab: &mut Lab) {
    ui.horizontal_wrapped(|ui| {
        if ui.button("Step").on_hover_text("one step of every run, then pause (S)").clicked() {
            lab.step();
        }
        if ui.button("Reset").on_hover_text("start again from step 0 with the same seed (R)").clicked() {
            lab.reset();
        }
        if ui.button("New seed").on_hover_text("new initial weights and batches").clicked() {
            lab.settings.seed += 1;
            lab.reset();
        }
        if lab.wants_reset() {
            let changed = ui.button(RichText::new("Start with the changed settings").strong());
            if changed.on_hover_text("the runs shown use the previous settings").clicked() {
                lab.reset();
            }
        }
    });
    if let Some(folder) = lab.folder.clone() {
        ui.horizontal_wrapped(|ui| {
            ui.strong(format!("the run in {folder}")).on_hover_text("nothing is written into its folder");
            if ui.button("Back to the lab's own runs").clicked() {
                lab.close_run();
            }
        });
        return;
    }
    if !Arc::ptr_eq(&lab.dataset, &lab.own_text) {
        ui.horizontal_wrapped(|ui| {
            ui.label(format!("training on {}", lab.dataset.name));
            if ui.button(format!("Back to {}", lab.own_text.name)).clicked() {
                lab.learn(lab.own_text.clone());
            }
        });
    }
    ui.horizontal_wrapped(|ui| {
        let names: Vec<String> = optimizers_with_gradients().into_iter().map(str::to_owned).collect();
        choice(ui, "optimizer", &mut lab.settings.optimizers[0], &names);
        let mut beside = lab.settings.optimizers.get(1).cloned().unwrap_or_else(|| NOTHING.into());
        let mut options = vec![NOTHING.to_owned()];
        options.extend(names);
        if choice(ui, "compare with", &mut beside, &options) {
            lab.settings.optimizers.truncate(1);
            if beside != NOTHING {
                lab.settings.optimizers.push(beside);
            }
        }
        let sizes: Vec<String> = SIZES.iter().map(|size| size.key.to_owned()).collect();
        choice(ui, "model", &mut lab.settings.model, &sizes);
    });
    egui::CollapsingHeader::new("More settings").show(ui, |ui| advanced(ui, lab));
}

/// Settings that most readers leave alone.
fn advanced(ui: &mut Ui, lab: &mut Lab) {
    let f16 = lab.gpu.profile.f16;
    let settings = &mut lab.settings;
    let before = settings.every;
    egui::Grid::new("more settings").num_columns(2).spacing([16.0, 8.0]).show(ui, |ui| {
        ui.label("learning rate (× the optimizer's default)");
        ui.add(egui::Slider::new(&mut settings.lr_factor, 0.1..=10.0).logarithmic(true));
        ui.end_row();
        ui.label("sequences per step");
        ui.add(egui::Slider::new(&mut settings.batch_size, 1..=32));
        ui.end_row();
        ui.label("tokens per sequence");
        ui.add(egui::Slider::new(&mut settings.sequence_length, 16..=256).step_by(16.0));
        ui.end_row();
        ui.label("seed");
        ui.add(egui::DragValue::new(&mut settings.seed));
        ui.end_row();
        ui.label("half precision");
        let half = egui::Checkbox::without_text(&mut settings.half_precision);
        ui.add_enabled(f16, half)
            .on_hover_text("16-bit activations, with a loss scale that keeps their gradients in range")
            .on_disabled_hover_text("this adapter has no half precision (shader-f16)");
        ui.end_row();
        ui.label("steps between gradient samples");
        ui.add(egui::DragValue::new(&mut settings.every).range(1..=1000));
        ui.end_row();
    });
    if lab.settings.every != before {
        lab.watch();
    }
}

const NOTHING: &str = "none";

/// The newest numbers of each run.
fn readings(ui: &mut Ui, lab: &Lab) {
    for run in &lab.runs {
        ui.horizontal_wrapped(|ui| {
            ui.label(RichText::new(&run.optimizer).color(optimizer(ui, &run.optimizer)).strong());
            let Some(last) = run.last() else {
                let is_on_its_way = matches!(lab.status, Status::Building | Status::Running);
                ui.weak(if is_on_its_way { "waiting for the first step" } else { "no steps yet" });
                return;
            };
            reading(
                ui,
                "step",
                format!("{} of {}", last.step, lab.configs.first().map_or(0, |config| config.train.steps)),
                "weight updates so far",
            );
            reading(ui, "training loss", format!("{:.3}", last.loss), "nats per token, on the newest batch");
            if let Some((_, _, loss)) = run.evaluations.last() {
                let words = format!("{loss:.3}");
                reading(ui, "held-out loss", words, "nats per token, on text not used for training");
            }
            if let Some(speed) = run.tokens_per_sec() {
                let what = "over this run's last 20 steps, excluding the other run's time";
                reading(ui, "tokens per second", short(speed), what);
            }
            reading(ui, "learning rate", short(last.lr), "for linear layers, from the schedule");
            reading(ui, "gradient norm", short(last.grad_norm), "L2 norm of all gradients together");
            if let (Some(scale), Some(skipped)) = (last.loss_scale, last.skipped_steps) {
                let what = "gradients are multiplied by this to fit 16 bits; after an overflow it is halved and the step is skipped";
                reading(ui, "loss scale", format!("2^{}, {skipped} skipped", scale.log2()), what);
            }
            if let Some(memory) = &run.memory {
                let state = memory.bytes(multinorm::gpu::Class::OptimizerState);
                reading(
                    ui,
                    "optimizer state",
                    bytes_in_words(state),
                    "bytes the optimizer keeps between steps",
                );
            }
        });
    }
}

/// Where a step's device time goes.
fn kernels(ui: &mut Ui, lab: &Lab) {
    ui.horizontal(|ui| {
        section(ui, "Device time of a step");
        let can = lab.gpu.profile.timestamps;
        if ui
            .add_enabled(can, egui::Button::new("Measure"))
            .on_hover_text("times the next step kernel by kernel")
            .clicked()
        {
            lab.time();
        }
        if !can {
            ui.weak("this adapter has no timestamp queries");
        }
    });
    let measured: Vec<&RunView> = lab.runs.iter().filter(|run| !run.times.is_empty()).collect();
    if measured.is_empty() {
        nothing_yet(ui, "On a GPU every 50th step is timed by kernel. Otherwise, press Measure to time the next one.");
    }
    for run in measured {
        let mut parts: Vec<(&str, f64)> = Vec::new();
        for (plan, time) in run.times.iter().flat_map(|(plan, times)| times.iter().map(move |time| (*plan, time))) {
            let of_kernel = part_of(plan, time.kernel);
            match parts.iter_mut().find(|(part, _)| *part == of_kernel) {
                Some((_, sum)) => *sum += time.secs,
                None => parts.push((of_kernel, time.secs)),
            }
        }
        let total: f64 = parts.iter().map(|(_, secs)| secs).sum();
        parts.sort_by(|a, b| b.1.total_cmp(&a.1));
        ui.label(format!("{}: {:.1} ms in total", run.optimizer, 1e3 * total));
        for (part, secs) in parts {
            let share = if total > 0.0 { (secs / total) as f32 } else { 0.0 };
            ui.add(egui::ProgressBar::new(share).desired_width(ui.available_width().min(420.0)).text(format!(
                "{part}: {:.2} ms, {:.0} %",
                1e3 * secs,
                100.0 * share
            )));
        }
    }
}

/// The part of a step that a kernel belongs to; a matrix product within the update counts as the optimizer's.
fn part_of(plan: Plan, kernel: &str) -> &'static str {
    const PARTS: [(&str, &[&str]); 5] = [
        ("matrix products", &["matmul", "matvec"]),
        ("attention", &["attention", "rope"]),
        ("norms and activations", &["rms_norm", "add_rms_norm", "swiglu", "embedding", "column_sum"]),
        ("loss", &["cross_entropy"]),
        ("gradient norms", &["squared_norm", "gradient_norms", "gradient_statistics", "gradient_check"]),
    ];
    let found = PARTS.iter().find(|(_, stems)| stems.iter().any(|stem| kernel.starts_with(stem)));
    match found.map_or("optimizer", |(part, _)| part) {
        part @ "gradient norms" => part,
        _ if plan == Plan::Update => "optimizer",
        part => part,
    }
}

/// The text that the models write so far.
fn texts(ui: &mut Ui, lab: &mut Lab) {
    ui.horizontal(|ui| {
        section(ui, "Text");
        ui.label("prompt");
        if ui.add(egui::TextEdit::singleline(&mut lab.prompt).desired_width(160.0)).lost_focus() {
            lab.watch();
        }
    });
    let one = lab.runs.len() == 1;
    for run in &lab.runs {
        if run.texts.is_empty() {
            nothing_yet(ui, "The model writes after a few steps, then at regular intervals.");
        }
        for (step, text) in run.texts.iter().rev().take(if one { 4 } else { 2 }) {
            ui.label(RichText::new(format!("{} after {step} steps", run.optimizer)).small().weak());
            ui.label(RichText::new(text).monospace());
            ui.add_space(4.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kernel_has_a_part_and_the_optimizers_kernels_are_theirs() {
        let kernels = multinorm::kernels::all();
        let parts: Vec<(&str, &str)> =
            kernels.map(|kernel| (kernel.name, part_of(Plan::FirstMicroBatch, kernel.name))).collect();
        let of = |kernel: &str| parts.iter().find(|(name, _)| *name == kernel).unwrap().1;
        assert_eq!(part_of(Plan::Update, "matmul_nt_tile_64"), "optimizer", "Newton-Schulz");
        assert_eq!(part_of(Plan::Update, "gradient_statistics"), "gradient norms");
        assert_eq!(of("scale_rows"), "optimizer");
        assert_eq!(of("gram_tile"), "optimizer");
        assert_eq!(of("matmul_nt_tile_64"), "matrix products");
        assert_eq!(of("embedding_backward"), "norms and activations");
        assert_eq!(of("gradient_statistics"), "gradient norms");
    }
}
