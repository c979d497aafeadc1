//! Documents in a column of comma- or tab-separated values; the first row names the columns.

use std::path::{Path, PathBuf};

use super::bytes::Bytes;
use super::no_field;
use crate::{Error, Result};

/// The texts of the column `field`, one per row.
///
/// Errors: the column is missing. Errors of the iterator: a row of another length, or one that is not UTF-8.
pub(super) fn rows(
    bytes: Bytes,
    path: PathBuf,
    field: &str,
    delimiter: u8,
) -> Result<impl Iterator<Item = Result<Option<String>>> + Send + use<>> {
    let mut reader = csv::ReaderBuilder::new().delimiter(delimiter).from_reader(bytes);
    let header = reader.headers().map_err(|error| wrong(&path, &error))?;
    let Some(column) = header.iter().position(|name| name == field) else {
        let names: Vec<&str> = header.iter().collect();
        return Err(no_field(&path.display().to_string(), field, &names.join(", ")));
    };
    Ok(reader.into_records().map(move |row| match row {
        Ok(row) => Ok(row.get(column).map(str::to_owned)),
        Err(error) => Err(wrong(&path, &error)),
    }))
}

fn wrong(path: &Path, error: &csv::Error) -> Error {
    Error::Data(format!("{}: not a table of one shape: {error}", path.display()))
}
