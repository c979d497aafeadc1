//! The window: tabs, keys, and the selected view.

#[cfg(not(target_arch = "wasm32"))]
use std::cell::RefCell;
#[cfg(not(target_arch = "wasm32"))]
use std::path::PathBuf;
#[cfg(not(target_arch = "wasm32"))]
use std::rc::Rc;
use std::sync::Arc;

use eframe::egui::{self, Key, RichText, Ui};
use eframe::{CreationContext, Frame};
use multinorm::data::dataset::Dataset;
use multinorm::gpu::Gpu;

use crate::chart::{self, SaveRequest};
use crate::lab::{Arrival, Lab, Picture, Status, frame_rest, is_taking};
use crate::panels::{Views, card_place};
use crate::settings::{Panel, Settings};
use crate::{platform, theme};

/// How the lab starts.
pub enum Start {
    /// A new lab, with a text and a link.
    New {
        /// The text to train on.
        dataset: Arc<Dataset>,
        /// Settings such as `panel=why&seed=3`.
        link: String,
        /// What to open right away.
        first: Option<Arrival>,
    },
    /// A lab whose device was lost.
    Survivor(Box<Lab>),
}

/// The lab in a window or on a canvas.
pub struct App {
    ctx: egui::Context,
    /// `None` once it has moved elsewhere.
    lab: Option<Lab>,
    views: Views,
    /// Milliseconds that the interface itself took in each of the latest frames.
    frame_ms: Vec<f64>,
    /// Seconds spent on events before the upcoming frame.
    logic_secs: f64,
    /// What the command line asked the window to do.
    #[cfg(not(target_arch = "wasm32"))]
    orders: Orders,
}

/// What a window does by itself, and where it leaves a lab whose device was lost.
#[cfg(not(target_arch = "wasm32"))]
#[derive(Clone, Default)]
pub struct Orders {
    /// Saves a picture of the window to this file once every run has made this many steps, then closes it.
    pub picture: Option<(PathBuf, u64)>,
    /// Destroys the device after this many steps, as a driver reset would, to test the recovery.
    pub lose_device: Option<u64>,
    /// Holds the lab for the next window when this one closes because its device was lost.
    pub survivor: Rc<RefCell<Option<Lab>>>,
}

/// The number of frame times to keep.
const FRAMES_KEPT: usize = 600;

impl App {
    /// Shares the device that draws. Errors say what the user can do.
    pub fn new(context: &CreationContext<'_>, start: Start) -> Result<Self, String> {
        theme::apply(&context.egui_ctx);
        let state = context.wgpu_render_state.as_ref().ok_or("the window does not draw through wgpu")?;
        let info = state.adapter.get_info();
        if info.backend == eframe::wgpu::Backend::Gl && cfg!(target_arch = "wasm32") {
            return Err("WebGL has no compute shaders: use a browser with WebGPU".into());
        }
        #[cfg_attr(
            target_arch = "wasm32",
            expect(
                clippy::arc_with_non_send_sync,
                reason = "the trainer shares it across threads where there are any"
            )
        )]
        let gpu = Arc::new(Gpu::from_device(&info, state.device.clone(), state.queue.clone()));
        let ctx = context.egui_ctx.clone();
        let rest = frame_rest(&gpu.profile);
        let wake = move || ctx.request_repaint_after(rest);
        let lab = match start {
            Start::New { dataset, link, first } => {
                let (settings, complaints) = Settings::from_query(&link, &Settings::default_for(gpu.profile.software));
                let mut lab = Lab::new(gpu, dataset, settings, first, wake);
                if !complaints.is_empty() {
                    lab.notice = complaints.join("; ");
                }
                lab
            }
            Start::Survivor(mut lab) => {
                lab.move_to(gpu, wake);
                *lab
            }
        };
        Ok(Self {
            ctx: context.egui_ctx.clone(),
            lab: Some(lab),
            views: Views::default(),
            frame_ms: Vec::new(),
            logic_secs: 0.0,
            #[cfg(not(target_arch = "wasm32"))]
            orders: Orders::default(),
        })
    }

    /// Adds orders to the window.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn with_orders(mut self, orders: Orders) -> Self {
        self.orders = orders;
        self
    }

    /// The state behind the views.
    pub fn lab(&mut self) -> Option<&mut Lab> {
        self.lab.as_mut()
    }

    /// Requests a repaint after the state was changed from outside.
    pub fn repaint(&self) {
        self.ctx.request_repaint();
    }

    /// Takes the state out, to continue on another device.
    pub fn take_lab(&mut self) -> Option<Lab> {
        self.lab.take()
    }

    /// Milliseconds of the interface's own work in each of the latest frames.
    pub fn frame_ms(&self) -> &[f64] {
        &self.frame_ms
    }
}

