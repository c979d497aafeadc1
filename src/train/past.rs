//! A run that was trained before: what its folder says, and the weights and the text to go on with.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::report::StepReport;
use super::run::{SESSION, Session, TEXTS, checked_snapshot};
use super::spectra::SpectrumRecord;
use super::trainer::Snapshot;
use crate::checkpoint::load_newest_checkpoint;
use crate::config::{RunConfig, RunDefaults};
use crate::data::dataset::{self, Dataset};
use crate::data::progress::Progress;
use crate::{Error, Result};

/// What metrics.jsonl says of a run.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// Every step's numbers, with the seconds of training up to it.
    pub steps: Vec<(StepReport, f64)>,
    /// Step, seconds of training up to it, loss on the validation tokens in nats a token.
    pub evaluations: Vec<(u64, f64, f64)>,
}

impl History {
    /// Reads the lines of metrics.jsonl; what is no record is passed over, a line that a crash tore among it.
    ///
    /// A step's seconds are its tokens over the speed it was logged with, which leaves evaluations and checkpoints out
    /// and is whole however often the run was stopped. Of two lines about one step the later counts: a run that was
    /// stopped evaluates once more.
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

/// A run's folder as it was read; nothing is ever written into it.
#[derive(Clone, Debug)]
pub struct PastRun {
    /// The folder.
    pub folder: PathBuf,
    /// What it was trained with.
    pub config: RunConfig,
    /// metrics.jsonl.
    pub history: History,
    /// spectra.jsonl, oldest first; empty where the run kept none.
    pub spectra: Vec<SpectrumRecord>,
    /// texts.jsonl, oldest first; empty where the run wrote none.
    pub texts: Vec<TextRecord>,
    /// session.json; none of runs that were made before there was one.
    pub session: Option<Session>,
}

/// A line of texts.jsonl.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TextRecord {
    /// Written after this step.
    pub step: u64,
    /// What it begins with.
    pub prompt: String,
    /// The text, its prompt with it.
    pub text: String,
}

impl PastRun {
    /// Reads config.toml, metrics.jsonl and, where they are there, spectra.jsonl, texts.jsonl and session.json.
    ///
    /// Errors: a folder that is no run's, and a configuration that this program does not understand.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join("config.toml");
        if !path.exists() {
            let message = "is no run's folder: there is no config.toml, which `multinorm train --out` writes";
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

    /// The text that it was trained on, and the weights and state of its newest checkpoint.
    ///
    /// Errors: no checkpoint, a text that is not there any more or is another now.
    pub fn revive(&self, progress: &mut dyn Progress) -> Result<(Dataset, Snapshot)> {
        let resumed = load_newest_checkpoint(&self.folder)?;
        let dataset = dataset::load(&self.config.data, self.config.model.vocab_size, progress)?;
        let snapshot = checked_snapshot(resumed, &self.config, &dataset.identity()?)?;
        Ok((dataset, snapshot))
    }
}

/// The lines of a file that are records; none where there is no file.
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
        assert!(message.contains("is no run's folder") && message.contains("config.toml"), "{message}");
    }
}
