//! Reads a file: metadata by key, and tensors by name.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::blocks::Encoding;
use crate::{Error, Result};

/// An open file whose header has been read.
#[derive(Debug)]
pub struct Gguf {
    file: BufReader<File>,
    path: PathBuf,
    metadata: BTreeMap<String, Value>,
    tensors: BTreeMap<String, TensorInfo>,
}

/// A metadata value. Of a number's type, only whether it is an integer is kept.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Whole(i64),
    Real(f64),
    Bool(bool),
    Text(String),
    Texts(Vec<String>),
    Wholes(Vec<i64>),
    Reals(Vec<f64>),
}

#[derive(Debug, Clone)]
struct TensorInfo {
    /// Rows first, as elsewhere in this crate; the file has the reverse order.
    shape: Vec<usize>,
    encoding: Encoding,
    /// Position of its first byte in the file.
    offset: u64,
}

impl Gguf {
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(Error::io("read", path))?;
        let length = file.metadata().map_err(Error::io("read", path))?.len();
        let mut header = Header { file: BufReader::new(file), path, position: 0, length };
        let (metadata, tensors) = header.read()?;
        Ok(Self { file: header.file, path: path.to_owned(), metadata, tensors })
    }

    pub fn get(&self, key: &str) -> Option<&Value> {
        self.metadata.get(key)
    }

    /// A non-negative integer.
    pub fn size(&self, key: &str) -> Result<usize> {
        self.size_if_any(key)?.ok_or_else(|| missing(key))
    }

    pub fn size_if_any(&self, key: &str) -> Result<Option<usize>> {
        let whole = match self.get(key) {
            None => return Ok(None),
            Some(Value::Whole(whole)) => *whole,
            // Models whose layers differ have one value per layer; here all layers must be alike.
            Some(Value::Wholes(wholes)) if !wholes.is_empty() && wholes.iter().all(|whole| *whole == wholes[0]) => {
                wholes[0]
            }
            Some(_) => return Err(wrong(key, "is not a whole number")),
        };
        usize::try_from(whole).map(Some).map_err(|_| wrong(key, "is negative"))
    }

    pub fn real_if_any(&self, key: &str) -> Result<Option<f64>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Real(real)) => Ok(Some(*real)),
            Some(Value::Whole(whole)) => Ok(Some(*whole as f64)),
            Some(_) => Err(wrong(key, "is not a number")),
        }
    }

    pub fn text_if_any(&self, key: &str) -> Result<Option<&str>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(_) => Err(wrong(key, "is not text")),
        }
    }

    pub fn texts(&self, key: &str) -> Result<&[String]> {
        match self.get(key) {
            None => Err(missing(key)),
            Some(Value::Texts(texts)) => Ok(texts),
            Some(_) => Err(wrong(key, "is not a list of strings")),
        }
    }

    /// Name and shape of every tensor.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, &[usize])> {
        self.tensors.iter().map(|(name, info)| (name.as_str(), info.shape.as_slice()))
    }

    /// The values of a tensor, which must exist.
    pub fn values(&mut self, name: &str) -> Result<Vec<f32>> {
        let info = self.tensors.get(name).expect("the header's own name");
        let n_values = info.shape.iter().product();
        let mut bytes = vec![0; info.encoding.bytes(n_values).expect("checked with the header")];
        let read = self.file.seek(SeekFrom::Start(info.offset)).and_then(|_| self.file.read_exact(&mut bytes));
        read.map_err(Error::io("read", &self.path))?;
        Ok(info.encoding.values(&bytes))
    }
}

pub fn missing(key: &str) -> Error {
    Error::Data(format!("{key} is missing"))
}

pub fn wrong(key: &str, message: &str) -> Error {
    Error::Data(format!("{key} {message}"))
}

type Parts = (BTreeMap<String, Value>, BTreeMap<String, TensorInfo>);

/// Reads everything before the tensors.
struct Header<'a> {
    file: BufReader<File>,
    path: &'a Path,
    position: u64,
    length: u64,
}

