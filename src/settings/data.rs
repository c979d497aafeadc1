//! The settings of the training text.

use std::path::PathBuf;

use serde::Serialize;

use super::check;
use super::keys::Section;
use crate::{Error, Result};

/// `[data]`: the text.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DataConfig {
    /// Named corpora (`austen`, `public-domain`) and paths of files or folders, read in this order.
    pub source: Vec<String>,
    /// The field or column with the text, in JSON Lines, JSON, CSV and Parquet.
    pub text_field: String,
    /// `bytes`, `bpe` (trained on the source), or the path of a tokenizer.json.
    pub tokenizer: String,
    /// The fraction of the text to hold out for evaluation.
    pub validation_fraction: f64,
    /// Where tokenized text and trained tokenizers are cached; empty for the system's cache directory: see
    /// [`DataConfig::cache_dir`].
    pub cache_dir: PathBuf,
}

/// The named corpora for `data.source`.
pub const CORPORA: [&str; 3] = ["austen", "public-domain", "rust-book"];

impl DataConfig {
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn make_paths_absolute(&mut self) -> Result<()> {
        let absolute = |path: &str| -> Result<PathBuf> { std::path::absolute(path).map_err(Error::io("find", path)) };
        for source in self.source.iter_mut().filter(|source| !CORPORA.contains(&source.as_str())) {
            *source = absolute(source)?.display().to_string();
        }
        if !["bytes", "bpe"].contains(&self.tokenizer.as_str()) {
            self.tokenizer = absolute(&self.tokenizer)?.display().to_string();
        }
        if !self.cache_dir.as_os_str().is_empty() {
            self.cache_dir = std::path::absolute(&self.cache_dir).map_err(Error::io("find", &self.cache_dir))?;
        }
        Ok(())
    }

    /// The cache for tokenized text and trained tokenizers: `data.cache_dir`, else `multinorm` in the user's cache
    /// (`$XDG_CACHE_HOME` or `~/.cache`; `~/Library/Caches` on macOS, `%LOCALAPPDATA%` on Windows), else `.multinorm`.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn cache_dir(&self) -> PathBuf {
        if !self.cache_dir.as_os_str().is_empty() {
            return self.cache_dir.clone();
        }
        dirs::cache_dir().map_or_else(|| ".multinorm".into(), |cache| cache.join("multinorm"))
    }

    pub(crate) fn validate(&self) -> Result<()> {
        if self.source.is_empty() || self.source.iter().any(String::is_empty) {
            return Err(Error::config("data.source", "must name a text: austen, public-domain or a path"));
        }
        if self.tokenizer.is_empty() {
            return Err(Error::config("data.tokenizer", "must be bytes, bpe or the path of a tokenizer.json"));
        }
        if self.text_field.is_empty() {
            return Err(Error::config("data.text_field", "must name the field or column that holds the text"));
        }
        check::between_0_and_1("data.validation_fraction", self.validation_fraction)
    }

    pub(crate) fn read(mut section: Section) -> Result<Self> {
        let config = Self {
            source: section.require("source")?,
            text_field: section.require("text_field")?,
            tokenizer: section.require("tokenizer")?,
            validation_fraction: section.require("validation_fraction")?,
            cache_dir: section.require("cache_dir")?,
        };
        section.finish("unknown key")?;
        Ok(config)
    }
}
