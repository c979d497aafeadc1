//! Arrays in NumPy's format: a header that is a Python dictionary literal, then the values.
//!
//! Source: NumPy's documentation, `numpy.lib.format`, versions 1.0 to 3.0.

use std::fs::File;
use std::io::{self, BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};

use super::tokens::Tokens;
use crate::{Error, Result};

/// Magic bytes; two bytes for the version follow.
const MAGIC: &[u8; 6] = b"\x93NUMPY";
/// Maximum header length, the same as NumPy's.
const LONGEST_HEADER: usize = 10_000;

/// A file whose header has been read.
#[derive(Debug)]
pub struct NpyFile {
    path: PathBuf,
    header: Header,
    values: BufReader<File>,
}

/// The header.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Header {
    /// The element type in NumPy's notation: `<f4`.
    descr: String,
    /// Whether the array is column-major.
    fortran_order: bool,
    shape: Vec<usize>,
}

impl NpyFile {
    /// Reads the header, and checks it against the file's length.
    ///
    /// # Errors
    /// If the file cannot be read, has another format or structured elements, or is shorter or longer than its header
    /// says.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(Error::io("read", path))?;
        let n_file_bytes = file.metadata().map_err(Error::io("read", path))?.len();
        let mut values = BufReader::new(file);
        let (header, n_header_bytes) = read_header(&mut values).map_err(|message| garbled(path, message))?;
        let file = Self { path: path.to_owned(), header, values };
        let n_value_bytes = file.header.shape.iter().try_fold(file.width() as u64, |product, &extent| {
            product.checked_mul(extent as u64).filter(|bytes| *bytes < 1 << 60)
        });
        let Some(n_value_bytes) = n_value_bytes else {
            return Err(garbled(path, "its header gives more elements than can be counted: the file is corrupt"));
        };
        let n_wanted_bytes = n_header_bytes as u64 + n_value_bytes;
        if n_wanted_bytes != n_file_bytes {
            let verdict = if n_file_bytes < n_wanted_bytes { "the file is truncated" } else { "there are extra bytes" };
            let message = format!("holds {n_file_bytes} bytes, its header requires {n_wanted_bytes}: {verdict}");
            return Err(garbled(path, message));
        }
        Ok(file)
    }

    /// The dimensions; empty for a single number.
    pub fn shape(&self) -> &[usize] {
        &self.header.shape
    }

    /// Whether the array is column-major.
    pub fn is_fortran_order(&self) -> bool {
        self.header.fortran_order
    }

    /// The element type in NumPy's notation: `<f4`.
    pub fn descr(&self) -> &str {
        &self.header.descr
    }

    /// The kind and size of an element, without byte order: `f4`.
    pub fn kind(&self) -> &str {
        self.header.descr.trim_start_matches(['<', '>', '|', '='])
    }

    fn width(&self) -> usize {
        self.kind().get(1..).and_then(|digits| digits.parse().ok()).unwrap_or(0)
    }

    /// All values in file order; `decode` gets the bytes of one value, least significant first.
    ///
    /// # Errors
    /// If elements are not `N` bytes wide, or the file cannot be read.
    pub fn values<T, const N: usize>(mut self, decode: impl Fn([u8; N]) -> T) -> Result<Vec<T>> {
        if self.width() != N {
            return Err(garbled(&self.path, format!("holds '{}', which is not {N} bytes wide", self.descr())));
        }
        let is_big_endian = self.descr().starts_with('>');
        let n_values = self.header.shape.iter().product();
        let mut values = Vec::with_capacity(n_values);
        let mut bytes = [0; N];
        for _ in 0..n_values {
            self.values.read_exact(&mut bytes).map_err(Error::io("read", &self.path))?;
            if is_big_endian {
                bytes.reverse();
            }
            values.push(decode(bytes));
        }
        Ok(values)
    }
}

/// A file of version 1.0: `descr` is the type in NumPy's notation, `bytes` are the values.
pub fn npy_bytes(descr: &str, shape: &[usize], bytes: impl IntoIterator<Item = u8>) -> Vec<u8> {
    let extents: String = shape.iter().map(|extent| format!("{extent},")).collect();
    let dictionary = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({extents}), }}");
    // The values start at a multiple of 64 bytes; a newline ends the header.
    let n_header_bytes = (10 + dictionary.len() + 1).next_multiple_of(64) - 10;
    let mut file = MAGIC.to_vec();
    file.extend([1, 0]);
    file.extend((n_header_bytes as u16).to_le_bytes());
    file.extend(format!("{dictionary:<width$}\n", width = n_header_bytes - 1).bytes());
    file.extend(bytes);
    file
}

