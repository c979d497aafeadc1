//! The JavaScript interface: `start` puts a lab on a canvas and returns an object for pages and tests to control it.

use std::cell::RefCell;

use eframe::CreationContext;
use serde_json::{Value, json};
use wasm_bindgen::prelude::*;
use web_sys::HtmlCanvasElement;

use crate::app::{App, Start};
use crate::lab::{Arrival, Lab, Look, RunView, Status, Text};
use crate::{own_words, wgpu_configuration};

thread_local! {
    /// A lab that is moving from one device to another.
    static SURVIVOR: RefCell<Option<Lab>> = const { RefCell::new(None) };
}

/// A new app, or why it cannot be made.
type AppCreation = Result<Box<dyn eframe::App>, Box<dyn std::error::Error + Send + Sync>>;

/// A lab on a canvas.
#[wasm_bindgen]
pub struct Handle {
    runner: eframe::WebRunner,
}

/// Puts a lab on a canvas and starts training.
///
/// It trains on `text`, one token per byte, or on this project's documentation if `text` is empty. `link` holds
/// settings as in the page's address.
/// Throws a message that the user can act on, such as no WebGPU or a text that is too short.
#[wasm_bindgen]
pub async fn start(
    canvas: HtmlCanvasElement,
    text: String,
    name: String,
    license: String,
    link: String,
) -> Result<Handle, JsValue> {
    let new = if SURVIVOR.with_borrow(Option::is_some) {
        None
    } else {
        let text = if text.is_empty() { own_words() } else { Text { name, license, text } };
        let dataset = text.dataset().map_err(|error| JsValue::from_str(&error.to_string()))?;
        Some(Start::New { dataset, link, first: None })
    };
    let app = move |context: &CreationContext<'_>| -> AppCreation {
        // Take the surviving lab only once there is a device; otherwise it stays for another attempt.
        let survivor = SURVIVOR.take().map(|lab| Start::Survivor(Box::new(lab)));
        let start = survivor.or(new).ok_or("the lab between two devices was taken by another canvas")?;
        Ok(Box::new(App::new(context, start)?))
    };
    let runner = eframe::WebRunner::new();
    // Flat colours need no dithering, which a software adapter would compute for every pixel.
    let options = eframe::WebOptions { wgpu_options: wgpu_configuration(), dithering: false, ..Default::default() };
    runner.start(canvas, options, Box::new(app)).await?;
    Ok(Handle { runner })
}

/// Why a handle no longer works.
const MOVED: &str = "the lab has moved to another device";

/// The current state without the parts that grow.
fn summary(lab: &Lab) -> Value {
    let (message, device_lost) = match &lab.status {
        Status::Failed { message, device_lost } => (message.as_str(), *device_lost),
        _ => ("", false),
    };
    let status = match lab.status {
        Status::Building => "building",
        Status::Paused => "paused",
        Status::Running => "running",
        Status::Finished => "finished",
        Status::Record { .. } => "record",
        Status::Failed { .. } => "failed",
    };
    let run = |run: &RunView| {
        let last = run.last();
        json!({
            "optimizer": run.optimizer,
            "step": last.map_or(0, |last| last.step),
            "loss": last.map(|last| last.loss),
            "eval_loss": run.evaluations.last().map(|(.., loss)| *loss),
            "tokens_per_sec": run.tokens_per_sec(),
            "state_bytes": run.memory.as_ref().map(|memory| memory.bytes(multinorm::gpu::Class::OptimizerState)),
        })
    };
    json!({
        "status": status,
        "message": message,
        "device_lost": device_lost,
        "notice": lab.notice,
        "adapter": lab.gpu.adapter_name,
        "software": lab.gpu.profile.software,
        "text": lab.dataset.name,
        "vocab_size": lab.dataset.vocab_size,
        "settings": lab.link(),
        "runs": lab.runs.iter().map(run).collect::<Vec<_>>(),
    })
}

#[wasm_bindgen]
impl Handle {
    /// The current state as an object: `status`, `message`, `device_lost`, `adapter`, `text` (its name), `settings` (a
    /// link), `runs` with `optimizer`, `step`, `loss`, `losses`, `eval_loss`, `tokens_per_sec`, `state_bytes`, `looks`,
    /// and `text`; `frame_ms`.
    pub fn state(&self) -> Result<JsValue, JsValue> {
        let mut app = self.app()?;
        let frame_ms = app.frame_ms().to_vec();
        let Some(lab) = app.lab() else { return Err(MOVED.into()) };
        let mut state = summary(lab);
        for (told, run) in state["runs"].as_array_mut().into_iter().flatten().zip(&lab.runs) {
            told["losses"] = run.steps.iter().map(|(report, _)| report.loss).collect();
            told["looks"] = run.looks.len().into();
            told["text"] = run.texts.last().map(|(_, text)| text.clone()).into();
        }
        state["configuration"] = lab.configuration().into();
        state["frame_ms"] = frame_ms.into();
        parsed(&state)
    }

    /// The same without the parts that grow: `losses`, `looks`, `text`, `configuration` and `frame_ms`.
    pub fn summary(&self) -> Result<JsValue, JsValue> {
        let mut app = self.app()?;
        let Some(lab) = app.lab() else { return Err(MOVED.into()) };
        parsed(&summary(lab))
    }

