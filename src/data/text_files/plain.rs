//! A text file as one document.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use super::bytes::{Bytes, read_some};
use crate::data::chunk::Chunk;
use crate::{Error, Result};

const CHUNK_BYTES: usize = 1 << 18;

/// The text in chunks; the last one, which may be empty, ends the document.
pub(super) fn chunks<'a>(mut bytes: Bytes, path: PathBuf) -> impl Iterator<Item = Result<Chunk<'a>>> + Send {
    let mut is_over = false;
    let mut offset = 0;
    let mut held = Vec::new();
    std::iter::from_fn(move || {
        if is_over {
            return None;
        }
        let next = match read_some(&mut bytes, &mut held, CHUNK_BYTES) {
            Ok(0) => last(&held, offset, &path),
            Ok(_) => characters(&mut held, offset, &path),
            Err(error) => Err(Error::io("read", &path)(error)),
        };
        is_over = next.as_ref().map_or(true, |chunk| chunk.ends_document);
        offset += next.as_ref().map_or(0, |chunk| chunk.text.len());
        Some(next)
    })
}

/// The complete characters; the beginning of another stays in `held`.
fn characters<'a>(held: &mut Vec<u8>, offset: usize, path: &Path) -> Result<Chunk<'a>> {
    let whole = match std::str::from_utf8(held) {
        Ok(text) => text.len(),
        Err(error) if error.error_len().is_none() => error.valid_up_to(),
        Err(error) => return Err(not_utf8(path, held, offset, error.valid_up_to())),
    };
    let rest = held.split_off(whole);
    let text = String::from_utf8(std::mem::replace(held, rest)).expect("that many bytes are valid");
    Ok(Chunk { text: Cow::Owned(text), ends_document: false })
}

/// The end of the text: empty, unless it ends inside a character.
fn last<'a>(held: &[u8], offset: usize, path: &Path) -> Result<Chunk<'a>> {
    match held {
        [] => Ok(Chunk { text: Cow::Borrowed(""), ends_document: true }),
        _ => Err(not_utf8(path, held, offset, 0)),
    }
}

fn not_utf8(path: &Path, bytes: &[u8], offset: usize, at: usize) -> Error {
    Error::Data(format!(
        "{} is not UTF-8: byte {} is 0x{:02x}. If it is text in another encoding, convert it, for example: \
         iconv -f latin1 -t utf-8",
        path.display(),
        offset + at,
        bytes[at]
    ))
}
