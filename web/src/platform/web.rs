//! The page's event loop, a worker, downloads and the address bar.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use eframe::egui::DroppedFileHandle;
use js_sys::{Array, Float32Array, Int8Array, Uint8Array};
use multinorm::config::{Role, RunConfig, RunDefaults};
use multinorm::gpu::Gpu;
use multinorm::spectrum::BalancePicture;
use multinorm::train::{Frame, GradientSample};
use multinorm::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::json;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::{JsFuture, spawn_local};

use super::{Done, Job, Question, QuestionAnswer, SampleAnswer, Source, Wanted};
use crate::engine::{self, Command, Event};
use crate::lab::Arrival;

/// Gives the event loop a turn, for drawing, input and device callbacks.
pub async fn yield_to_event_loop() {
    let promise = js_sys::Promise::new(&mut |resolve, _| {
        let window = web_sys::window().expect("a page has a window");
        window.set_timeout_with_callback(&resolve).expect("a page can set a timer");
    });
    let _ = JsFuture::from(promise).await; // a timer cannot fail
}

/// In the page the engine runs on the event loop and ends with it.
pub struct EngineThread;

/// Starts the engine.
pub fn serve(
    gpu: Arc<Gpu>,
    commands: flume::Receiver<Command>,
    events: flume::Sender<(u64, Event)>,
    wake: impl Fn() + 'static,
) -> EngineThread {
    spawn_local(engine::serve(gpu, commands, events, wake));
    EngineThread
}

/// A job for the worker.
#[derive(Serialize, Deserialize)]
enum WorkerJob {
    /// Analyse a sample; its numbers are sent separately.
    Sample(Header),
    Question(Question),
}

/// What the worker needs to know about a sample besides its numbers.
#[derive(Serialize, Deserialize)]
struct Header {
    id: u32,
    sets: Vec<String>,
    step: u64,
    parameter: String,
    shape: [usize; 2],
    clip: f32,
    /// Whether it comes from a file; those matrices are treated as linear layers whatever their names.
    is_of_file: bool,
    wanted: Wanted,
}

/// The worker's answer.
#[derive(Serialize, Deserialize)]
enum Answer {
    Sample { id: u32, found: SampleAnswer },
    Question(QuestionAnswer),
}

/// What worker.js sends if that fails.
#[derive(Deserialize)]
struct Failure {
    failed: String,
}

/// A worker with its own instance of this module.
pub struct Follower {
    worker: web_sys::Worker,
    waiting: RefCell<Waiting>,
    answers: Rc<RefCell<Vec<Array>>>,
    _on_message: Closure<dyn FnMut(web_sys::MessageEvent)>,
    _on_error: Closure<dyn FnMut(web_sys::ErrorEvent)>,
}

/// Samples sent to the worker, by the id that the answer will carry.
#[derive(Default)]
struct Waiting {
    last_id: u32,
    samples: HashMap<u32, (Source, Box<GradientSample>)>,
}

impl Follower {
    /// Starts it; `wake` is called after every result.
    pub fn new(wake: impl Fn() + Clone + 'static) -> Self {
        let options = web_sys::WorkerOptions::new();
        options.set_type(web_sys::WorkerType::Module);
        let worker =
            web_sys::Worker::new_with_options("./worker.js", &options).expect("WebGPU's browsers have workers");
        let answers: Rc<RefCell<Vec<Array>>> = Rc::default();
        let (inbox, failures, wake_failed) = (answers.clone(), answers.clone(), wake.clone());
        // A worker that fails to load sends no message.
        let on_error = Closure::new(move |event: web_sys::ErrorEvent| {
            let failure = json!({ "failed": event.message() }).to_string();
            failures.borrow_mut().push(Array::of1(&failure.into()));
            wake_failed();
        });
        worker.set_onerror(Some(on_error.as_ref().unchecked_ref()));
        let on_message = Closure::new(move |event: web_sys::MessageEvent| {
            inbox.borrow_mut().push(Array::from(&event.data()));
            wake();
        });
        worker.set_onmessage(Some(on_message.as_ref().unchecked_ref()));
        Self { worker, waiting: RefCell::default(), answers, _on_message: on_message, _on_error: on_error }
    }

