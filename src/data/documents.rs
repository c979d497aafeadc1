//! Documents read in chunks, repeatedly if needed: a corpus may be larger than memory.

use std::collections::HashSet;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::chunk::{Chunk, Chunks};
use super::progress::Progress;
#[cfg(not(target_arch = "wasm32"))]
use super::text_files::TextFile;
#[cfg(not(target_arch = "wasm32"))]
use crate::files::hex;
use crate::{Error, Result};

/// Documents in a fixed order, in memory or in files.
#[derive(Debug, Clone, Default)]
pub struct Documents {
    parts: Vec<Part>,
    /// The first held-out part, if file names determine the split.
    first_held_out: Option<usize>,
}

#[derive(Debug, Clone)]
enum Part {
    Memory(Arc<[String]>),
    #[cfg(not(target_arch = "wasm32"))]
    File(TextFile),
}

impl From<Vec<String>> for Documents {
    fn from(documents: Vec<String>) -> Self {
        Self { parts: vec![Part::Memory(documents.into())], first_held_out: None }
    }
}

impl Documents {
    /// The documents of files; those of `held_out` are for validation only.
    #[cfg(not(target_arch = "wasm32"))]
    pub(super) fn of_files(files: Vec<TextFile>, held_out: Vec<TextFile>) -> Self {
        let first_held_out = (!held_out.is_empty()).then_some(files.len());
        Self { parts: files.into_iter().chain(held_out).map(Part::File).collect(), first_held_out }
    }

    /// Concatenates with `others`; the held-out parts of both come last.
    #[cfg(not(target_arch = "wasm32"))]
    pub(super) fn and(mut self, mut others: Self) -> Self {
        let mut held_out = self.parts.split_off(self.first_held_out.unwrap_or(self.parts.len()));
        let others_held_out = others.parts.split_off(others.first_held_out.unwrap_or(others.parts.len()));
        self.parts.extend(others.parts);
        held_out.extend(others_held_out);
        self.first_held_out = (!held_out.is_empty()).then_some(self.parts.len());
        self.parts.extend(held_out);
        self
    }

    /// All documents in chunks.
    pub fn chunks(&self) -> Chunks<'_> {
        Box::new(self.parts.iter().flat_map(Part::chunks))
    }

    /// All documents in memory.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub fn whole(&self) -> Result<Vec<String>> {
        let mut documents = Vec::new();
        let mut document = String::new();
        for chunk in self.chunks() {
            let chunk = chunk?;
            document += &chunk.text;
            if chunk.ends_document {
                documents.push(std::mem::take(&mut document));
            }
        }
        Ok(documents)
    }

    /// Reads everything once, to find the length of each document and those to skip.
    pub(super) fn survey(self, progress: &mut dyn Progress) -> Result<Surveyed> {
        let mut surveyor = Surveyor::new(progress);
        let mut first_held_out = None;
        for (i, part) in self.parts.iter().enumerate() {
            if self.first_held_out == Some(i) {
                first_held_out = Some(surveyor.lengths.len());
            }
            part.chunks().try_for_each(|chunk| surveyor.see(&chunk?))?;
        }
        let Surveyor { n_seen, left_out, lengths, n_blank, n_twice, corpus, .. } = surveyor;
        let sha256 = corpus.finalize().into();
        Ok(Surveyed { documents: self, left_out, lengths, first_held_out, n_seen, n_blank, n_twice, sha256 })
    }
}

impl Part {
    fn chunks(&self) -> Chunks<'_> {
        match self {
            Self::Memory(documents) => {
                Box::new(documents.iter().map(|text| Ok(Chunk { text: text.into(), ends_document: true })))
            }
            #[cfg(not(target_arch = "wasm32"))]
            Self::File(file) => file.chunks(),
        }
    }
}

/// Documents of known length.
#[derive(Debug, Clone)]
pub(super) struct Surveyed {
    documents: Documents,
    /// Indices of documents that are blank or duplicates, in order.
    left_out: Vec<usize>,
    /// Bytes of each of the others.
    pub lengths: Vec<u64>,
    /// The first held-out one of the others, if file names determine the split.
    pub first_held_out: Option<usize>,
    n_seen: usize,
    /// Number of documents without text.
    pub n_blank: usize,
    /// Number of duplicates.
    pub n_twice: usize,
    sha256: [u8; 32],
}

