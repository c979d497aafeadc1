//! What has been seen of one run, and the files made from it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

use multinorm::checkpoint::{NamedTensor, tensor_bytes};
use multinorm::gpu::{KernelTime, Memory};
use multinorm::normalize::Entry;
use multinorm::train::{self, Followed, GradientSample, MatrixSummary, Plan, Snapshot, StepReport};

/// The number of looks to keep per run.
const LOOKS_KEPT: usize = 240;
/// Bytes of gradients and states to keep with them.
const SAMPLE_BYTES_KEPT: usize = 64 << 20;
/// The number of sweeps over the whole network to keep.
const SWEEPS_KEPT: usize = 12;

/// The next look's id.
static LOOKS: AtomicU64 = AtomicU64::new(0);

/// One look at a gradient.
pub struct Look {
    /// Unique, so that pictures and answers of one look are never taken for another's.
    pub id: u64,
    /// The gradient after each of the optimizer's passes.
    pub followed: Followed,
    /// The numbers as they were read. Dropped after a while, and missing for a run's folder.
    pub sample: Option<GradientSample>,
}

impl Look {
    /// A look with a new id.
    pub fn new(followed: Followed, sample: Option<GradientSample>) -> Self {
        Self { id: LOOKS.fetch_add(1, Ordering::Relaxed), followed, sample }
    }

    /// The step after which it was taken.
    pub fn step(&self) -> u64 {
        self.followed.record.step
    }

    fn bytes(&self) -> usize {
        self.sample.as_ref().map_or(0, |sample| 4 * sample.gradient.len() * (1 + sample.states.len()))
    }
}

/// What has been seen of one run.
#[derive(Default)]
pub struct RunView {
    /// Name of the optimizer; for an opened run, the folder's name.
    pub optimizer: String,
    /// Its name on a plot.
    pub label: String,
    /// Every step's numbers, with the seconds of training up to it.
    pub steps: Vec<(StepReport, f64)>,
    /// Seconds of training before the current trainer was built.
    pub secs_before: f64,
    /// Step, seconds, loss on the held-out text.
    pub evaluations: Vec<(u64, f64, f64)>,
    /// Looks at the watched gradient, oldest first.
    pub looks: VecDeque<Look>,
    /// The newest tile of every matrix sampled so far, in the order they were first sampled.
    pub tiles: Vec<MatrixSummary>,
    /// The tiles as they were after each complete sweep over the network, oldest first.
    pub sweeps: VecDeque<Vec<MatrixSummary>>,
    /// Step and text, newest last.
    pub texts: Vec<(u64, String)>,
    /// Time of each kernel in one step, by plan.
    pub times: Vec<(Plan, Vec<KernelTime>)>,
    /// Bytes by class.
    pub memory: Option<Memory>,
    /// All state that a step changes, as last read.
    pub snapshot: Option<Snapshot>,
}

impl RunView {
    /// The newest step's numbers.
    pub fn last(&self) -> Option<&StepReport> {
        self.steps.last().map(|(report, _)| report)
    }

    /// Stores an event of the run, after this many seconds of training since its trainer was built.
    pub fn take(&mut self, event: &train::Event, secs: f64) {
        match event {
            train::Event::Step(report) => {
                // A run that continues from a checkpoint repeats the steps after it.
                while self.steps.pop_if(|(last, _)| last.step >= report.step).is_some() {}
                self.steps.push((report.clone(), self.secs_before + secs));
            }
            train::Event::Evaluated { step, evaluation } => {
                let secs = self.steps.last().map_or(0.0, |(_, secs)| *secs);
                self.evaluations.push((*step, secs, evaluation.loss));
            }
            // These belong to a run with a folder; the lab keeps none.
            train::Event::Ready { .. }
            | train::Event::Wrote { .. }
            | train::Event::Saved(_)
            | train::Event::Spectrum(_)
            | train::Event::DeviceLost { .. } => {}
        }
    }

    /// Stores a look. The oldest looks are dropped, their numbers even earlier. Looks at another matrix are dropped
    /// now: until this one arrived there was nothing else to show.
    pub fn push_look(&mut self, look: Look) {
        let parameter = &look.followed.record.parameter;
        if self.looks.back().is_some_and(|last| last.followed.record.parameter != *parameter) {
            self.looks.clear();
        }
        // A complete look replaces the same look without singular values.
        self.looks.pop_back_if(|last| last.step() == look.step());
        self.looks.push_back(look);
        if self.looks.len() > LOOKS_KEPT {
            self.looks.pop_front();
        }
        let mut bytes = 0;
        for look in self.looks.iter_mut().rev() {
            bytes += look.bytes();
            if bytes > SAMPLE_BYTES_KEPT {
                look.sample = None;
            }
        }
    }