/// Reads token ids from a NumPy file: a one-dimensional array of u16, u32, i32 or i64.
///
/// # Errors
/// See [`NpyFile::open`]; also another shape or type, or a negative or too large id.
pub fn from_npy(path: &Path) -> Result<Tokens> {
    let npy = NpyFile::open(path)?;
    if npy.shape().len() != 1 {
        let message =
            format!("{} has shape {:?}; token ids are one row: tokens.reshape(-1)", path.display(), npy.shape());
        return Err(Error::Data(message));
    }
    let ids: Vec<i64> = match npy.kind() {
        "u2" => npy.values(|bytes| u16::from_le_bytes(bytes).into())?,
        "u4" => npy.values(|bytes| u32::from_le_bytes(bytes).into())?,
        "i4" => npy.values(|bytes| i32::from_le_bytes(bytes).into())?,
        "i8" => npy.values(i64::from_le_bytes)?,
        _ => {
            let message = "token ids are uint16, uint32, int32 or int64";
            return Err(Error::Data(format!("{} holds '{}'; {message}", path.display(), npy.descr())));
        }
    };
    let narrow = |(at, id): (usize, &i64)| {
        u32::try_from(*id)
            .map_err(|_| Error::Data(format!("{}: {id} at position {at} is not a token id", path.display())))
    };
    Ok(Tokens::Owned(ids.iter().enumerate().map(narrow).collect::<Result<_>>()?))
}

fn garbled(path: &Path, message: impl Into<String>) -> Error {
    Error::io("read", path)(io::Error::new(ErrorKind::InvalidData, message.into()))
}

/// Reads the header; also returns its length in bytes.
fn read_header(reader: &mut impl Read) -> std::result::Result<(Header, usize), String> {
    let mut read = |n_bytes: usize| {
        let mut bytes = vec![0; n_bytes];
        reader.read_exact(&mut bytes).map(|()| bytes).map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => "not a NumPy file, or one with a truncated header".to_owned(),
            _ => error.to_string(),
        })
    };
    let start = read(8)?;
    if !start.starts_with(MAGIC) {
        return Err("not a NumPy file: it does not begin with \\x93NUMPY".into());
    }
    let n_length_bytes = match start[6] {
        1 => 2,
        2 | 3 => 4,
        other => return Err(format!("version {other} of NumPy's format is not known; 1, 2 and 3 are")),
    };
    let length = read(n_length_bytes)?.iter().rev().fold(0, |length, byte| length << 8 | usize::from(*byte));
    if length > LONGEST_HEADER {
        return Err(format!("its header has {length} bytes, more than the {LONGEST_HEADER} that NumPy reads"));
    }
    let text = String::from_utf8(read(length)?).map_err(|_| "its header is not text".to_owned())?;
    Ok((parse_header(&text)?, start.len() + n_length_bytes + length))
}

/// `{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }`, in any order of the keys.
fn parse_header(text: &str) -> std::result::Result<Header, String> {
    let wrong = || format!("its header is not NumPy's: {}", text.trim_end());
    let inner = text.trim().strip_prefix('{').and_then(|text| text.strip_suffix('}')).ok_or_else(wrong)?;
    let (mut descr, mut fortran_order, mut shape) = (None, None, None);
    let mut rest = inner.trim();
    while !rest.is_empty() {
        let (key, after) = quoted(rest).ok_or_else(wrong)?;
        let value = after.trim_start().strip_prefix(':').ok_or_else(wrong)?.trim_start();
        rest = match key {
            "descr" if value.starts_with('[') => return Err("has structured elements; expected a single type".into()),
            "descr" => {
                let (value, after) = quoted(value).ok_or_else(wrong)?;
                descr = Some(value.to_owned());
                after
            }
            "fortran_order" => {
                let n = value.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(value.len());
                fortran_order = match &value[..n] {
                    "True" => Some(true),
                    "False" => Some(false),
                    _ => return Err(wrong()),
                };
                &value[n..]
            }
            "shape" => {
                let tuple = value.strip_prefix('(').and_then(|value| value.split_once(')'));
                let (extents, after) = tuple.ok_or_else(wrong)?;
                shape = Some(parse_extents(extents).ok_or_else(wrong)?);
                after
            }
            _ => return Err(wrong()),
        };
        rest = rest.trim_start();
        rest = rest.strip_prefix(',').unwrap_or(rest).trim_start();
    }
    match (descr, fortran_order, shape) {
        (Some(descr), Some(fortran_order), Some(shape)) => Ok(Header { descr, fortran_order, shape }),
        _ => Err(wrong()),
    }
}

