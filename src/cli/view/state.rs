//! The state of a run as a view shows it, from its events or from its directory.

use std::collections::VecDeque;
use std::time::Duration;

use multinorm::config::RunConfig;
use multinorm::train::{Event, History, StepReport};
use web_time::Instant;

use crate::cli::speed::{Recent, Throughput};

/// What a run is doing.
#[derive(Clone, Debug, PartialEq)]
pub enum Phase {
    /// Recording, allocating and compiling, before the first step returns.
    Preparing,
    /// Steps are returning.
    Training,
    /// Finishing the current step and saving, on request.
    Stopping,
    /// No process is training the run any more.
    Ended,
}

/// A run as a view shows it.
pub struct RunView {
    /// The run directory.
    pub folder: String,
    /// The adapter's name; empty if unknown.
    pub adapter: String,
    /// `row, column × 5 · 2 layers × 128 · austen`.
    pub summary: String,
    pub phase: Phase,
    /// The run's last step.
    pub n_steps: u64,
    pub tokens_per_step: u64,
    /// Every step and its loss.
    pub losses: Vec<(f64, f64)>,
    /// Step and validation loss.
    pub evaluations: Vec<(f64, f64)>,
    /// Tokens per second over the last seconds, one number for every few steps, oldest first.
    pub speeds: VecDeque<u64>,
    pub tokens_per_sec: Option<f64>,
    pub last: Option<StepReport>,
    /// Loss of a bigram table on the validation tokens, in nats per token.
    pub baseline: Option<f64>,
    /// Bytes allocated on the device.
    pub memory: Option<u64>,
    /// The newest text, and the step after which it was generated.
    pub text: Option<(u64, String)>,
    /// Printed lines, oldest first.
    pub lines: VecDeque<String>,
    speed: Throughput,
    time_left: TimeLeft,
}

/// Number of speeds to keep, one per column of a wide terminal.
const MOST_SPEEDS: usize = 256;
/// Number of lines to keep.
const MOST_LINES: usize = 200;

impl RunView {
    pub fn new(folder: String, adapter: String, config: &RunConfig) -> Self {
        let model = &config.model;
        Self {
            folder,
            adapter,
            summary: format!(
                "{} · {} layers × {} · {}",
                config.optimizer.linear.rule.describe(),
                model.num_hidden_layers,
                model.hidden_size,
                config.data.source.join(", ")
            ),
            phase: Phase::Preparing,
            n_steps: config.train.steps,
            tokens_per_step: config.train.tokens_per_step() as u64,
            losses: Vec::new(),
            evaluations: Vec::new(),
            speeds: VecDeque::new(),
            tokens_per_sec: None,
            last: None,
            baseline: None,
            memory: None,
            text: None,
            lines: VecDeque::new(),
            speed: Throughput::default(),
            time_left: TimeLeft::default(),
        }
    }

    /// Takes over the history in metrics.jsonl.
    pub fn take_history(&mut self, history: &History) {
        self.losses = history.steps.iter().map(|(report, _)| (report.step as f64, report.loss)).collect();
        self.evaluations = history.evaluations.iter().map(|&(step, _, loss)| (step as f64, loss)).collect();
        self.last = history.steps.last().map(|(report, _)| report.clone());
        self.speeds.clear();
        // Reports come in bursts: each number is the mean of a few.
        let n = history.steps.len().div_ceil(MOST_SPEEDS).max(SMOOTHED);
        for chunk in history.steps.chunks(n) {
            let secs = |(report, _): &(StepReport, f64)| self.tokens_per_step as f64 / report.tokens_per_sec;
            let secs: f64 = chunk.iter().map(secs).filter(|secs| secs.is_finite()).sum();
            if secs > 0.0 {
                self.speeds.push_back((self.tokens_per_step as f64 * chunk.len() as f64 / secs) as u64);
            }
        }
        self.tokens_per_sec = self.speeds.back().map(|&speed| speed as f64);
    }

