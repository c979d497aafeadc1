//! The metrics of a run: metrics.jsonl, and the same numbers as a TensorBoard event file.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use web_time::SystemTime;

use super::event_file::{EventFile, EventKind};
use super::json_lines::JsonLines;
use crate::files::io_error;
use crate::{Error, Result};

/// For each record, writes a line of metrics.jsonl and a point of every curve.
#[derive(Debug)]
pub struct MetricsLog {
    lines: JsonLines,
    curves: Curves,
}

impl MetricsLog {
    /// Starts over: drops the metrics of an earlier run in this directory.
    pub fn create(run_dir: &Path) -> Result<Self> {
        let dir = run_dir.join(TENSORBOARD);
        fs::create_dir_all(&dir).map_err(|e| io_error("create", &dir, e))?;
        for entry in fs::read_dir(&dir).map_err(Error::io("read", &dir))? {
            let path = entry.map_err(Error::io("read", &dir))?.path();
            if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(EVENTS)) {
                fs::remove_file(&path).map_err(Error::io("remove", &path))?;
            }
        }
        Ok(Self { lines: JsonLines::create(&run_dir.join(METRICS))?, curves: Curves::create(&dir, 0)? })
    }

    /// Resumes after `step`: drops lines of later steps and a line torn by a crash, and voids points already drawn from
    /// there on.
    pub fn resume(run_dir: &Path, step: u64) -> Result<Self> {
        let dir = run_dir.join(TENSORBOARD);
        fs::create_dir_all(&dir).map_err(|e| io_error("create", &dir, e))?;
        let lines = JsonLines::resume(&run_dir.join(METRICS), step)?;
        Ok(Self { lines, curves: Curves::create(&dir, step.saturating_add(1))? })
    }

    /// Appends one record, which must have an integer `step`, and flushes it.
    pub fn write(&mut self, record: &Map<String, Value>) -> Result<()> {
        let step = self.lines.write(record)?;
        self.curves.write_record(step, record)
    }

    /// Adds a text for `step` to TensorBoard.
    pub fn write_text(&mut self, step: u64, text: &str) -> Result<()> {
        self.curves.write(step, EventKind::Text { tag: "text", text })?;
        self.curves.flush()
    }
}

const METRICS: &str = "metrics.jsonl";
const TENSORBOARD: &str = "tensorboard";
const EVENTS: &str = "events.out.tfevents.";

/// One event file; TensorBoard joins those of a directory in the order of their names.
#[derive(Debug)]
struct Curves {
    path: PathBuf,
    file: EventFile,
}

impl Curves {
    fn create(dir: &Path, first_step: u64) -> Result<Self> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let path = dir.join(format!("{EVENTS}{:016}.multinorm", now.as_micros()));
        let file = EventFile::create(&path).map_err(|e| io_error("create", &path, e))?;
        let mut curves = Self { path, file };
        // From this version on, TensorBoard respects the session start that follows, and drops later steps it has read.
        curves.write(0, EventKind::FileVersion("brain.Event:2"))?;
        curves.write(first_step, EventKind::SessionStart)?;
        curves.flush()?;
        Ok(curves)
    }

    fn write_record(&mut self, step: u64, record: &Map<String, Value>) -> Result<()> {
        for (key, value) in record.iter().filter(|(key, _)| *key != "step") {
            if let Some(value) = value.as_f64() {
                self.write(step, EventKind::Scalar { tag: &tag(key), value: value as f32 })?;
            }
        }
        self.flush()
    }

    fn write(&mut self, step: u64, event: EventKind<'_>) -> Result<()> {
        self.file.write(step, event).map_err(|e| io_error("write", &self.path, e))
    }

    fn flush(&mut self) -> Result<()> {
        self.file.flush().map_err(|e| io_error("write", &self.path, e))
    }
}

