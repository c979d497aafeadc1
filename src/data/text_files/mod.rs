//! The user's own texts: finds the files of a path, and reads their documents in bounded memory.

mod bytes;
mod find;
mod json;
#[cfg(feature = "parquet")]
mod parquet;
mod plain;
mod table;

use std::path::PathBuf;
use std::sync::Arc;

use super::chunk::{Chunk, Chunks};
use crate::{Error, Result};

pub(super) use find::{NamedSplit, find};

/// A file with documents.
#[derive(Debug, Clone)]
pub(super) struct TextFile {
    path: PathBuf,
    format: Format,
    /// The field with the text of a row or object.
    field: Arc<str>,
}

/// The layout of documents in a file, apart from compression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    /// The whole file is one document.
    Plain,
    /// One object per line.
    JsonLines,
    /// An array, or consecutive objects.
    Json,
    /// One row per document, in a column named by the first row; with the column separator.
    Table(u8),
    Parquet,
}

impl TextFile {
    /// The documents, in chunks.
    pub fn chunks<'a>(&self) -> Chunks<'a> {
        self.open().unwrap_or_else(|error| Box::new(std::iter::once(Err(error))))
    }

    fn open<'a>(&self) -> Result<Chunks<'a>> {
        let Self { path, format, field } = self;
        Ok(match format {
            Format::Plain => Box::new(plain::chunks(bytes::open(path)?, path.clone())),
            Format::JsonLines => whole(json::lines(bytes::open(path)?, path.clone(), field.clone())),
            Format::Json => whole(json::values(bytes::open(path)?, path.clone(), field.clone())),
            Format::Table(delimiter) => whole(table::rows(bytes::open(path)?, path.clone(), field, *delimiter)?),
            #[cfg(feature = "parquet")]
            Format::Parquet => whole(parquet::rows(path.clone(), field)?),
            #[cfg(not(feature = "parquet"))]
            Format::Parquet => return Err(Error::Data(without_parquet(path, "a Parquet file"))),
        })
    }
}

/// Documents short enough to be read whole; `None` is one without text.
fn whole<'a>(documents: impl Iterator<Item = Result<Option<String>>> + Send + 'a) -> Chunks<'a> {
    Box::new(
        documents
            .map(|document| document.map(|text| Chunk { text: text.unwrap_or_default().into(), ends_document: true })),
    )
}

#[cfg(not(feature = "parquet"))]
fn without_parquet(path: &std::path::Path, kind: &str) -> String {
    format!("{} is {kind}, which this build cannot read: build it with --features parquet", path.display())
}

/// The error for a row without the field.
fn no_field(at: &str, field: &str, fields: &str) -> Error {
    Error::Data(format!("{at}: no text in the field \"{field}\" (its fields: {fields}); set data.text_field"))
}

#[cfg(test)]
mod tests;