    /// Hands over a job.
    pub fn send(&self, job: Job) {
        let (question, sample) = match job {
            Job::Question(plain) => (WorkerJob::Question(plain), None),
            Job::Sample { of, sets, sample, wanted } => {
                let mut waiting = self.waiting.borrow_mut();
                waiting.last_id += 1;
                let (id, step, shape, clip) = (waiting.last_id, sample.step, sample.shape, sample.clip);
                let (parameter, is_of_file) = (sample.parameter.clone(), of.run.is_none());
                let header = Header { id, sets, step, parameter, shape, clip, is_of_file, wanted };
                (WorkerJob::Sample(header), Some((id, of, sample)))
            }
        };
        let message = Array::of1(&serde_json::to_string(&question).expect("plain data").into());
        if let Some((id, of, sample)) = sample {
            for values in std::iter::once(&sample.gradient).chain(&sample.states) {
                message.push(&Float32Array::from(&values[..]));
            }
            self.waiting.borrow_mut().samples.insert(id, (of, sample));
        }
        if let Err(error) = self.worker.post_message(&message) {
            let failure = json!({ "failed": format!("the worker takes no message: {error:?}") }).to_string();
            self.answers.borrow_mut().push(Array::of1(&failure.into()));
        }
    }

    /// The jobs finished since the last call, or why they failed.
    pub fn take(&self) -> Vec<std::result::Result<Done, String>> {
        let answers = std::mem::take(&mut *self.answers.borrow_mut());
        let done = |parts: Array| {
            let answer = parts.get(0).as_string()?;
            match serde_json::from_str(&answer) {
                Err(error) => {
                    // It is not known which sample failed, so stop waiting for all of them.
                    self.waiting.borrow_mut().samples.clear();
                    let failure = serde_json::from_str(&answer);
                    Some(Err(failure.map_or(error.to_string(), |Failure { failed }| failed)))
                }
                Ok(Answer::Question(mut found)) => {
                    if let QuestionAnswer::SyntheticMatrix(made) = &mut found {
                        take_squares(&mut made.balance, &parts, 1);
                    }
                    Some(Ok(Done::Question(found)))
                }
                Ok(Answer::Sample { id, mut found }) => {
                    if let SampleAnswer::Followed(followed) = &mut found {
                        followed.thumbnails = Int8Array::from(parts.get(1)).to_vec();
                        let lengths = Float32Array::from(parts.get(2)).to_vec();
                        followed.frames = Frame::from_lengths(&lengths, followed.record.shape);
                        take_squares(&mut followed.balance, &parts, 3);
                    }
                    let (of, sample) = self.waiting.borrow_mut().samples.remove(&id)?;
                    Some(Ok(Done::Sample { of, sample, found }))
                }
            }
        };
        answers.into_iter().filter_map(done).collect()
    }
}

/// The squares of a picture as bytes; empty if there is no picture.
fn squares(balance: Option<&BalancePicture>) -> Uint8Array {
    Uint8Array::from(balance.map_or(&[][..], |balance| &balance.squares))
}

fn take_squares(balance: &mut Option<BalancePicture>, parts: &Array, at: u32) {
    if let Some(balance) = balance {
        balance.squares = Uint8Array::from(parts.get(at)).to_vec();
    }
}

