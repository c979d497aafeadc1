//! A model directory or GGUF file, as `eval`, `generate` and `inspect` read it.

use std::path::{Path, PathBuf};

use multinorm::checkpoint::{NamedTensor, load_model, load_state, load_tokenizer, resolve_model_dir};
use multinorm::config::{ModelConfig, RunConfig, RunDefaults};
use multinorm::data::tokenizer::Tokenizer;
use multinorm::data::tokens::Tokens;
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

    /// The parameters with their names and shapes.
    pub fn named(&self) -> Vec<NamedTensor> {
        let named = self.config.parameters().into_iter().zip(&self.weights);
        named.map(|(spec, values)| NamedTensor { name: spec.name, shape: spec.shape, values: values.clone() }).collect()
    }

    /// The settings of the run that wrote this checkpoint; `None` for a directory this program did not write.
    pub fn trained_with(&self) -> Result<Option<RunConfig>> {
        let path = self.folder.join("trainer.json");
        if !path.exists() {
            return Ok(None);
        }
        let state = load_state(&self.folder)?;
        RunConfig::load(Some((&path, &state.config_toml)), &[], RunDefaults::Software).map(Some)
    }

    /// The token ids of a text file.
    pub fn tokens_of(&self, path: &Path) -> Result<Tokens> {
        let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
        Ok(Tokens::Owned(self.tokenizer()?.encode(&text)?))
    }

    /// The model's tokenizer.
    pub fn tokenizer(&self) -> Result<Tokenizer> {
        let missing = || Error::checkpoint(&self.folder, "has no tokenizer.json, which is needed for text");
        self.tokenizer_if_any()?.ok_or_else(missing)
    }

    /// The model's tokenizer; `None` if it has none.
    pub fn tokenizer_if_any(&self) -> Result<Option<Tokenizer>> {
        let Some(tokenizer) = load_tokenizer(&self.folder)? else { return Ok(None) };
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
        Ok(Some(tokenizer))
    }
}
