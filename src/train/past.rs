//! An earlier run: what its folder says, and the weights and text needed to resume it.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::report::StepReport;
use super::run::{SESSION, Session, TEXTS, checked_snapshot};
use super::snapshot::Snapshot;
use super::spectra::SpectrumRecord;
use crate::checkpoint::load_newest_checkpoint;
use crate::config::{RunConfig, RunDefaults};
use crate::data::dataset::{self, Dataset};
use crate::data::progress::Progress;
use crate::{Error, Result};

/// The history in metrics.jsonl.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// Every step's report, with cumulative seconds of training.
    pub steps: Vec<(StepReport, f64)>,
    /// Step, cumulative seconds of training, validation loss in nats per token.
    pub evaluations: Vec<(u64, f64, f64)>,
}

impl History {
    /// Parses the lines of metrics.jsonl, skipping those that are no records, such as a line torn by a crash.
    ///
    /// A step's seconds are its tokens divided by its logged speed; this excludes evaluations and checkpoints, and
    /// survives interruptions of the run. If two lines describe one step, the later wins: a stopped run evaluates once
    /// more.
    pub fn of_lines(metrics: &str, tokens_per_step: usize) -> Self {
        let (mut history, mut secs) = (Self::default(), 0.0);
        for record in metrics.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
            let Some(step) = record["step"].as_u64() else { continue };
            let number = |key: &str| record[key].as_f64();
            if let Some(loss) = number("loss") {
                secs += number("tokens_per_sec").map_or(0.0, |speed| tokens_per_step as f64 / speed);
                let report = StepReport {
                    step,
                    tokens: step * tokens_per_step as u64,
                    loss,
                    lr: number("lr").unwrap_or(f64::NAN),
                    grad_norm: number("grad_norm").unwrap_or(f64::NAN),
                    loss_scale: number("loss_scale"),
                    skipped: record["skipped"].as_bool().unwrap_or(false),
                    skipped_steps: record["skipped_steps"].as_u64(),
                    tokens_per_sec: number("tokens_per_sec").unwrap_or(f64::NAN),
                };
                history.steps.pop_if(|(last, _)| last.step == step);
                history.steps.push((report, secs));
            }
            if let Some(loss) = number("eval_loss") {
                history.evaluations.pop_if(|(last, ..)| *last == step);
                history.evaluations.push((step, secs, loss));
            }
        }
        history
    }
}

/// A run's folder, as read; it is never written to.
#[derive(Clone, Debug)]
pub struct PastRun {
    /// The folder.
    pub folder: PathBuf,
    /// Its settings.
    pub config: RunConfig,
    /// The contents of metrics.jsonl.
    pub history: History,
    /// spectra.jsonl, oldest first; empty if the run kept none.
    pub spectra: Vec<SpectrumRecord>,
    /// texts.jsonl, oldest first; empty if the run wrote none.
    pub texts: Vec<TextRecord>,
    /// session.json; `None` for runs older than this file.
    pub session: Option<Session>,
}

/// A line of texts.jsonl.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TextRecord {
    /// Written after this step.
    pub step: u64,
    /// Its prompt.
    pub prompt: String,
    /// The text, including its prompt.
    pub text: String,
}

impl PastRun {
    /// Reads config.toml, metrics.jsonl and, if present, spectra.jsonl, texts.jsonl and session.json.
    ///
    /// Errors: not a run's folder, or a configuration that this program does not understand.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join("config.toml");
        if !path.exists() {
            let message = "is not a run directory: there is no config.toml, which `multinorm train --out` writes";
            return Err(Error::checkpoint(folder, message));
        }
        let read = |path: &Path| std::fs::read_to_string(path).map_err(Error::io("read", path));
        let config = RunConfig::load(Some((&path, &read(&path)?)), &[], RunDefaults::Software)?;
        let history = History::of_lines(&read(&folder.join("metrics.jsonl"))?, config.train.tokens_per_step());
        let spectra = records(&folder.join("spectra.jsonl"))?;
        let texts = records(&folder.join(TEXTS))?;
        let session = records(&folder.join(SESSION))?.pop();
        Ok(Self { folder: folder.to_owned(), config, history, spectra, texts, session })
    }

    /// The text it was trained on, and the weights and state of its newest checkpoint.
    ///
    /// Errors: no checkpoint, or a text that is missing or has changed.
    pub fn revive(&self, progress: &mut dyn Progress) -> Result<(Dataset, Snapshot)> {
        let resumed = load_newest_checkpoint(&self.folder)?;
        let dataset = dataset::load(&self.config.data, self.config.model.vocab_size, progress)?;
        let snapshot = checked_snapshot(resumed, &self.config, &dataset.identity()?)?;
        Ok((dataset, snapshot))
    }
}

/// The lines of a file that parse as records; empty if there is no file.
fn records<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
    Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_lines_count_and_torn_ones_do_not() {
        let lines = "{\"step\":1,\"loss\":5.0,\"lr\":0.1,\"grad_norm\":2.0,\"tokens_per_sec\":5.0}\n\
                     {\"step\":2,\"loss\":4.0,\"tokens_per_sec\":null}\n{\"step\":2,\"eval_loss\":4.5}\n\
                     {\"step\":2,\"eval_loss\":4.25}\n[1]\n{\"step\":3,\"lo";
        let History { steps, evaluations } = History::of_lines(lines, 10);
        assert_eq!((steps.len(), steps[0].1, steps[0].0.grad_norm, steps[0].0.tokens), (2, 2.0, 2.0, 10));
        assert!(steps[1].1 == 2.0 && steps[1].0.tokens_per_sec.is_nan());
        assert_eq!(evaluations, [(2, 2.0, 4.25)]);
    }

    #[test]
    fn a_folder_without_a_run_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let message = PastRun::read(dir.path()).unwrap_err().to_string();
        assert!(message.contains("is not a run directory") && message.contains("config.toml"), "{message}");
    }
}
