//! The directory of a pruning: its state while it runs, the pruned model at its end.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::cut::{cut, equal_shape, zeroed};
use super::measure::Measure;
use super::selection::Selection;
use super::settings::{PruneSettings, Shape};
use crate::checkpoint::{NamedTensor, save_model};
use crate::data::tokenizer::Tokenizer;
use crate::files::{DirLock, is_unused, write_atomic, write_checksums};
use crate::settings::ModelConfig;
use crate::{Error, Result};

/// The file with the state, and at the end with what was removed.
const STATE: &str = "pruning.json";
/// Multiple of the number of channels that are kept in every layer, where so many are left: what kernels read at once.
const CHANNEL_MULTIPLE: usize = 8;

/// What a pruning has learned so far, and what it started from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PruneState {
    /// The settings.
    pub settings: PruneSettings,
    /// The whole model.
    pub model: PathBuf,
    /// Hash of its weights, in hexadecimal.
    pub model_sha256: String,
    /// Where the text is; `None` for that of the run that trained the model.
    pub data: Option<TextSource>,
    /// Hash of its token ids, in hexadecimal.
    pub data_sha256: String,
    /// Steps done.
    pub done: u64,
    /// The moving mean of the losses.
    pub baseline: f32,
    /// Scores of heads and of channels, by layer; empty before they are first saved.
    pub scores: [Measure; 2],
    /// The units that the pruned model has; `None` until it is written.
    pub kept: Option<Selection>,
}

/// A file with text or tokens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TextSource {
    /// Plain text.
    Text(PathBuf),
    /// Token ids in NumPy format.
    Tokens(PathBuf),
}

/// A pruned model.
#[derive(Clone, Debug, PartialEq)]
pub struct Pruned {
    /// Its sizes.
    pub config: ModelConfig,
    /// In the order of [`ModelConfig::parameters`].
    pub parameters: Vec<NamedTensor>,
    /// The units of the whole model that it keeps.
    pub kept: Selection,
}

/// The directory, locked while this exists.
#[derive(Debug)]
pub struct PruneDir {
    lock: DirLock,
    /// The state; [`PruneDir::save`] writes it.
    pub state: PruneState,
}

impl PruneDir {
    /// A new directory.
    ///
    /// Errors: it holds other files or an unfinished pruning, or another process is writing to it.
    pub fn create(folder: &Path, state: PruneState) -> Result<Self> {
        refuse_used(folder)?; // before anything is written there
        let lock = DirLock::acquire(folder)?;
        refuse_used(folder)?; // again, now that nobody else can write
        let dir = Self { lock, state };
        dir.save()?;
        Ok(dir)
    }

    /// The directory of an unfinished pruning.
    ///
    /// Errors: there is none, it is finished, or another process is writing to it.
    pub fn resume(folder: &Path) -> Result<Self> {
        let path = folder.join(STATE);
        if !path.is_file() {
            let message = format!("holds no pruning to resume (there is no {STATE}): start one with `--out`");
            return Err(Error::checkpoint(folder, message));
        }
        let lock = DirLock::acquire(folder)?;
        let text = fs::read_to_string(&path).map_err(Error::io("read", &path))?;
        let state: PruneState = serde_json::from_str(&text)
            .map_err(|error| Error::checkpoint(&path, format!("cannot be read: {error}")))?;
        state.settings.validate()?;
        if state.kept.is_some() {
            return Err(Error::checkpoint(folder, "is finished: there is nothing to resume"));
        }
        Ok(Self { lock, state })
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        self.lock.folder()
    }

    /// Writes the state.
    pub fn save(&self) -> Result<()> {
        let text = serde_json::to_string(&self.state).expect("plain data is always JSON");
        write_atomic(&self.path().join(STATE), (text + "\n").as_bytes())
    }

    /// Writes the pruned model in Hugging Face's layout, and which units of the whole one it keeps.
    ///
    /// `parameters` are those of the whole model, in the order of [`ModelConfig::parameters`].
    pub fn finish(
        mut self,
        config: &ModelConfig,
        parameters: &[NamedTensor],
        tokenizer: Option<&Tokenizer>,
    ) -> Result<Pruned> {
        let PruneSettings { keep, scope, shape, .. } = self.state.settings;
        let [heads, channels] = &self.state.scores;
        let (selection, config, pruned) = match shape {
            Shape::Equal => {
                let selection = Selection::equal([heads, channels], keep, CHANNEL_MULTIPLE);
                let smaller = equal_shape(config, &selection).expect("every layer keeps as many units");
                let pruned = cut(config, &selection, parameters);
                (selection, smaller, pruned)
            }
            Shape::Mask => {
                let selection = Selection::of([heads, channels], keep, scope);
                let pruned = zeroed(config, &selection, parameters);
                (selection, config.clone(), pruned)
            }
        };
        let files = tokenizer.map(Tokenizer::files).unwrap_or_default();
        save_model(self.path(), &config, &pruned, &files, tokenizer.and_then(Tokenizer::end_of_text))?;
        self.state.kept = Some(selection.clone());
        self.save()?;
        write_checksums(self.path())?;
        Ok(Pruned { config, parameters: pruned, kept: selection })
    }
}

/// Refuses a directory with an unfinished pruning, or with anything else.
fn refuse_used(folder: &Path) -> Result<()> {
    if is_unused(folder) {
        return Ok(());
    }
    let message = if folder.join(STATE).exists() {
        "holds a pruning already: go on with `--resume` if it is unfinished, or choose another `--out`"
    } else {
        "is not empty: choose a new or an empty directory"
    };
    Err(Error::checkpoint(folder, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> PruneState {
        PruneState {
            settings: PruneSettings::default(),
            model: "whole".into(),
            model_sha256: "00".into(),
            data: Some(TextSource::Text("a.txt".into())),
            data_sha256: "11".into(),
            done: 3,
            baseline: 0.1,
            scores: [vec![vec![f64::from(0.1_f32), 1.0]], vec![vec![0.25; 3]]],
            kept: None,
        }
    }

    #[test]
    fn a_state_is_read_as_it_was_written() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("out");
        let refusal = |folder: &Path| PruneDir::create(folder, state()).unwrap_err().to_string();
        let dir = PruneDir::create(&folder, state()).unwrap();
        assert!(refusal(&folder).contains("holds a pruning already"), "{}", refusal(&folder));
        assert!(PruneDir::resume(&folder).unwrap_err().to_string().contains("is being written by"));
        drop(dir);
        assert_eq!(PruneDir::resume(&folder).unwrap().state, state());
        let mut finished = PruneDir::resume(&folder).unwrap();
        finished.state.kept = Some(Selection { heads: vec![vec![0]], channels: vec![vec![0]] });
        finished.save().unwrap();
        drop(finished);
        assert!(PruneDir::resume(&folder).unwrap_err().to_string().contains("is finished"));
        let message = PruneDir::resume(parent.path()).unwrap_err().to_string();
        assert!(message.contains("holds no pruning to resume"), "{message}");
        assert!(refusal(parent.path()).contains("is not empty"), "{}", refusal(parent.path()));
    }
}
