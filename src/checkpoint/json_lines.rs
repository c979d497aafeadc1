//! A file of records, one JSON object per line, each with its step.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::files::{io_error, write_atomic};
use crate::{Error, Result};

/// Appends records to a JSON Lines file.
#[derive(Debug)]
pub struct JsonLines {
    path: PathBuf,
    file: File,
}

impl JsonLines {
    /// Resumes after `step` if this run goes on with the one that wrote the file, else starts over.
    pub fn open(path: &Path, resumes: bool, step: u64) -> Result<Self> {
        if resumes { Self::resume(path, step) } else { Self::create(path) }
    }

    /// Creates the file, or truncates an existing one.
    pub fn create(path: &Path) -> Result<Self> {
        write_atomic(path, b"")?;
        Self::append_to(path)
    }

    /// Resumes after `step`: drops lines of later steps, and a line torn by a crash.
    pub fn resume(path: &Path, step: u64) -> Result<Self> {
        let lines = match fs::read(path) {
            Err(e) if e.kind() == ErrorKind::NotFound => Vec::new(),
            lines => lines.map_err(Error::io("read", path))?,
        };
        write_atomic(path, &lines_until(step, &lines))?;
        Self::append_to(path)
    }

    /// Appends one record, which must have an integer `step`, and flushes it; returns the step.
    pub fn write(&mut self, record: &Map<String, Value>) -> Result<u64> {
        let step = record.get("step").and_then(Value::as_u64).ok_or_else(|| {
            Error::checkpoint(&self.path, format!("a record needs a whole number `step`, got {:?}", record.get("step")))
        })?;
        let mut line = serde_json::to_vec(record).expect("a map of values is always JSON");
        line.push(b'\n');
        // A single write, so that a crash tears at most this line.
        self.file.write_all(&line).map_err(|e| io_error("write", &self.path, e))?;
        Ok(step)
    }

    fn append_to(path: &Path) -> Result<Self> {
        let file = OpenOptions::new().append(true).open(path).map_err(|e| io_error("write", path, e))?;
        Ok(Self { file, path: path.to_owned() })
    }
}

/// The lines up to and including `step`, byte for byte; lines that are not records are dropped.
fn lines_until(step: u64, lines: &[u8]) -> Vec<u8> {
    let stays = |line: &&[u8]| {
        let record = serde_json::from_slice::<Map<String, Value>>(line);
        record.is_ok_and(|record| record.get("step").and_then(Value::as_u64).is_some_and(|of| of <= step))
    };
    lines.split(|&byte| byte == b'\n').filter(stays).flat_map(|line| [line, b"\n"].concat()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_whole_last_line_without_its_end_stays() {
        let lines = br#"{"step":1}
{"step":2}"#;
        assert_eq!(lines_until(2, lines), b"{\"step\":1}\n{\"step\":2}\n");
        assert_eq!(lines_until(0, lines), b"");
        assert_eq!(lines_until(2, b"{\"step\":-1}\n{\"loss\":1}\n[1]\n\n"), b"");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_full_disk_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let mut lines = JsonLines::create(&dir.path().join("metrics.jsonl")).unwrap();
        lines.file = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let message = lines.write(json!({ "step": 1 }).as_object().unwrap()).unwrap_err().to_string();
        assert!(message.contains("metrics.jsonl: No space left") && message.contains("free some space"), "{message}");
    }
}