impl Surveyed {
    /// Total bytes of the documents kept.
    pub fn n_bytes(&self) -> u64 {
        self.lengths.iter().sum()
    }

    /// Hash of the documents kept, in hexadecimal.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn sha256(&self) -> String {
        hex(&self.sha256)
    }

    /// The chunks of the documents kept, each with the index of its document among them.
    ///
    /// Errors of the iterator: a file cannot be read, or has changed since the survey.
    pub fn chunks(&self) -> impl Iterator<Item = Result<(usize, Chunk<'_>)>> + Send {
        let mut chunks = self.documents.chunks();
        let (mut seen, mut kept, mut length) = (0, 0, 0);
        // The cache is keyed by the hash of the surveyed text, so it must be made from exactly that.
        let (mut hash, mut corpus) = (Sha256::new(), Some(Sha256::new()));
        let mut left_out = self.left_out.iter().copied().peekable();
        std::iter::from_fn(move || {
            loop {
                let chunk = match chunks.next() {
                    Some(Ok(chunk)) => chunk,
                    Some(Err(error)) => return Some(Err(error)),
                    None => {
                        let sha256 = corpus.take()?.finalize();
                        return (seen != self.n_seen || sha256[..] != self.sha256).then(|| Err(changed()));
                    }
                };
                let is_left_out = left_out.peek() == Some(&seen);
                let document = kept;
                length += chunk.text.len() as u64;
                hash.update(chunk.text.as_bytes());
                if chunk.ends_document {
                    seen += 1;
                    let sha256 = std::mem::take(&mut hash).finalize();
                    let length = std::mem::take(&mut length);
                    if is_left_out {
                        left_out.next();
                    } else if self.lengths.get(kept) != Some(&length) {
                        return Some(Err(changed()));
                    } else {
                        kept += 1;
                        corpus.as_mut()?.update(sha256);
                    }
                }
                if !is_left_out {
                    return Some(Ok((document, chunk)));
                }
            }
        })
    }
}

fn changed() -> Error {
    Error::Data("the text was changed by another program while it was read: try again when that is done".into())
}

struct Surveyor<'a> {
    progress: &'a mut dyn Progress,
    n_bytes: u64,
    n_seen: usize,
    left_out: Vec<usize>,
    lengths: Vec<u64>,
    n_blank: usize,
    n_twice: usize,
    known: HashSet<[u8; 16]>,
    corpus: Sha256,
    /// Hash of the current document.
    hash: Sha256,
    length: u64,
    has_words: bool,
}

impl<'a> Surveyor<'a> {
    fn new(progress: &'a mut dyn Progress) -> Self {
        Self {
            progress,
            n_bytes: 0,
            n_seen: 0,
            left_out: Vec::new(),
            lengths: Vec::new(),
            n_blank: 0,
            n_twice: 0,
            known: HashSet::new(),
            corpus: Sha256::new(),
            hash: Sha256::new(),
            length: 0,
            has_words: false,
        }
    }

    fn see(&mut self, chunk: &Chunk<'_>) -> Result<()> {
        self.n_bytes += chunk.text.len() as u64;
        self.progress.bytes("reading", self.n_bytes, None);
        self.hash.update(chunk.text.as_bytes());
        self.length += chunk.text.len() as u64;
        self.has_words |= !chunk.text.trim().is_empty();
        if chunk.ends_document {
            self.end_document();
        }
        Ok(())
    }

    fn end_document(&mut self) {
        let sha256 = std::mem::take(&mut self.hash).finalize();
        let length = std::mem::take(&mut self.length);
        let has_words = std::mem::take(&mut self.has_words);
        let key = std::array::from_fn(|i| sha256[i]);
        if !has_words {
            self.n_blank += 1;
            self.left_out.push(self.n_seen);
        } else if !self.known.insert(key) {
            self.n_twice += 1;
            self.left_out.push(self.n_seen);
        } else {
            self.lengths.push(length);
            self.corpus.update(sha256);
        }
        self.n_seen += 1;
    }
}
