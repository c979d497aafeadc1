//! Documents in a column of a Parquet file.

use std::fs::File;
use std::path::{Path, PathBuf};

use parquet::basic::Type;
use parquet::column::reader::ColumnReader;
use parquet::data_type::ByteArray;
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};

use super::no_field;
use crate::data::guard::catch_panic;
use crate::{Error, Result};

/// Rows in memory at a time.
const BATCH_ROWS: usize = 256;

/// The texts of the column `field`, one per row; `None` for null.
///
/// Errors: the file cannot be read, or the column is missing or has another type.
pub(super) fn rows(path: PathBuf, field: &str) -> Result<impl Iterator<Item = Result<Option<String>>> + Send + use<>> {
    let file = File::open(&path).map_err(Error::io("read", &path))?;
    let reader = read(&path, || SerializedFileReader::new(file))?;
    let column = column(&reader, &path, field)?;
    let mut rows = Rows { reader, column, row_group: 0, open: None, batch: Vec::new().into_iter() };
    let mut is_over = false;
    Ok(std::iter::from_fn(move || {
        if is_over {
            return None;
        }
        let next = rows.next_row(&path).transpose();
        is_over = !matches!(next, Some(Ok(_)));
        next
    }))
}

/// The index of the column, which must hold strings and not be inside a list.
fn column(reader: &SerializedFileReader<File>, path: &Path, field: &str) -> Result<usize> {
    let schema = reader.metadata().file_metadata().schema_descr();
    let Some(index) = schema.columns().iter().position(|column| column.path().string() == field) else {
        let names: Vec<String> = schema.columns().iter().map(|column| column.path().string()).collect();
        return Err(no_field(&path.display().to_string(), field, &names.join(", ")));
    };
    let column = schema.column(index);
    if column.physical_type() != Type::BYTE_ARRAY || column.max_rep_level() > 0 {
        let found = column.physical_type();
        let message =
            format!("{}: the column \"{field}\" holds {found}, not text; set data.text_field", path.display());
        return Err(Error::Data(message));
    }
    Ok(index)
}

struct Rows {
    reader: SerializedFileReader<File>,
    column: usize,
    /// The next one to open.
    row_group: usize,
    open: Option<ColumnReader>,
    batch: std::vec::IntoIter<Option<ByteArray>>,
}

impl Rows {
    fn next_row(&mut self, path: &Path) -> Result<Option<Option<String>>> {
        loop {
            if let Some(row) = self.batch.next() {
                return row.map(|bytes| text(bytes, path)).transpose().map(Some);
            }
            if !read(path, || self.fill())? {
                return Ok(None);
            }
        }
    }

    /// Reads the next batch; returns false at the end of the file.
    fn fill(&mut self) -> std::result::Result<bool, ParquetError> {
        let Some(ColumnReader::ByteArrayColumnReader(column)) = &mut self.open else {
            if self.row_group == self.reader.num_row_groups() {
                return Ok(false);
            }
            self.open = Some(self.reader.get_row_group(self.row_group)?.get_column_reader(self.column)?);
            self.row_group += 1;
            return Ok(true);
        };
        let (mut levels, mut values) = (Vec::new(), Vec::new());
        let (n_rows, ..) = column.read_records(BATCH_ROWS, Some(&mut levels), None, &mut values)?;
        if n_rows == 0 {
            self.open = None;
            return Ok(true);
        }
        let whole = self.reader.metadata().file_metadata().schema_descr().column(self.column).max_def_level();
        let mut values = values.into_iter();
        self.batch = if whole == 0 {
            values.map(Some).collect::<Vec<_>>().into_iter()
        } else {
            let row = |level| if level == whole { values.next() } else { None };
            levels.into_iter().map(row).collect::<Vec<_>>().into_iter()
        };
        Ok(true)
    }
}

fn text(bytes: ByteArray, path: &Path) -> Result<String> {
    let text = std::str::from_utf8(bytes.data());
    let text = text.map_err(|_| Error::Data(format!("{}: a row holds bytes that are not UTF-8", path.display())))?;
    Ok(text.to_owned())
}

/// Calls the library, which panics on some pages that contradict their headers.
fn read<T>(path: &Path, call: impl FnOnce() -> std::result::Result<T, ParquetError>) -> Result<T> {
    let wrong = |message: String| Error::Data(format!("{}: cannot be read as Parquet: {message}", path.display()));
    match catch_panic(call) {
        Some(result) => result.map_err(|error| wrong(error.to_string())),
        None => Err(wrong("it is damaged".into())),
    }
}