    /// Updates the state from an event of a run in this process.
    pub fn take(&mut self, event: &Event) {
        match event {
            Event::Ready { memory, baseline_bigram_loss, .. } => {
                self.memory = Some(memory.total());
                self.baseline = Some(*baseline_bigram_loss);
            }
            Event::Step(report) => {
                if self.phase == Phase::Preparing {
                    self.phase = Phase::Training;
                }
                // A run that fell back to a checkpoint repeats the steps after it.
                while self.losses.pop_if(|(last, _)| *last >= report.step as f64).is_some() {}
                self.losses.push((report.step as f64, report.loss));
                if let Some(speed) = self.speed.per_sec(report.tokens) {
                    self.tokens_per_sec = Some(speed);
                    self.speeds.push_back(speed as u64);
                    if self.speeds.len() > MOST_SPEEDS {
                        self.speeds.pop_front();
                    }
                }
                self.time_left.note(Instant::now(), report.step);
                self.last = Some(report.clone());
            }
            Event::Evaluated { step, evaluation } => {
                self.speed.restart();
                let step = *step as f64;
                while self.evaluations.pop_if(|(last, _)| *last >= step).is_some() {}
                self.evaluations.push((step, evaluation.loss));
            }
            Event::Wrote { step, text } => self.text = Some((*step, text.clone())),
            Event::Saved(_) | Event::Spectrum(_) | Event::DeviceLost { .. } => {}
        }
    }

    pub fn push_line(&mut self, line: &str) {
        self.lines.extend(line.lines().filter(|line| !line.is_empty()).map(str::to_owned));
        while self.lines.len() > MOST_LINES {
            self.lines.pop_front();
        }
    }

    pub fn step(&self) -> u64 {
        self.last.as_ref().map_or(0, |report| report.step)
    }

    /// Time left at the pace of the last minutes, evaluations and checkpoints included.
    pub fn time_left(&self) -> Option<Duration> {
        let left = self.n_steps.saturating_sub(self.step());
        (self.phase == Phase::Training && left > 0).then(|| self.time_left.of(left)).flatten()
    }

    pub fn best_evaluation(&self) -> Option<f64> {
        self.evaluations.iter().map(|(_, loss)| *loss).min_by(f64::total_cmp)
    }
}

/// Steps per speed in a run's history.
const SMOOTHED: usize = 8;

/// Steps over the last minutes.
struct TimeLeft(Recent);

/// The averaging window: long enough for a few evaluations and checkpoints.
const WINDOW: Duration = Duration::from_secs(600);

impl Default for TimeLeft {
    fn default() -> Self {
        Self(Recent::over(WINDOW))
    }
}

impl TimeLeft {
    fn note(&mut self, now: Instant, step: u64) {
        self.0.push(now, step);
    }

    fn of(&self, n_steps: u64) -> Option<Duration> {
        Duration::try_from_secs_f64(n_steps as f64 / self.0.per_sec()?).ok()
    }
}

/// `4 min 05 s`, `2 h 40 min`: with the precision that the length warrants.
pub fn duration_in_words(duration: Duration) -> String {
    let secs = duration.as_secs();
    match secs {
        0..60 => format!("{secs} s"),
        60..3600 => format!("{} min {:02} s", secs / 60, secs % 60),
        3600..86_400 => format!("{} h {:02} min", secs / 3600, secs / 60 % 60),
        _ => format!("{} d {:02} h", secs / 86_400, secs / 3600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_counts_pauses() {
        let (mut left, began) = (TimeLeft::default(), Instant::now());
        let at = |secs| began + Duration::from_secs(secs);
        left.note(at(0), 1);
        assert_eq!(left.of(10), None);
        // A second per step, and ten for an evaluation after every tenth.
        for step in 2..=101 {
            left.note(at((step - 1) + (step - 1) / 10 * 10), step);
        }
        assert_eq!(left.of(50), Some(Duration::from_secs(100)));
        // After falling back to a checkpoint.
        left.note(at(300), 20);
        assert_eq!(left.of(50), None);
        left.note(at(303), 21);
        assert_eq!(left.of(50), Some(Duration::from_secs(150)));
    }

    #[test]
    fn durations_read_well() {
        let words = |secs| duration_in_words(Duration::from_secs(secs));
        let all = [5, 245, 9600, 100_000].map(words);
        assert_eq!(all, ["5 s", "4 min 05 s", "2 h 40 min", "1 d 03 h"]);
    }
}