    /// Sets one value by its key in a link: `set("optimizer", "sinkgd,adam")`. Settings of the runs take effect at the
    /// next `reset`. Throws what is wrong with the value.
    pub fn set(&self, key: &str, value: &str) -> Result<(), JsValue> {
        self.with(|lab| {
            let before = lab.settings.clone();
            if key == "parameter" && !lab.matrices.iter().any(|name| name == value) {
                let message =
                    format!("parameter: the model has no matrix `{value}`; it has {}", lab.matrices.join(", "));
                return Err(JsValue::from_str(&message));
            }
            lab.settings.set(key, value).map_err(|error| JsValue::from_str(&error.to_string()))?;
            if lab.settings.parameter != before.parameter {
                let parameter = lab.settings.parameter.clone();
                lab.look_into(&parameter);
            } else if lab.settings.every != before.every {
                lab.watch();
            }
            Ok(())
        })
    }

    /// Trains or pauses.
    pub fn run(&self, running: bool) -> Result<(), JsValue> {
        self.with(|lab| {
            lab.run(running);
            Ok(())
        })
    }

    /// Makes one step of every run, then pauses; `state()` shows when it is done.
    pub fn step(&self) -> Result<(), JsValue> {
        self.with(|lab| {
            lab.step();
            Ok(())
        })
    }

    /// Starts new runs from the settings.
    pub fn reset(&self) -> Result<(), JsValue> {
        self.with(|lab| {
            lab.reset();
            Ok(())
        })
    }

    /// The newest look at a run's watched gradient: `step`, `parameter`, `shape`, `passes` as printed by `multinorm
    /// normalize --spectrum`, `rate_predicted`, `rate_observed`; null before the first.
    pub fn spectrum(&self, run: usize) -> Result<JsValue, JsValue> {
        self.with(|lab| match lab.views().get(run).and_then(|run| run.looks.back()) {
            None => Ok(JsValue::NULL),
            Some(Look { followed: look, .. }) => parsed(&json!({
                "step": look.record.step,
                "parameter": look.record.parameter,
                "shape": look.record.shape,
                "passes": look.record.passes,
                "rate_predicted": look.rate_predicted,
                "rate_observed": look.rate_observed,
            })),
        })
    }

    /// That look's gradient as a safetensors file; null before the first.
    pub fn gradient(&self, run: usize) -> Result<JsValue, JsValue> {
        self.with(|lab| {
            let bytes = lab.runs.get(run).and_then(|run| run.gradient_file());
            Ok(bytes.map_or(JsValue::NULL, |bytes| js_sys::Uint8Array::from(&bytes[..]).into()))
        })
    }

    /// Opens a file, given as bytes. The matrices of a .safetensors file are shown in place of the runs, until `close`;
    /// any other file is a text to train on.
    pub fn open(&self, name: String, bytes: &[u8]) -> Result<(), JsValue> {
        self.with(|lab| {
            lab.open(Arrival::of_file(name, bytes));
            Ok(())
        })
    }

    /// Goes back to the runs.
    pub fn close(&self) -> Result<(), JsValue> {
        self.with(|lab| {
            lab.close_file();
            Ok(())
        })
    }

    /// Trains on another text, given as a string, one token per byte.
    pub fn learn(&self, name: String, text: String) -> Result<(), JsValue> {
        self.with(|lab| {
            let text = Text { name, license: "yours".into(), text };
            lab.open(text.dataset().map_or_else(|error| Arrival::Refused(error.to_string()), Arrival::Text));
            Ok(())
        })
    }

    /// Destroys the device as a driver reset would, to test the recovery.
    pub fn lose_device(&self) -> Result<(), JsValue> {
        self.with(|lab| {
            lab.gpu.destroy();
            Ok(())
        })
    }

    /// Every kernel that needs nothing beyond WebGPU's default limits, as `name` and `code`, to test a browser's
    /// compiler.
    pub fn shaders(&self) -> Result<JsValue, JsValue> {
        let plain = multinorm::kernels::all().filter(|kernel| kernel.needs.is_empty());
        let shaders = plain.map(|kernel| json!({ "name": kernel.name, "code": kernel.source() }));
        parsed(&Value::Array(shaders.collect()))
    }

    /// Takes the lab off its canvas, so that the next `start` continues it on a new device.
    pub fn leave(self) -> Result<(), JsValue> {
        let lab = self.app()?.take_lab();
        SURVIVOR.set(lab);
        self.runner.destroy();
        Ok(())
    }

    /// Why the interface stopped, if it did.
    pub fn panic_message(&self) -> Option<String> {
        self.runner.panic_summary().map(|summary| summary.message())
    }

    fn app(&self) -> Result<std::cell::RefMut<'_, App>, JsValue> {
        self.runner.app_mut::<App>().ok_or_else(|| "the lab is not running".into())
    }

    fn with<T>(&self, act: impl FnOnce(&mut Lab) -> Result<T, JsValue>) -> Result<T, JsValue> {
        let mut app = self.app()?;
        app.repaint();
        let lab = app.lab().ok_or("the lab has moved to another device")?;
        lab.poll();
        act(lab)
    }
}

fn parsed(value: &Value) -> Result<JsValue, JsValue> {
    js_sys::JSON::parse(&value.to_string())
}
