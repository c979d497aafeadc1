//! Documents in JSON: one per line, or consecutive values, in an array or not.

use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use super::bytes::Bytes;
use super::no_field;
use crate::{Error, Result};

/// The documents of JSON Lines; skips blank lines.
pub(super) fn lines(
    mut bytes: Bytes,
    path: PathBuf,
    field: Arc<str>,
) -> impl Iterator<Item = Result<Option<String>>> + Send {
    let (mut number, mut line) = (0, Vec::new());
    std::iter::from_fn(move || {
        loop {
            line.clear();
            number += 1;
            match bytes.read_until(b'\n', &mut line) {
                Ok(0) => return None,
                Ok(_) if line.trim_ascii().is_empty() => continue,
                Ok(_) => {}
                Err(error) => return Some(Err(Error::io("read", &path)(error))),
            }
            let at = format!("{}:{number}", path.display());
            let value = serde_json::from_slice(&line).map_err(|error| not_json(&at, &error));
            return Some(value.and_then(|value| text_of(value, &at, &field)));
        }
    })
}

/// The documents of one array, or of consecutive values.
pub(super) fn values(
    mut bytes: Bytes,
    path: PathBuf,
    field: Arc<str>,
) -> impl Iterator<Item = Result<Option<String>>> + Send {
    let (mut number, mut is_over) = (0, false);
    std::iter::from_fn(move || {
        if is_over {
            return None;
        }
        number += 1;
        let next = next_value(&mut bytes, &path, number, &field).transpose();
        is_over = !matches!(next, Some(Ok(_)));
        next
    })
}

fn next_value(bytes: &mut Bytes, path: &Path, number: usize, field: &str) -> Result<Option<Option<String>>> {
    let at = format!("{}, value {number}", path.display());
    loop {
        let Some(&next) = bytes.fill_buf().map_err(Error::io("read", path))?.first() else { return Ok(None) };
        match next {
            // Brackets and commas of an array can be skipped.
            b'[' | b']' | b',' | b' ' | b'\t' | b'\r' | b'\n' => bytes.consume(1),
            b'{' | b'"' | b'n' => break,
            _ => {
                let found = char::from(next);
                return Err(Error::Data(format!(
                    "{at}: begins with '{found}', but a document is an object with the field \"{field}\", or a string"
                )));
            }
        }
    }
    // An object, a string and null end at their last byte: this reads nothing beyond it.
    let value = Value::deserialize(&mut serde_json::Deserializer::from_reader(bytes));
    text_of(value.map_err(|error| not_json(&at, &error))?, &at, field).map(Some)
}

/// `None` if the field is null.
fn text_of(value: Value, at: &str, field: &str) -> Result<Option<String>> {
    let mut object = match value {
        Value::String(text) => return Ok(Some(text)),
        Value::Null => return Ok(None),
        Value::Object(object) => object,
        _ => return Err(no_field(at, field, "none: it is not an object")),
    };
    match object.remove(field) {
        Some(Value::String(text)) => Ok(Some(text)),
        Some(Value::Null) => Ok(None),
        found => {
            object.extend(found.map(|value| (field.to_owned(), value)));
            Err(no_field(at, field, &object.keys().cloned().collect::<Vec<_>>().join(", ")))
        }
    }
}

fn not_json(at: &str, error: &serde_json::Error) -> Error {
    Error::Data(format!("{at}: not JSON: {error}"))
}