impl eframe::App for App {
    fn logic(&mut self, ctx: &egui::Context, _frame: &mut Frame) {
        let began = web_time::Instant::now();
        let Some(lab) = &mut self.lab else { return };
        lab.poll();
        lab.take_picture(ctx);
        self.logic_secs = began.elapsed().as_secs_f64();
        #[cfg(not(target_arch = "wasm32"))]
        self.orders.follow(ctx, lab);
    }

    fn ui(&mut self, ui: &mut Ui, _frame: &mut Frame) {
        let began = web_time::Instant::now();
        // Drawing on a lost device makes the renderer panic.
        #[cfg(not(target_arch = "wasm32"))]
        if self.lab.as_ref().is_some_and(|lab| lab.gpu.is_lost()) {
            return;
        }
        let Self { lab: Some(lab), views, frame_ms, logic_secs, .. } = self else { return };
        keys(ui, lab);
        dropped(ui, lab);
        draw(ui, lab, views);
        card(ui, lab, views);
        for wish in chart::take_wishes(ui.ctx()) {
            match wish {
                SaveRequest::Picture { name, place } => lab.picture(ui.ctx(), Picture::Plot { name, place }),
                SaveRequest::Csv { name, csv } => save(lab, &format!("{name}.csv"), csv.as_bytes()),
            }
        }
        frame_ms.push((*logic_secs + began.elapsed().as_secs_f64()) * 1e3);
        let surplus = frame_ms.len().saturating_sub(FRAMES_KEPT);
        frame_ms.drain(..surplus);
    }

    #[cfg(target_arch = "wasm32")]
    fn as_any_mut(&mut self) -> Option<&mut dyn std::any::Any> {
        Some(self)
    }
}

#[cfg(not(target_arch = "wasm32"))]
impl Orders {
    /// Carries out orders that are due, and closes the window if its device is lost.
    fn follow(&mut self, ctx: &egui::Context, lab: &mut Lab) {
        if let Some((path, _)) = self.picture.take_if(|(_, steps)| lab.has_seen(*steps)) {
            lab.picture(ctx, Picture::File(path));
        }
        if self.lose_device.take_if(|steps| lab.has_seen(*steps)).is_some() {
            lab.gpu.destroy();
        }
        if lab.gpu.is_lost() {
            ctx.send_viewport_cmd(egui::ViewportCommand::Close);
        }
    }
}

/// Runs however the window ends: normally, or because its renderer noticed the lost device first.
#[cfg(not(target_arch = "wasm32"))]
impl Drop for App {
    fn drop(&mut self) {
        let is_lost = |lab: &mut Lab| lab.gpu.wait().is_err() && lab.gpu.is_lost();
        *self.orders.survivor.borrow_mut() = self.lab.take_if(is_lost);
    }
}

/// The whole window.
pub(crate) fn draw(ui: &mut Ui, lab: &mut Lab, views: &mut Views) {
    theme::scale_to_screen(ui);
    egui::Frame::central_panel(ui.style()).show(ui, |ui| {
        top(ui, lab);
        let panel = lab.settings.panel;
        // The first screen fits the window; the others scroll.
        if panel == Panel::Watch {
            views.show(panel, ui, lab);
        } else {
            egui::ScrollArea::vertical().auto_shrink(false).show(ui, |ui| views.show(panel, ui, lab));
        }
    });
}

/// Draws the card over the window, from the frame that requests it to the one that is captured.
fn card(ui: &mut Ui, lab: &mut Lab, views: &mut Views) {
    if !lab.wants_card {
        return;
    }
    let place = card_place(ui.ctx().content_rect());
    egui::Area::new(egui::Id::unique("card")).order(egui::Order::Foreground).fixed_pos(place.min).show(
        ui.ctx(),
        |ui| {
            ui.set_clip_rect(place);
            views.watch.card(ui, lab, place);
        },
    );
    if !is_taking(ui.ctx()) {
        lab.picture(ui.ctx(), Picture::Card { place });
    }
}

/// Tabs, the main button, the status, and the save menu.
fn top(ui: &mut Ui, lab: &mut Lab) {
    ui.horizontal_wrapped(|ui| {
        let (first, more) = Panel::ALL.split_at(Panel::FIRST);
        for &panel in first {
            let words = RichText::new(panel.title()).strong();
            if ui.selectable_label(lab.settings.panel == panel, words).clicked() {
                lab.settings.panel = panel;
            }
        }
        let behind = more.iter().find(|panel| **panel == lab.settings.panel);
        ui.menu_button(behind.map_or("More", |panel| panel.title()), |ui| {
            for &panel in more {
                if ui.selectable_label(lab.settings.panel == panel, panel.title()).clicked() {
                    lab.settings.panel = panel;
                    ui.close();
                }
            }
            ui.separator();
            ui.menu_button("Save", |ui| saves(ui, lab));
            ui.horizontal(theme::choice);
        });
        ui.separator();
        let running = lab.status == Status::Running;
        if theme::primary_button(ui, if running { "Pause" } else { "Train" }).on_hover_text("Space").clicked() {
            lab.run(!running);
        }
        let step = lab.runs.first().and_then(|run| run.last()).map_or(0, |last| last.step);
        let optimizers: Vec<&str> = lab.runs.iter().map(|run| run.optimizer.as_str()).collect();
        ui.weak(format!("{} · step {step} · {}", optimizers.join(" and "), lab.status.describe()))
            .on_hover_text(adapter(lab));
    });
    if !lab.notice.is_empty() {
        ui.horizontal_wrapped(|ui| {
            ui.label(RichText::new(&lab.notice).strong());
            if ui.button("Dismiss").clicked() {
                lab.notice.clear();
            }
        });
    }
    if let Status::Failed { device_lost: false, .. } = lab.status
        && ui.button("Start again").clicked()
    {
        lab.reset();
    }
    ui.add_space(2.0);
}

