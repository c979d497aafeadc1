//! The JavaScript interface: `start` puts a lab on a canvas, and the object it returns answers pages and tests.

use std::cell::RefCell;

use eframe::CreationContext;
use serde_json::{Value, json};
use wasm_bindgen::prelude::*;
use web_sys::HtmlCanvasElement;

use crate::app::{App, Start};
use crate::lab::{Arrival, Lab, Look, RunView, Status, Text};
use crate::{own_words, wgpu_configuration};

thread_local! {
    /// A lab between two devices.
    static SURVIVOR: RefCell<Option<Lab>> = const { RefCell::new(None) };
}

/// What makes an app, or why it cannot be made.
type AppCreation = Result<Box<dyn eframe::App>, Box<dyn std::error::Error + Send + Sync>>;

/// A lab on a canvas.
#[wasm_bindgen]
pub struct Handle {
    runner: eframe::WebRunner,
}

/// Puts a lab on a canvas and begins to train.
///
/// `text` is learned, byte by byte; an empty one stands for this project's own words. `link` holds settings as the page's
/// address does.
/// Throws a sentence that a person can act on: no WebGPU, a text too short.
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
        // The lab between two devices is taken now that there is one: else it stays for another attempt.
        let survivor = SURVIVOR.take().map(|lab| Start::Survivor(Box::new(lab)));
        let start = survivor.or(new).ok_or("the lab between two devices was taken by another canvas")?;
        Ok(Box::new(App::new(context, start)?))
    };
    let runner = eframe::WebRunner::new();
    // Flat colours need no dithering, which a software adapter computes for every pixel.
    let options = eframe::WebOptions { wgpu_options: wgpu_configuration(), dithering: false, ..Default::default() };
    runner.start(canvas, options, Box::new(app)).await?;
    Ok(Handle { runner })
}

/// Why a lab cannot be asked.
const MOVED: &str = "the lab has moved to another device";

/// What is going on, in little.
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
    /// What is going on, as an object: `status`, `message`, `device_lost`, `adapter`, `text` (its name), `settings` (a
    /// link), `runs` with `optimizer`, `step`, `loss`, `losses`, `eval_loss`, `tokens_per_sec`, `state_bytes`, `looks`, and `text`; `frame_ms`.
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

    /// The same without what grows: `losses`, `looks`, `text`, `configuration` and `frame_ms`.
    pub fn summary(&self) -> Result<JsValue, JsValue> {
        let mut app = self.app()?;
        let Some(lab) = app.lab() else { return Err(MOVED.into()) };
        parsed(&summary(lab))
    }

    /// Sets one value by its key in a link: `set("optimizer", "sinkgd,adam")`. A setting of the runs counts from the next
    /// `reset` on. Throws what is wrong with it.
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

    /// Trains, or pauses.
    pub fn run(&self, running: bool) -> Result<(), JsValue> {
        self.with(|lab| {
            lab.run(running);
            Ok(())
        })
    }

    /// One step of every run, then pause; `state()` tells when it has been done.
    pub fn step(&self) -> Result<(), JsValue> {
        self.with(|lab| {
            lab.step();
            Ok(())
        })
    }

    /// New runs from the settings.
    pub fn reset(&self) -> Result<(), JsValue> {
        self.with(|lab| {
            lab.reset();
            Ok(())
        })
    }

    /// The newest look into a run's watched gradient: `step`, `parameter`, `shape`, `passes` as `multinorm normalize
    /// --spectrum` tells them, `rate_predicted`, `rate_observed`; null before the first.
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

    /// The gradient of that look as a safetensors file; null before the first.
    pub fn gradient(&self, run: usize) -> Result<JsValue, JsValue> {
        self.with(|lab| {
            let bytes = lab.runs.get(run).and_then(|run| run.gradient_file());
            Ok(bytes.map_or(JsValue::NULL, |bytes| js_sys::Uint8Array::from(&bytes[..]).into()))
        })
    }

    /// Opens a file, given as bytes: the matrices of one called .safetensors are looked into instead of the runs, until
    /// `close`; anything else is a text to learn.
    pub fn open(&self, name: String, bytes: &[u8]) -> Result<(), JsValue> {
        self.with(|lab| {
            lab.open(Arrival::of_file(name, bytes));
            Ok(())
        })
    }

    /// Looks at the runs again.
    pub fn close(&self) -> Result<(), JsValue> {
        self.with(|lab| {
            lab.close_file();
            Ok(())
        })
    }

    /// Learns another text, given as a string, byte by byte.
    pub fn learn(&self, name: String, text: String) -> Result<(), JsValue> {
        self.with(|lab| {
            let text = Text { name, license: "yours".into(), text };
            lab.open(text.dataset().map_or_else(|error| Arrival::Refused(error.to_string()), Arrival::Text));
            Ok(())
        })
    }

    /// Ends the device as a driver reset would: for tests of what happens then.
    pub fn lose_device(&self) -> Result<(), JsValue> {
        self.with(|lab| {
            lab.gpu.destroy();
            Ok(())
        })
    }

    /// Every kernel that needs nothing beyond WebGPU's default limits, as `name` and `code`: for tests of a browser's compiler.
    pub fn shaders(&self) -> Result<JsValue, JsValue> {
        let plain = multinorm::kernels::all().filter(|kernel| kernel.needs.is_empty());
        let shaders = plain.map(|kernel| json!({ "name": kernel.name, "code": kernel.source() }));
        parsed(&Value::Array(shaders.collect()))
    }

    /// Takes the lab off its canvas, so that the next `start` goes on with it on a new device.
    pub fn leave(self) -> Result<(), JsValue> {
        let lab = self.app()?.take_lab();
        SURVIVOR.set(lab);
        self.runner.destroy();
        Ok(())
    }

    /// What made the interface stop, if it did.
    pub fn panic_message(&self) -> Option<String> {
        self.runner.panic_summary().map(|summary| summary.message())
    }

    fn app(&self) -> Result<std::cell::RefMut<'_, App>, JsValue> {
        self.runner.app_mut::<App>().ok_or_else(|| "the lab is not there (any more)".into())
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
