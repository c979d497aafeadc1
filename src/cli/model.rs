//! A model directory or GGUF file, as `eval`, `generate` and `inspect` read it.

use std::path::{Path, PathBuf};

use multinorm::checkpoint::{load_model, load_tokenizer, resolve_model_dir};
use multinorm::config::ModelConfig;
use multinorm::data::tokenizer::Tokenizer;
use multinorm::{Error, Result};

/// A model with its weights, in the order of [`ModelConfig::parameters`].
pub struct Model {
    pub folder: PathBuf,
    pub config: ModelConfig,
    pub weights: Vec<Vec<f32>>,
}

impl Model {
    /// Reads a model, checkpoint or run directory, or a GGUF file.
    pub fn load(path: &Path) -> Result<Self> {
        let folder = resolve_model_dir(path)?;
        let (config, tensors) = load_model(&folder)?;
        Ok(Self { folder, config, weights: tensors.into_iter().map(|tensor| tensor.values).collect() })
    }

    /// Rejects weights that are not finite, and names the first.
    pub fn check_finite(&self) -> Result<()> {
        for (spec, values) in self.config.parameters().iter().zip(&self.weights) {
            if let Some(at) = values.iter().position(|value| !value.is_finite()) {
                let width = spec.shape.last().copied().unwrap_or(1);
                let place =
                    if spec.shape.len() == 2 { format!("[{}, {}]", at / width, at % width) } else { format!("[{at}]") };
                let message = format!("{} is {} at {place}: the model is not usable", spec.name, values[at]);
                return Err(Error::NonFinite(format!("{}: {message}", self.folder.display())));
            }
        }
        Ok(())
    }

    /// The model's tokenizer.
    pub fn tokenizer(&self) -> Result<Tokenizer> {
        let Some(tokenizer) = load_tokenizer(&self.folder)? else {
            return Err(Error::checkpoint(&self.folder, "has no tokenizer.json, which is needed for text"));
        };
        if tokenizer.vocab_size() > self.config.vocab_size {
            return Err(Error::checkpoint(
                &self.folder,
                format!(
                    "the tokenizer has {} entries, the model's vocab_size is {}: they do not belong together",
                    tokenizer.vocab_size(),
                    self.config.vocab_size
                ),
            ));
        }
        Ok(tokenizer)
    }
}
