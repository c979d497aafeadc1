//! The small documents in a comparison directory.

use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::files::write_atomic;
use crate::{Error, Result};

/// Reads the document at this path; `None` if there is no such file.
pub(super) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    if !path.exists() {
        return Ok(None);
    }
    let text = std::fs::read(path).map_err(Error::io("read", path))?;
    serde_json::from_slice(&text).map(Some).map_err(|error| Error::checkpoint(path, error.to_string()))
}

/// Writes a document atomically, and creates its directory if needed.
pub(super) fn write_json(path: &Path, document: &impl Serialize) -> Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
    }
    write_atomic(path, &serde_json::to_vec_pretty(document).expect("plain data can be written as JSON"))
}