    /// Stores a tile of a model with these matrices. When the last of them arrives, the sweep is complete and kept.
    pub fn push_tile(&mut self, tile: MatrixSummary, matrices: &[String]) {
        let is_last = matrices.last() == Some(&tile.parameter);
        match self.tiles.iter_mut().find(|other| other.parameter == tile.parameter) {
            Some(other) => *other = tile,
            None => self.tiles.push(tile),
        }
        if is_last {
            self.sweeps.push_back(self.tiles.clone());
        }
        if self.sweeps.len() > SWEEPS_KEPT {
            // Keep every other one, starting with the first, so that they still span the whole training.
            let mut at = 0;
            self.sweeps.retain(|_| {
                at += 1;
                at % 2 == 1
            });
        }
    }

    /// The newest look, or the newest of those up to a step.
    pub fn look_at(&self, step: Option<u64>) -> Option<&Look> {
        match step {
            None => self.looks.back(),
            Some(step) => self.looks.iter().rfind(|look| look.step() <= step).or(self.looks.front()),
        }
    }

    /// Training tokens per second over the last 20 steps, excluding looks, evaluations and the other run.
    pub fn tokens_per_sec(&self) -> Option<f64> {
        let (last, before) = (self.steps.last()?, &self.steps[self.steps.len().saturating_sub(20)]);
        let secs = last.1 - before.1;
        (secs > 0.0).then(|| (last.0.tokens - before.0.tokens) as f64 / secs)
    }

    /// metrics.jsonl: one line per step, with evaluations in between.
    pub fn metrics(&self) -> String {
        let mut lines: Vec<(u64, String)> = Vec::new();
        for (report, secs) in &self.steps {
            let mut line = serde_json::to_value(report).expect("plain data");
            line["secs"] = (*secs).into();
            lines.push((report.step, line.to_string()));
        }
        for (step, _, loss) in &self.evaluations {
            let line = serde_json::json!({ "step": step, "eval_loss": loss, "perplexity": loss.exp() });
            lines.push((*step, line.to_string()));
        }
        lines.sort_by_key(|(step, _)| *step);
        lines.into_iter().map(|(_, line)| line + "\n").collect()
    }

    /// The loss plot: step, seconds, training loss, held-out loss where it was measured.
    pub fn losses_csv(&self) -> String {
        let mut csv = "step,secs,loss,eval_loss\n".to_owned();
        for (report, secs) in &self.steps {
            let held_out = self.evaluations.iter().find(|(step, ..)| *step == report.step);
            let held_out = held_out.map(|(.., loss)| loss.to_string()).unwrap_or_default();
            csv += &format!("{},{secs},{},{held_out}\n", report.step, report.loss);
        }
        csv
    }

    /// The newest look: one column per pass, one row per singular value.
    pub fn spectrum_csv(&self) -> String {
        let Some(Look { followed: look, .. }) = self.looks.back() else { return String::new() };
        let of = |entry: &Entry| entry.quantities.spectrum.as_ref().map(|spectrum| spectrum.singular_values.clone());
        let known = look.record.passes.iter().filter_map(|entry| Some((entry, of(entry)?)));
        let (head, columns): (Vec<String>, Vec<Vec<f64>>) =
            known.map(|(entry, values)| (format!("{} {}", entry.pass, entry.iteration), values)).unzip();
        let mut csv = head.join(",") + "\n";
        for row in 0..columns.first().map_or(0, Vec::len) {
            let cells: Vec<String> = columns.iter().map(|column| column[row].to_string()).collect();
            csv += &(cells.join(",") + "\n");
        }
        csv
    }

    /// The newest look's gradient as a safetensors file that `multinorm normalize` reads.
    pub fn gradient_file(&self) -> Option<Vec<u8>> {
        let sample = self.looks.back()?.sample.as_ref()?;
        let tensor = NamedTensor {
            name: sample.parameter.clone(),
            shape: sample.shape.to_vec(),
            values: sample.gradient.clone(),
        };
        tensor_bytes(&[tensor]).ok()
    }
}
