//! The tokenizer of a build without Hugging Face's `tokenizers`, like the web page: bytes only.

use serde_json::Value;

pub use super::byte_level::END_OF_TEXT;
use super::byte_level::{CONFIG_FILE, byte_characters, bytes_file, default_config, take_characters};
use super::chunk::Chunk;
use super::progress::Progress;
use crate::{Error, Result};

/// 256 ids, each a byte's value; Hugging Face's `AutoTokenizer` can load its files.
#[derive(Debug, Clone)]
pub struct Tokenizer;

const VOCAB_SIZE: usize = 256;

impl Tokenizer {
    /// The only tokenizer of this build.
    pub fn bytes() -> Self {
        Self
    }

    /// # Errors
    /// Always: this build has no such tokenizer.
    pub fn train_bpe(_documents: &[String], _vocab_size: usize, _progress: &mut dyn Progress) -> Result<Self> {
        Err(without())
    }

    pub(super) fn train_bpe_on_chunks<'a>(
        _chunks: impl Iterator<Item = Result<Chunk<'a>>>,
        _n_bytes: u64,
        _vocab_size: usize,
        _progress: &mut dyn Progress,
    ) -> Result<Self> {
        Err(without())
    }

    /// # Errors
    /// If the file cannot be read; see also [`Tokenizer::from_json`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn from_file(path: impl AsRef<std::path::Path>) -> Result<Self> {
        let path = path.as_ref();
        Self::from_json(&std::fs::read_to_string(path).map_err(Error::io("read", path))?)
    }

    /// Reads the `tokenizer.json` of a directory, if it has one.
    ///
    /// # Errors
    /// See [`Tokenizer::from_file`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn of_folder(dir: &std::path::Path) -> Result<Option<Self>> {
        let path = dir.join("tokenizer.json");
        if path.exists() { Self::from_file(path).map(Some) } else { Ok(None) }
    }

    /// Parses the text of a `tokenizer.json`.
    ///
    /// # Errors
    /// Anything but the tokenizer of [`Tokenizer::bytes`].
    pub fn from_json(json: &str) -> Result<Self> {
        let file: Value =
            serde_json::from_str(json).map_err(|error| Error::Tokenizer(format!("not a tokenizer.json: {error}")))?;
        let vocab = file["model"]["vocab"].as_object();
        let id = |c: char| vocab.and_then(|vocab| vocab.get(&c.to_string())).and_then(Value::as_u64);
        let is_bytes = vocab.is_some_and(|vocab| vocab.len() == VOCAB_SIZE)
            && (0..).zip(byte_characters()).all(|(byte, c)| id(c) == Some(byte));
        if is_bytes { Ok(Self) } else { Err(without()) }
    }

    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn from_json_with_end(json: &str, _end: Option<&str>) -> Result<Self> {
        Self::from_json(json)
    }

    /// The bytes of `text`.
    ///
    /// # Errors
    /// None.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        Ok(text.bytes().map(u32::from).collect())
    }

    pub(super) fn cutter(&self) -> Cutter {
        Cutter
    }

    pub(super) fn encode_pieces(&self, pieces: &[String]) -> Result<Vec<Vec<u32>>> {
        pieces.iter().map(|piece| self.encode(piece)).collect()
    }

    /// Decodes `ids`; invalid UTF-8 becomes U+FFFD.
    ///
    /// # Errors
    /// If an id is outside the vocabulary.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        let byte = |id: &u32| u8::try_from(*id).map_err(|_| self.no_such_id(*id));
        let bytes: Vec<u8> = ids.iter().map(byte).collect::<Result<_>>()?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// 256.
    pub fn vocab_size(&self) -> usize {
        VOCAB_SIZE
    }

    /// Always `None`.
    pub fn end_of_text(&self) -> Option<u32> {
        None
    }

    /// The text of its `tokenizer.json`.
    pub fn to_json(&self) -> String {
        format!("{:#}", bytes_file())
    }

    /// `tokenizer.json` and `tokenizer_config.json` with their texts, as stored with a model.
    pub fn files(&self) -> Vec<(String, String)> {
        vec![("tokenizer.json".into(), self.to_json()), (CONFIG_FILE.into(), format!("{:#}\n", default_config(None)))]
    }

    /// Always true.
    pub fn is_bytes(&self) -> bool {
        true
    }

    fn no_such_id(&self, id: u32) -> Error {
        Error::Tokenizer(format!("id {id} is outside the tokenizer's vocabulary of {VOCAB_SIZE}"))
    }
}

/// Bytes may be cut anywhere.
pub(super) struct Cutter;

impl Cutter {
    pub fn push(&mut self, text: &str, pieces: &mut Vec<String>) {
        pieces.push(text.to_owned());
    }

    pub fn finish(&mut self, _pieces: &mut Vec<String>) {}
}

pub(super) fn batch_bytes() -> usize {
    1 << 20
}

fn without() -> Error {
    Error::Tokenizer("this build knows bytes alone: its feature `tokenizers` is off".into())
}

/// Decodes text token by token: an id that ends inside a character yields nothing until the character is complete.
pub struct StreamDecoder<'a> {
    tokenizer: &'a Tokenizer,
    pending: Vec<u8>,
}

impl<'a> StreamDecoder<'a> {
    /// Starts a stream at the next id.
    pub fn new(tokenizer: &'a Tokenizer) -> Self {
        Self { tokenizer, pending: Vec::new() }
    }

    /// The text completed by `id`; often empty.
    ///
    /// # Errors
    /// If the id is outside the vocabulary.
    pub fn push(&mut self, id: u32) -> Result<String> {
        self.pending.push(u8::try_from(id).map_err(|_| self.tokenizer.no_such_id(id))?);
        Ok(take_characters(&mut self.pending))
    }

    /// The remaining text at the end: a replacement character for an incomplete one.
    pub fn finish(self) -> String {
        String::from_utf8_lossy(&self.pending).into_owned()
    }
}
