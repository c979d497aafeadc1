//! One run as it was seen, and the files made of it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

use multinorm::checkpoint::{NamedTensor, tensor_bytes};
use multinorm::gpu::{KernelTime, Memory};
use multinorm::normalize::Entry;
use multinorm::train::{self, Followed, GradientSample, Plan, Snapshot, StepReport, Tile};

/// Looks of one run that are kept.
const LOOKS_KEPT: usize = 240;
/// Bytes of gradients and states that are kept with them.
const SAMPLE_BYTES_KEPT: usize = 64 << 20;
/// Pictures of the whole network that are kept.
const SWEEPS_KEPT: usize = 12;

/// The number of the newest look.
static LOOKS: AtomicU64 = AtomicU64::new(0);

/// One look into a gradient.
pub struct Look {
    /// Of this look alone, so that pictures and answers of another are never taken for its own.
    pub id: u64,
    /// Its way through the optimizer's passes.
    pub followed: Followed,
    /// The numbers as they were read; not kept for ever, and a run's folder has none.
    pub sample: Option<GradientSample>,
}

impl Look {
    /// A look with a number of its own.
    pub fn new(followed: Followed, sample: Option<GradientSample>) -> Self {
        Self { id: LOOKS.fetch_add(1, Ordering::Relaxed), followed, sample }
    }

    /// After this step.
    pub fn step(&self) -> u64 {
        self.followed.record.step
    }

    fn bytes(&self) -> usize {
        self.sample.as_ref().map_or(0, |sample| 4 * sample.gradient.len() * (1 + sample.states.len()))
    }
}

/// One run as it was seen.
#[derive(Default)]
pub struct RunView {
    /// Name of the optimizer; an opened run's is its folder's.
    pub optimizer: String,
    /// What to call it on a plot.
    pub label: String,
    /// Every step's numbers, with the seconds of training up to it.
    pub steps: Vec<(StepReport, f64)>,
    /// Seconds of training before the trainer at work was built.
    pub secs_before: f64,
    /// Step, seconds, loss on the held-out text.
    pub evaluations: Vec<(u64, f64, f64)>,
    /// Looks into the watched gradient, oldest first.
    pub looks: VecDeque<Look>,
    /// The newest tile of every matrix that was looked at, in the order of the model.
    pub tiles: Vec<Tile>,
    /// The tiles as they were each time all had been made anew, oldest first.
    pub sweeps: VecDeque<Vec<Tile>>,
    /// Step and text, newest last.
    pub texts: Vec<(u64, String)>,
    /// Time of each kernel of one step, by plan.
    pub times: Vec<(Plan, Vec<KernelTime>)>,
    /// Bytes by class.
    pub memory: Option<Memory>,
    /// Everything that a step changes, as it was last read.
    pub snapshot: Option<Snapshot>,
}

impl RunView {
    /// The newest step's numbers.
    pub fn last(&self) -> Option<&StepReport> {
        self.steps.last().map(|(report, _)| report)
    }

    /// Takes in what the run tells, after so many seconds of training since its trainer was built.
    pub fn take(&mut self, event: &train::Event, secs: f64) {
        match event {
            train::Event::Step(report) => {
                // A run that goes on from a checkpoint makes the steps after it once more.
                while self.steps.pop_if(|(last, _)| last.step >= report.step).is_some() {}
                self.steps.push((report.clone(), self.secs_before + secs));
            }
            train::Event::Evaluated { step, evaluation } => {
                let secs = self.steps.last().map_or(0.0, |(_, secs)| *secs);
                self.evaluations.push((*step, secs, evaluation.loss));
            }
            // A run's in its folder: the lab keeps none.
            train::Event::Ready { .. }
            | train::Event::Wrote { .. }
            | train::Event::Saved(_)
            | train::Event::Spectrum(_)
            | train::Event::DeviceLost { .. } => {}
        }
    }

    /// Takes a look in; the oldest go, and their numbers before them. Those into another matrix go at once: until now there
    /// was nothing else to show.
    pub fn push_look(&mut self, look: Look) {
        let parameter = &look.followed.record.parameter;
        if self.looks.back().is_some_and(|last| last.followed.record.parameter != *parameter) {
            self.looks.clear();
        }
        // What was seen without singular values gives way to the whole.
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

    /// Takes a tile of a model with these matrices in; once the last of them comes, the whole is kept.
    pub fn push_tile(&mut self, tile: Tile, matrices: &[String]) {
        let is_last = matrices.last() == Some(&tile.parameter);
        match self.tiles.iter_mut().find(|other| other.parameter == tile.parameter) {
            Some(other) => *other = tile,
            None => self.tiles.push(tile),
        }
        if is_last {
            self.sweeps.push_back(self.tiles.clone());
        }
        if self.sweeps.len() > SWEEPS_KEPT {
            // The first stays, and every other one after it: the whole training remains in sight.
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

    /// Tokens a second of training, looks, evaluations and the other run aside: over the last 20 steps.
    pub fn tokens_per_sec(&self) -> Option<f64> {
        let (last, before) = (self.steps.last()?, &self.steps[self.steps.len().saturating_sub(20)]);
        let secs = last.1 - before.1;
        (secs > 0.0).then(|| (last.0.tokens - before.0.tokens) as f64 / secs)
    }

    /// metrics.jsonl, a line a step, evaluations among them.
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

    /// The newest look: a column a pass, a row a singular value.
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
