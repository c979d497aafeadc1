//! One run of a comparison, read from its directory.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::files::{read_json, write_json};
use super::plan::RunId;
use crate::config::RunConfig;
use crate::train::History;
use crate::{Error, Result};

/// A run that has ended.
#[derive(Clone, Debug, Serialize)]
pub struct RunRecord {
    /// The run.
    #[serde(flatten)]
    pub id: RunId,
    /// How it ended.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// Mean loss of each step's batch before its update.
    pub training: Curve,
    /// Mean loss on the validation tokens after a step.
    pub validation: Curve,
}

/// How a run ended: `outcome.json` in its directory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// It finished all steps.
    Finished {
        /// Loss of a bigram table on the same validation tokens, in nats per token.
        baseline_bigram_loss: f64,
        /// Bytes allocated on the device.
        peak_bytes: u64,
    },
    /// A loss or gradient was NaN or infinite.
    Diverged {
        /// The step, and what went wrong first.
        message: String,
    },
}

/// A loss over a run: three lists of the same length.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Curve {
    /// The step, from 1.
    pub step: Vec<u64>,
    /// Nats per token.
    pub loss: Vec<f64>,
    /// Seconds of training up to and including this step, without evaluations and checkpoints.
    pub secs: Vec<f64>,
}

impl Outcome {
    /// Reads the outcome from the run directory; `None` while the run has not ended.
    pub(super) fn read(run_dir: &Path) -> Result<Option<Self>> {
        read_json(&run_dir.join(OUTCOME))
    }

    pub(super) fn write(&self, run_dir: &Path) -> Result<()> {
        write_json(&run_dir.join(OUTCOME), self)
    }
}

impl RunRecord {
    /// Reads the run with the curves of its metrics.jsonl; `None` while it has not ended.
    pub(super) fn read(id: &RunId, run_dir: &Path, config: &RunConfig) -> Result<Option<Self>> {
        let Some(outcome) = Outcome::read(run_dir)? else { return Ok(None) };
        let path = run_dir.join("metrics.jsonl");
        let text = std::fs::read_to_string(&path).map_err(Error::io("read", &path))?;
        let (training, validation) = curves(&History::of_lines(&text, config.train.tokens_per_step()), config);
        Ok(Some(Self { id: id.clone(), outcome, training, validation }))
    }

    /// Whether it finished all steps.
    pub fn is_finished(&self) -> bool {
        matches!(self.outcome, Outcome::Finished { .. })
    }

    /// The final validation loss, in nats per token; `None` if the run diverged.
    pub fn final_eval_loss(&self) -> Option<f64> {
        self.validation.loss.last().copied().filter(|_| self.is_finished())
    }

    /// The lowest validation loss, in nats per token.
    pub fn best_eval_loss(&self) -> Option<f64> {
        self.validation.loss.iter().copied().reduce(f64::min)
    }

    /// Seconds of training, without evaluations and checkpoints.
    pub fn train_secs(&self) -> f64 {
        self.training.secs.last().copied().unwrap_or(0.0)
    }

    /// Steps and seconds of training until the validation loss first reached `loss`; `None` if it never did.
    ///
    /// The loss is interpolated linearly between evaluations. Nothing is known about the time before the first
    /// evaluation: a loss already reached there counts as reached at that evaluation.
    pub fn reaches(&self, loss: f64) -> Option<(f64, f64)> {
        let Curve { step, loss: losses, secs } = &self.validation;
        let at = losses.iter().position(|&reached| reached <= loss)?;
        let Some(before) = at.checked_sub(1) else { return Some((step[at] as f64, secs[at])) };
        // The fraction of the interval beyond the crossing: 0 if the evaluation found exactly that loss.
        let beyond = (loss - losses[at]) / (losses[before] - losses[at]);
        let back = |before: f64, at: f64| at - beyond * (at - before);
        Some((back(step[before] as f64, step[at] as f64), back(secs[before], secs[at])))
    }
}

impl Curve {
    fn push(&mut self, step: u64, loss: f64, secs: f64) {
        self.step.push(step);
        self.loss.push(loss);
        self.secs.push(secs);
    }
}

const OUTCOME: &str = "outcome.json";

/// Training and validation loss. Evaluations at steps not in the plan come from a stop, possibly before the first step.
fn curves(history: &History, config: &RunConfig) -> (Curve, Curve) {
    let (steps, every) = (config.train.steps, config.eval.every);
    let planned = |step: u64| step == steps || (step > 0 && every > 0 && step.is_multiple_of(every));
    let [mut training, mut validation] = [Curve::default(), Curve::default()];
    history.steps.iter().for_each(|(report, secs)| training.push(report.step, report.loss, *secs));
    let at_plan = history.evaluations.iter().filter(|(step, ..)| planned(*step));
    at_plan.for_each(|&(step, secs, loss)| validation.push(step, loss, secs));
    (training, validation)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::LrFactors;
    use crate::config::RunDefaults;

    #[test]
    fn curves_leave_out_what_a_stop_added() {
        let sets = ["train.steps=5", "train.batch_size=1", "train.sequence_length=10", "eval.every=2"];
        let config = RunConfig::load(None, &sets.map(str::to_owned), RunDefaults::Software).unwrap();
        let lines = r#"
            {"step":0,"eval_loss":5.5}
            {"step":1,"loss":5.0,"tokens_per_sec":5.0}
            {"step":2,"loss":4.0,"tokens_per_sec":10.0}
            {"step":2,"eval_loss":3.5}
            {"step":3,"loss":3.0,"tokens_per_sec":20.0}
            {"step":3,"eval_loss":3.2}
            {"step":4,"loss":2.5,"tokens_per_sec":20.0}
            {"step":4,"eval_loss":2.25}
            {"step":5,"loss":2.0,"tokens_per_sec":null}
            {"step":5,"eval_loss":2.5}
            {"step":5,"eval_loss":2.5}
            {"step":6,"lo"#;
        let history = History::of_lines(lines, config.train.tokens_per_step());
        let (training, validation) = curves(&history, &config);
        assert_eq!(training.step, [1, 2, 3, 4, 5]);
        assert_eq!(training.secs, [2.0, 3.0, 3.5, 4.0, 4.0]);
        let expected = Curve { step: vec![2, 4, 5], loss: vec![3.5, 2.25, 2.5], secs: vec![3.0, 4.0, 4.0] };
        assert_eq!(validation, expected);
        let id = RunId { optimizer: "sgd".into(), factors: LrFactors::OWN, seed: 0 };
        let outcome = Outcome::Finished { baseline_bigram_loss: 1.0, peak_bytes: 1 };
        let run = RunRecord { id, outcome, training, validation };
        // 3.0 is two fifths of the way from 3.5 at step 2 to 2.25 at step 4.
        assert_eq!((run.reaches(3.0), run.reaches(2.0)), (Some((2.8, 3.4)), None));
        assert_eq!((run.reaches(4.0), run.reaches(2.25)), (Some((2.0, 3.0)), Some((4.0, 4.0))));
        assert_eq!((run.best_eval_loss(), run.final_eval_loss()), (Some(2.25), Some(2.5)));
    }
}