impl Header<'_> {
    fn read(&mut self) -> Result<Parts> {
        if &self.array::<4>()? != b"GGUF" {
            return Err(Error::checkpoint(self.path, "is not a GGUF file: it does not begin with `GGUF`"));
        }
        let version = u32::from_le_bytes(self.array()?);
        if ![2, 3].contains(&version) {
            let message = format!("is of GGUF's version {version}; 2 and 3 are read, in little-endian order");
            return Err(Error::checkpoint(self.path, message));
        }
        // A tensor takes at least 24 bytes and a key 13: this bounds the counts by the file's size.
        let n_tensors = self.count(24)?;
        let n_keys = self.count(13)?;
        let mut metadata = BTreeMap::new();
        for _ in 0..n_keys {
            let key = self.text()?;
            let kind = u32::from_le_bytes(self.array()?);
            let value = self.value(kind)?;
            metadata.insert(key, value);
        }
        let mut infos = Vec::new();
        for _ in 0..n_tensors {
            infos.push(self.tensor()?);
        }
        let alignment = match metadata.get("general.alignment") {
            Some(Value::Whole(alignment)) if *alignment > 0 && *alignment <= 1 << 20 => *alignment as u64,
            Some(_) => return Err(self.refusal("general.alignment is not a whole number from 1 to 1048576")),
            None => 32,
        };
        let start = self.position.next_multiple_of(alignment);
        let mut tensors = BTreeMap::new();
        for (name, mut info) in infos {
            let n_values = info.shape.iter().try_fold(1, |n: usize, side| n.checked_mul(*side));
            let n_bytes = n_values.and_then(|n| info.encoding.bytes(n));
            let row_fits = info.shape.last().is_none_or(|row| info.encoding.bytes(*row).is_some());
            info.offset = start.saturating_add(info.offset);
            let end = n_bytes.and_then(|n_bytes| info.offset.checked_add(n_bytes as u64));
            if !row_fits || end.is_none_or(|end| end > self.length) {
                let message =
                    format!("{name} of shape {:?} reaches past the end of the file: is it whole?", info.shape);
                return Err(self.refusal(&message));
            }
            tensors.insert(name, info);
        }
        Ok((metadata, tensors))
    }

    fn tensor(&mut self) -> Result<(String, TensorInfo)> {
        let name = self.text()?;
        let n_dimensions = u32::from_le_bytes(self.array()?);
        if n_dimensions > 4 {
            return Err(self.refusal(&format!("{name} has {n_dimensions} dimensions; the maximum is 4")));
        }
        let mut shape = Vec::new();
        for _ in 0..n_dimensions {
            let side = u64::from_le_bytes(self.array()?);
            shape.push(usize::try_from(side).map_err(|_| self.refusal(&format!("{name} has a side of {side}")))?);
        }
        shape.reverse();
        let kind = u32::from_le_bytes(self.array()?);
        let encoding = Encoding::of(kind).ok_or_else(|| {
            let message = format!("{name} is in an unsupported encoding (ggml's type {kind}): {}", Encoding::NAMES);
            self.refusal(&message)
        })?;
        Ok((name, TensorInfo { shape, encoding, offset: u64::from_le_bytes(self.array()?) }))
    }

    fn value(&mut self, kind: u32) -> Result<Value> {
        Ok(match kind {
            7 => Value::Bool(self.array::<1>()?[0] != 0),
            8 => Value::Text(self.text()?),
            9 => {
                let kind = u32::from_le_bytes(self.array()?);
                let Some(width) = width(kind) else {
                    return Err(self.refusal(&format!("a list of values of type {kind}")));
                };
                let count = self.count(width)?;
                match kind {
                    8 => Value::Texts((0..count).map(|_| self.text()).collect::<Result<_>>()?),
                    6 | 12 => Value::Reals((0..count).map(|_| self.real(kind)).collect::<Result<_>>()?),
                    _ => Value::Wholes((0..count).map(|_| self.whole(kind)).collect::<Result<_>>()?),
                }
            }
            6 | 12 => Value::Real(self.real(kind)?),
            _ => Value::Whole(self.whole(kind)?),
        })
    }

    fn real(&mut self, kind: u32) -> Result<f64> {
        Ok(if kind == 6 { f32::from_le_bytes(self.array()?).into() } else { f64::from_le_bytes(self.array()?) })
    }

    fn whole(&mut self, kind: u32) -> Result<i64> {
        Ok(match kind {
            0 | 7 => u8::from_le_bytes(self.array()?).into(),
            1 => i8::from_le_bytes(self.array()?).into(),
            2 => u16::from_le_bytes(self.array()?).into(),
            3 => i16::from_le_bytes(self.array()?).into(),
            4 => u32::from_le_bytes(self.array()?).into(),
            5 => i32::from_le_bytes(self.array()?).into(),
            10 => u64::from_le_bytes(self.array()?).try_into().unwrap_or(i64::MAX),
            11 => i64::from_le_bytes(self.array()?),
            _ => return Err(self.refusal(&format!("a value of type {kind}, which GGUF does not have"))),
        })
    }

    fn text(&mut self) -> Result<String> {
        let length = self.count(1)?;
        let mut bytes = vec![0; length];
        self.fill(&mut bytes)?;
        String::from_utf8(bytes).map_err(|_| self.refusal("a text that is not UTF-8"))
    }

    /// Reads a count of items of at least `bytes_each` bytes; the rest of the file must have room for them.
    fn count(&mut self, bytes_each: u64) -> Result<usize> {
        let count = u64::from_le_bytes(self.array()?);
        let room = (self.length - self.position) / bytes_each;
        if count > room {
            let message = format!("{count} items of {bytes_each} bytes or more, but there is room for {room}");
            return Err(self.refusal(&message));
        }
        Ok(count as usize)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<()> {
        self.position += bytes.len() as u64;
        self.file.read_exact(bytes).map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => self.refusal("its header is truncated"),
            _ => Error::io("read", self.path)(error),
        })
    }

    fn refusal(&self, message: &str) -> Error {
        Error::checkpoint(self.path, format!("is not a complete GGUF file: before byte {}: {message}", self.position))
    }
}

/// Minimum bytes per value.
fn width(kind: u32) -> Option<u64> {
    match kind {
        0 | 1 | 7 => Some(1),
        2 | 3 => Some(2),
        4..=6 => Some(4),
        8 | 10..=12 => Some(8),
        _ => None,
    }
}