/// The contents of leading quotation marks, and the rest.
fn quoted(text: &str) -> Option<(&str, &str)> {
    let mark = text.chars().next().filter(|mark| ['\'', '"'].contains(mark))?;
    text[1..].split_once(mark)
}

/// `2, 3` or `2,`; Python 2 wrote `2L, 3L`.
fn parse_extents(text: &str) -> Option<Vec<usize>> {
    let parts = text.split(',').map(|part| part.trim().trim_end_matches('L'));
    let mut parts: Vec<&str> = parts.collect();
    parts.pop_if(|last| last.is_empty());
    parts.into_iter().map(|part| part.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(tokens: &Tokens, start: usize, count: usize) -> Vec<u32> {
        let mut out = vec![u32::MAX; count];
        tokens.copy_to(start, &mut out).unwrap();
        out
    }

    #[test]
    fn token_ids_of_every_integer_type() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.npy");
        let check = |descr: &str, bytes: Vec<u8>, largest: u32| {
            std::fs::write(&path, npy_bytes(descr, &[2], bytes)).unwrap();
            assert_eq!(read(&from_npy(&path).unwrap(), 0, 2), [7, largest], "{descr}");
        };
        check("<u2", [7_u16, 65535].iter().flat_map(|id| id.to_le_bytes()).collect(), 65535);
        check("<u4", [7_u32, 100_000].iter().flat_map(|id| id.to_le_bytes()).collect(), 100_000);
        check("<i4", [7_i32, 100_000].iter().flat_map(|id| id.to_le_bytes()).collect(), 100_000);
        check("<i8", [7_i64, 100_000].iter().flat_map(|id| id.to_le_bytes()).collect(), 100_000);
        check(">i8", [7_i64, 100_000].iter().flat_map(|id| id.to_be_bytes()).collect(), 100_000);
    }

    #[test]
    fn arrays_that_are_no_token_ids_are_errors() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.npy");
        let message = || from_npy(&path).unwrap_err().to_string();
        std::fs::write(&path, npy_bytes("<f4", &[2], [0; 8])).unwrap();
        assert!(message().contains("holds '<f4'; token ids are uint16, uint32, int32 or int64"), "{}", message());
        std::fs::write(&path, npy_bytes("<i8", &[1, 2], [0; 16])).unwrap();
        assert!(message().contains("has shape [1, 2]"), "{}", message());
        std::fs::write(&path, npy_bytes("<i8", &[2], [1_i64, -2].iter().flat_map(|id| id.to_le_bytes()))).unwrap();
        assert!(message().contains("-2 at position 1 is not a token id"), "{}", message());
        std::fs::write(&path, "text").unwrap();
        assert!(message().starts_with("cannot read "), "{}", message());
    }

    #[test]
    fn headers_as_several_programs_write_them() {
        let header = |descr: &str, fortran_order, shape: &[usize]| Header {
            descr: descr.into(),
            fortran_order,
            shape: shape.into(),
        };
        let ours = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }   \n";
        assert_eq!(parse_header(ours), Ok(header("<f4", false, &[2, 3])));
        let another = "{\"shape\":(5,),\"fortran_order\":True,\"descr\":\">f8\"}";
        assert_eq!(parse_header(another), Ok(header(">f8", true, &[5])));
        let old = "{'descr': '|u1', 'fortran_order': False, 'shape': (2L, 3L), }";
        assert_eq!(parse_header(old), Ok(header("|u1", false, &[2, 3])));
        let number = "{'descr': '<i8', 'fortran_order': False, 'shape': (), }";
        assert_eq!(parse_header(number), Ok(header("<i8", false, &[])));
    }

    #[test]
    fn headers_that_are_none_are_told_at_once() {
        let records = "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,), }";
        assert_eq!(parse_header(records).unwrap_err(), "has structured elements; expected a single type");
        // A backtracking parser would not terminate here.
        let nested = format!("{{'descr': '<i4',{}pe': (1.), }}", "(".repeat(2000));
        for text in [
            nested.as_str(),
            "",
            "{",
            "{'descr'}",
            "{'descr': '<f4'}",
            "{'descr': '<f4', 'fortran_order': No, 'shape': (2,)}",
            "{'descr': '<f4', 'fortran_order': True, 'shape': (2, -3)}",
            "{'é': 1}",
            "{'shape': 2}",
        ] {
            assert!(parse_header(text).unwrap_err().starts_with("its header is not NumPy's: "), "{text}");
        }
    }
}