/// TensorBoard groups curves by the word before the slash.
fn tag(key: &str) -> String {
    if key.ends_with("_per_sec") {
        format!("speed/{key}")
    } else if key == "perplexity" {
        "eval/perplexity".into()
    } else if let Some(evaluated) = key.strip_prefix("eval_") {
        format!("eval/{evaluated}")
    } else {
        format!("train/{key}")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tfrecord::protobuf::Event;
    use tfrecord::protobuf::event::What;
    use tfrecord::protobuf::summary::value;
    use tfrecord::{EventIter, RecordReaderConfig};

    use super::*;
    use crate::files::tests::names;

    fn record(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    fn metrics(run_dir: &Path) -> String {
        fs::read_to_string(run_dir.join(METRICS)).unwrap()
    }

    /// The events of one file, with verified checksums: a version or tag, the step, the value.
    fn events(path: &Path) -> Vec<(String, i64, f32)> {
        let events = EventIter::open(path, RecordReaderConfig { check_integrity: true }).unwrap();
        let told = |event: Event| match event.what.unwrap() {
            What::FileVersion(version) => (version, event.step, 0.0),
            What::SessionLog(log) => (log.status().as_str_name().to_owned(), event.step, 0.0),
            What::Summary(summary) => match (&summary.value[0].tag, summary.value[0].value.as_ref().unwrap()) {
                (tag, value::Value::SimpleValue(number)) => (tag.clone(), event.step, *number),
                (tag, value::Value::Tensor(tensor)) => {
                    assert_eq!((tensor.dtype, &tensor.string_val[..]), (7, &[Vec::from("It was\n\nlate é")][..]));
                    assert_eq!(tensor.tensor_shape.as_ref().unwrap().dim[0].size, 1);
                    let metadata = summary.value[0].metadata.as_ref().unwrap();
                    assert_eq!(metadata.plugin_data.as_ref().unwrap().plugin_name, "text");
                    (tag.clone(), event.step, 0.0)
                }
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        };
        events.map(|event| told(event.unwrap())).collect()
    }

    fn event_files(run_dir: &Path) -> Vec<PathBuf> {
        let dir = run_dir.join(TENSORBOARD);
        names(&dir).into_iter().map(|name| dir.join(name)).collect()
    }

    #[test]
    fn a_record_is_a_line_and_a_point_of_each_curve() {
        let dir = tempfile::tempdir().unwrap();
        let run_dir = dir.path().join("new/run");
        let mut log = MetricsLog::create(&run_dir).unwrap();
        log.write(&record(json!({ "step": 1, "tokens": 64, "loss": 2.5, "lr": 0.25, "note": "x" }))).unwrap();
        assert_eq!(metrics(&run_dir).matches('\n').count(), 1, "flushed while the log is open");
        log.write(&record(json!({
            "step": 2, "grad_norm": 4, "tokens_per_sec": 1e3, "eval_loss": 0.5, "perplexity": null,
        })))
        .unwrap();
        log.write(&record(json!({ "step": 3, "perplexity": 8.0 }))).unwrap();
        log.write_text(1 << 40, "It was\n\nlate é").unwrap();
        let lines: Vec<Value> = metrics(&run_dir).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines[0], json!({ "step": 1, "tokens": 64, "loss": 2.5, "lr": 0.25, "note": "x" }));
        assert_eq!((lines.len(), &lines[1]["perplexity"]), (3, &Value::Null));
        let [file] = &event_files(&run_dir)[..] else { panic!("one event file") };
        assert!(file.file_name().unwrap().to_string_lossy().starts_with("events.out.tfevents."));
        let mut found = events(file);
        found[2..].sort_by(|a, b| (a.1, &a.0).cmp(&(b.1, &b.0)));
        let expected = [
            ("brain.Event:2", 0, 0.0),
            ("START", 0, 0.0),
            ("train/loss", 1, 2.5),
            ("train/lr", 1, 0.25),
            ("train/tokens", 1, 64.0),
            ("eval/loss", 2, 0.5),
            ("speed/tokens_per_sec", 2, 1000.0),
            ("train/grad_norm", 2, 4.0),
            ("eval/perplexity", 3, 8.0),
            ("text", 1 << 40, 0.0),
        ];
        assert_eq!(found, expected.map(|(tag, step, number)| (tag.to_owned(), step, number)));
    }

    #[test]
    fn resuming_drops_later_and_torn_lines() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = MetricsLog::create(dir.path()).unwrap();
        for step in 1..=4 {
            log.write(&record(json!({ "step": step, "loss": 0.1 }))).unwrap();
        }
        drop(log);
        let whole = metrics(dir.path());
        let kept = whole.lines().take(2).map(|line| format!("{line}\n")).collect::<String>();
        // Torn at every byte of every line, also with garbage after it, as from a disk failure.
        for n_bytes in kept.len()..whole.len() {
            for tail in [&b""[..], b"\0\0\0", b"\xff\xfe"] {
                fs::write(dir.path().join(METRICS), [&whole.as_bytes()[..n_bytes], tail].concat()).unwrap();
                drop(MetricsLog::resume(dir.path(), 2).unwrap());
                assert_eq!(metrics(dir.path()), kept, "{n_bytes}");
            }
        }
        fs::write(dir.path().join(METRICS), &kept[..kept.len() - 3]).unwrap();
        let mut log = MetricsLog::resume(dir.path(), 2).unwrap();
        log.write(&record(json!({ "step": 2, "loss": 0.5 }))).unwrap();
        assert_eq!(metrics(dir.path()).lines().count(), 2);
        let last: Value = serde_json::from_str(metrics(dir.path()).lines().last().unwrap()).unwrap();
        assert_eq!(last, json!({ "step": 2, "loss": 0.5 }));
    }

    #[test]
    fn a_resumed_run_voids_the_curves_of_later_steps() {
        let dir = tempfile::tempdir().unwrap();
        drop(MetricsLog::create(dir.path()).unwrap());
        drop(MetricsLog::resume(dir.path(), 200).unwrap());
        let files = event_files(dir.path());
        assert_eq!(files.len(), 2, "the earlier file stays");
        assert_eq!(events(&files[1])[1], ("START".to_owned(), 201, 0.0));
        fs::write(dir.path().join(TENSORBOARD).join("mine.txt"), "").unwrap();
        drop(MetricsLog::create(dir.path()).unwrap());
        assert_eq!(event_files(dir.path()).len(), 2, "a new run begins with one event file, beside what is not ours");
    }

    #[test]
    fn a_folder_without_metrics_can_be_resumed() {
        let dir = tempfile::tempdir().unwrap();
        let run_dir = dir.path().join("copied");
        let mut log = MetricsLog::resume(&run_dir, 5).unwrap();
        log.write(&record(json!({ "step": 6 }))).unwrap();
        assert_eq!(metrics(&run_dir), "{\"step\":6}\n");
    }

    #[test]
    fn a_record_without_a_step_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = MetricsLog::create(dir.path()).unwrap();
        for wrong in [json!({ "loss": 1.0 }), json!({ "step": -1 }), json!({ "step": 1.5 })] {
            let message = log.write(&record(wrong)).unwrap_err().to_string();
            assert!(message.contains("metrics.jsonl: a record needs a whole number `step`"), "{message}");
        }
        assert_eq!(metrics(dir.path()), "");
    }
}
