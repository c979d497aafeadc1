//! Models in GGUF, llama.cpp's format: settings, quantized tensors and the tokenizer in one file.
//!
//! Format: github.com/ggml-org/ggml, docs/gguf.md; blocks: ggml/src/ggml-quants.c.

mod blocks;
mod model;
mod reader;
mod tokenizer;

use std::path::Path;

use crate::data::tokenizer::Tokenizer;
use crate::settings::ModelConfig;
use crate::{Error, Result};

use super::tensors::NamedTensor;
use reader::Gguf;

/// Whether a path names a GGUF file.
pub(super) fn is_gguf(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("gguf")) && path.is_file()
}

/// The model's sizes.
pub(super) fn load_config(path: &Path) -> Result<ModelConfig> {
    let mut file = Gguf::open(path)?;
    in_file(path, model::config(&mut file))
}

/// The model's sizes, and its parameters in order, as float32.
pub(super) fn load_model(path: &Path) -> Result<(ModelConfig, Vec<NamedTensor>)> {
    let mut file = Gguf::open(path)?;
    let config = in_file(path, model::config(&mut file))?;
    let parameters = in_file(path, model::parameters(&mut file, &config))?;
    Ok((config, parameters))
}

/// The tokenizer.
pub(super) fn load_tokenizer(path: &Path) -> Result<Tokenizer> {
    let file = Gguf::open(path)?;
    in_file(path, tokenizer::tokenizer(&file))
}

/// Names the file in an error.
fn in_file<T>(path: &Path, result: Result<T>) -> Result<T> {
    result.map_err(|error| match error {
        Error::Config { key, message } => Error::checkpoint(path, format!("{key}: {message}")),
        Error::Data(message) | Error::Tokenizer(message) => Error::checkpoint(path, message),
        other => other,
    })
}

#[cfg(test)]
mod tests;