/// The adapter that trains, and the text.
fn adapter(lab: &Lab) -> String {
    let kind = if lab.gpu.profile.software { " (a software adapter: slow)" } else { "" };
    format!("{}{kind}; text: {}", lab.gpu.adapter_name, lab.dataset.name)
}

fn saves(ui: &mut Ui, lab: &mut Lab) {
    for run in 0..lab.runs.len() {
        let name = lab.runs[run].optimizer.clone();
        if ui.button(format!("{name}: metrics.jsonl")).clicked() {
            save(lab, &format!("{name}-metrics.jsonl"), lab.runs[run].metrics().as_bytes());
            ui.close();
        }
        if ui.button(format!("{name}: losses as CSV")).clicked() {
            save(lab, &format!("{name}-losses.csv"), lab.runs[run].losses_csv().as_bytes());
            ui.close();
        }
        if ui.button(format!("{name}: spectrum as CSV")).clicked() {
            save(lab, &format!("{name}-spectrum.csv"), lab.runs[run].spectrum_csv().as_bytes());
            ui.close();
        }
        if ui.button(format!("{name}: watched gradient as safetensors")).clicked() {
            match lab.runs[run].gradient_file() {
                Some(bytes) => save(lab, &format!("{name}-gradient.safetensors"), &bytes),
                None => lab.notice = "no gradient has been read yet".into(),
            }
            ui.close();
        }
        if ui.button(format!("{name}: weights (model.safetensors and its folder)")).clicked() {
            lab.save_weights(run);
            ui.close();
        }
    }
    if ui.button("Share card (PNG, 1200×630)").clicked() {
        ui.close();
        lab.wants_card = true;
    }
    if ui.button("This view as PNG").clicked() {
        ui.close();
        lab.picture(ui.ctx(), Picture::Window);
    }
}

fn save(lab: &mut Lab, name: &str, bytes: &[u8]) {
    lab.notice = platform::save(name, bytes).unwrap_or_else(|error| error.to_string());
}

/// Space trains and pauses, S steps, R resets, arrows step through the passes, 1 to 9 select a tab, unless a text field
/// has the focus. These keys are consumed before the focused widget sees them, except for the arrows, which it keeps.
fn keys(ui: &mut Ui, lab: &mut Lab) {
    if ui.ctx().text_edit_focused() {
        return;
    }
    let has_focus = ui.ctx().memory(|memory| memory.focused().is_some());
    let pressed = |key: Key| ui.input_mut(|input| input.consume_key(egui::Modifiers::NONE, key));
    if pressed(Key::Space) {
        lab.run(lab.status != Status::Running);
    }
    if pressed(Key::S) {
        lab.step();
    }
    if pressed(Key::R) {
        lab.reset();
    }
    let digits = [Key::Num1, Key::Num2, Key::Num3, Key::Num4, Key::Num5, Key::Num6, Key::Num7, Key::Num8, Key::Num9];
    if let Some((_, &panel)) = digits.into_iter().zip(Panel::ALL).find(|&(key, _)| pressed(key)) {
        lab.settings.panel = panel;
    }
    if has_focus {
        return;
    }
    // Start from the pass shown: another optimizer may have fewer passes than the one chosen before.
    let last = lab.last_half_step();
    let now = ui.input(|input| input.time);
    let before = lab.moment(now, false).pass.min(last);
    lab.settings.half_step = match (pressed(Key::ArrowLeft), pressed(Key::ArrowRight)) {
        (true, false) => Some(before.saturating_sub(1)),
        (false, true) => Some((before + 1).min(last)),
        _ => return,
    };
}

/// Reads files dropped on the lab.
fn dropped(ui: &mut Ui, lab: &mut Lab) {
    for file in ui.input(|input| input.raw.dropped_files.clone()) {
        let ctx = ui.ctx().clone();
        platform::read(file, lab.inbox(), move || ctx.request_repaint());
    }
}
