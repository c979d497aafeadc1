//! The file of `--trace FILE`: events for ui.perfetto.dev and chrome://tracing, in one lane for the host and one for
//! the device.

use std::fs;
use std::path::Path;

use multinorm::gpu::{DispatchTime, Span, Workspace};
use multinorm::{Error, Result};
use serde_json::{Value, json};
use web_time::Instant;

const HOST: u32 = 1;
const DEVICE: u32 = 2;

/// Events since `origin`.
pub struct Trace {
    origin: Instant,
    events: Vec<Value>,
}

impl Trace {
    pub fn new(origin: Instant) -> Self {
        let name = |lane: u32, kind: &str, name: &str| json!({ "ph": "M", "name": kind, "pid": 1, "tid": lane, "args": { "name": name } });
        let names = [
            name(HOST, "process_name", "multinorm"),
            name(HOST, "thread_name", "host"),
            name(DEVICE, "thread_name", "device"),
        ];
        Self { origin, events: names.to_vec() }
    }

    /// Adds a span on the host; nested spans are drawn below the outer one.
    pub fn host(&mut self, span: &Span) {
        self.event(HOST, span.name, self.secs(span.began), span.secs(), json!({}));
    }

    /// Adds a replay of a plan with each of its dispatches. The device has its own clock: the first dispatch of a
    /// submission is drawn at the time the host submitted it.
    pub fn device(&mut self, workspace: &Workspace, plan: &str, times: &[DispatchTime]) {
        let began = |time: &DispatchTime| self.secs(time.submitted) + time.began_secs;
        let (Some(first), Some(last)) = (times.first(), times.last()) else { return };
        let (begin, end) = (began(first), began(last) + last.secs);
        self.event(DEVICE, plan, begin, end - begin, json!({ "dispatches": times.len() }));
        for time in times {
            let info = workspace.dispatch(plan, time.dispatch);
            let constants: serde_json::Map<String, Value> =
                info.constants.iter().map(|&(name, value)| (name.to_owned(), json!(value))).collect();
            let args = json!({
                "plan": plan,
                "dispatch": time.dispatch,
                "shapes": info.shapes_in_words(),
                "workgroups": info.groups,
                "constants": constants,
                "flops": info.flops,
                "bytes": info.bytes(),
            });
            self.event(DEVICE, info.kernel.name, self.secs(time.submitted) + time.began_secs, time.secs, args);
        }
    }

    /// Writes the file; `about` describes the machine and the version.
    pub fn write(&self, path: &Path, about: Value) -> Result<()> {
        let document = json!({ "displayTimeUnit": "ms", "otherData": about, "traceEvents": self.events });
        let text = serde_json::to_string(&document).expect("our own values can be written as JSON");
        fs::write(path, text).map_err(Error::io("write", path))
    }

    fn secs(&self, moment: Instant) -> f64 {
        moment.saturating_duration_since(self.origin).as_secs_f64()
    }

    /// Adds a complete event. The format counts in microseconds; whole nanoseconds keep neighbours from overlapping.
    fn event(&mut self, lane: u32, name: &str, began_secs: f64, secs: f64, args: Value) {
        let nanos = |secs: f64| (secs * 1e9).round();
        let (begin, end) = (nanos(began_secs), nanos(began_secs + secs));
        self.events.push(json!({
            "ph": "X", "name": name, "cat": if lane == HOST { "host" } else { "device" }, "pid": 1, "tid": lane,
            "ts": begin / 1e3, "dur": (end - begin) / 1e3, "args": args,
        }));
    }
}