/// The worker's side: answers what [`Follower::send`] sent. Returns the answer as JSON, then as typed arrays what the
/// JSON leaves out: thumbnails, lengths and squares for a sample, squares for a generated matrix.
#[wasm_bindgen]
pub fn follow(message: Array) -> std::result::Result<Array, JsValue> {
    let wrong = |error: String| JsValue::from_str(&error);
    let header = message.get(0).as_string().ok_or_else(|| wrong("no header".into()))?;
    let header = match serde_json::from_str(&header).map_err(|error| wrong(error.to_string()))? {
        WorkerJob::Sample(header) => header,
        WorkerJob::Question(plain) => {
            let found = plain.found();
            let beside = match &found {
                QuestionAnswer::SyntheticMatrix(made) => Some(squares(made.balance.as_ref())),
                QuestionAnswer::Cell { .. } => None,
            };
            let answer = serde_json::to_string(&Answer::Question(found)).expect("plain data");
            return Ok(std::iter::once(answer.into()).chain(beside.map(JsValue::from)).collect());
        }
    };
    let config =
        RunConfig::load(None, &header.sets, RunDefaults::Software).map_err(|error| wrong(error.to_string()))?;
    let role = config.model.parameters().into_iter().find(|spec| spec.name == header.parameter).map(|spec| spec.role);
    let role = role.filter(|_| !header.is_of_file).unwrap_or(Role::Linear);
    let rule = config.optimizer.recipe(role).rule.clone();
    let mut numbers = (1..message.length()).map(|at| Float32Array::from(message.get(at)).to_vec());
    let Header { id, step, parameter, shape, clip, wanted, .. } = header;
    let gradient = numbers.next().ok_or_else(|| wrong("no gradient".into()))?;
    let sample = GradientSample { step, parameter, shape, rule, gradient, clip, states: numbers.collect() };
    let found = SampleAnswer::of(&sample, wanted);
    let beside: Vec<JsValue> = match &found {
        SampleAnswer::Followed(followed) => vec![
            Int8Array::from(&followed.thumbnails[..]).into(),
            Float32Array::from(&Frame::lengths(&followed.frames)[..]).into(),
            squares(followed.balance.as_ref()).into(),
        ],
        _ => Vec::new(),
    };
    let answer = serde_json::to_string(&Answer::Sample { id, found }).expect("plain data");
    Ok(std::iter::once(answer.into()).chain(beside).collect())
}

/// Offers a file for download, and returns a message that says so.
///
/// Errors: the browser refuses.
pub fn save(name: &str, bytes: &[u8]) -> Result<String> {
    download(name, bytes).map_err(|error| Error::Data(format!("the browser refuses to save {name}: {error:?}")))?;
    Ok(format!("{name} is in the browser's downloads"))
}

fn download(name: &str, bytes: &[u8]) -> std::result::Result<(), JsValue> {
    let parts = Array::of1(&js_sys::Uint8Array::from(bytes));
    let blob = web_sys::Blob::new_with_u8_array_sequence(&parts)?;
    let url = web_sys::Url::create_object_url_with_blob(&blob)?;
    let document = web_sys::window().and_then(|window| window.document()).ok_or(JsValue::NULL)?;
    let link: web_sys::HtmlAnchorElement = document.create_element("a")?.dyn_into()?;
    link.set_href(&url);
    link.set_download(name);
    link.click();
    web_sys::Url::revoke_object_url(&url)
}

/// Reads a dropped file, and hands it over once the browser has loaded it.
pub fn read(file: DroppedFileHandle, inbox: flume::Sender<Arrival>, wake: impl Fn() + 'static) {
    spawn_local(async move {
        let name = file.path().to_string_lossy().into_owned();
        let arrival = match file.bytes_async().await {
            Ok(bytes) => Arrival::of_file(name, &bytes),
            Err(error) => Arrival::Refused(format!("{name} cannot be read: {error}")),
        };
        let _ = inbox.send(arrival); // fails only if the lab has left its canvas
        wake();
    });
}

/// Shows the state in the address bar, without a history entry.
pub fn show_link(query: &str) {
    let Some(window) = web_sys::window() else { return };
    let here = window.location();
    let path = here.pathname().unwrap_or_default() + &here.search().unwrap_or_default();
    let link = if query.is_empty() { path } else { format!("{path}#{query}") };
    if let Ok(history) = window.history() {
        let _ = history.replace_state_with_url(&JsValue::NULL, "", Some(&link)); // a refusal does no harm
    }
}

/// How to show someone else the same view: the page's address.
pub fn address(query: &str) -> String {
    let here = web_sys::window().and_then(|window| window.location().href().ok()).unwrap_or_default();
    let page = here.split('#').next().unwrap_or_default();
    if query.is_empty() { page.to_owned() } else { format!("{page}#{query}") }
}

/// Whether the user wants reduced motion.
pub fn wants_less_motion() -> bool {
    let query =
        web_sys::window().and_then(|window| window.match_media("(prefers-reduced-motion: reduce)").ok().flatten());
    query.is_some_and(|query| query.matches())
}
