//! The bytes of a file, decompressed on the fly.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;

use crate::{Error, Result};

/// Decompressed bytes of a file.
pub(super) type Bytes = Box<dyn BufRead + Send>;

const BUFFER_BYTES: usize = 1 << 18;

/// Opens a text file; decompresses gzip and zstd whatever the file's name.
///
/// Errors: the file cannot be read, or its first bytes show that it is not text.
pub(super) fn open(path: &Path) -> Result<Bytes> {
    let file = File::open(path).map_err(Error::io("read", path))?;
    let mut packed = BufReader::with_capacity(BUFFER_BYTES, file);
    let start = packed.fill_buf().map_err(Error::io("read", path))?;
    let mut bytes: Bytes = if start.starts_with(b"\x1f\x8b") {
        Box::new(BufReader::with_capacity(BUFFER_BYTES, MultiGzDecoder::new(packed)))
    } else if start.starts_with(b"\x28\xb5\x2f\xfd") {
        unpack_zstd(packed, path)?
    } else {
        Box::new(packed)
    };
    let start = bytes.fill_buf().map_err(Error::io("read", path))?;
    if let Some(kind) = kind_of(start) {
        return Err(Error::Data(format!("{} is {kind}", path.display())));
    }
    if start.starts_with(b"\xef\xbb\xbf") {
        bytes.consume(3);
    }
    Ok(bytes)
}

/// Whether a file starts like Parquet, for files with other extensions.
pub(super) fn is_parquet(path: &Path) -> bool {
    let mut start = [0; 4];
    File::open(path).and_then(|mut file| file.read_exact(&mut start)).is_ok() && &start == b"PAR1"
}

#[cfg(feature = "parquet")]
fn unpack_zstd(packed: BufReader<File>, path: &Path) -> Result<Bytes> {
    let decoder = zstd::stream::read::Decoder::with_buffer(packed).map_err(Error::io("read", path))?;
    Ok(Box::new(BufReader::with_capacity(BUFFER_BYTES, decoder)))
}

#[cfg(not(feature = "parquet"))]
fn unpack_zstd(_: BufReader<File>, path: &Path) -> Result<Bytes> {
    Err(Error::Data(super::without_parquet(path, "compressed by zstd")))
}

/// The kind of a file that is not UTF-8 by its first bytes, and what to do about it.
fn kind_of(bytes: &[u8]) -> Option<&'static str> {
    const KINDS: [(&[u8], &str); 6] = [
        (b"\xff\xfe", "UTF-16 text: convert it by `iconv -f utf-16 -t utf-8`"),
        (b"\xfe\xff", "UTF-16 text: convert it by `iconv -f utf-16 -t utf-8`"),
        (b"PAR1", "a Parquet file inside another: unpack it first"),
        (b"\xfd7zXZ\x00", "compressed by xz: unpack it first"),
        (b"PK\x03\x04", "a ZIP archive: unpack it first"),
        (b"%PDF", "a PDF: extract its text first"),
    ];
    KINDS.iter().find(|(magic, _)| bytes.starts_with(magic)).map(|(_, kind)| *kind)
}

/// Appends about `count` of the next bytes of `from` to `to`; none at the end.
pub(super) fn read_some(from: &mut Bytes, to: &mut Vec<u8>, count: usize) -> io::Result<usize> {
    from.take(count as u64).read_to_end(to)
}
