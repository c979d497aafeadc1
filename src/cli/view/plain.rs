//! A run as plain lines, without a terminal or on request.

use multinorm::config::{Precision, RecomputePolicy, RunConfig};
use multinorm::train::Event;
use web_time::Instant;

use super::draw::printable;
use super::state::{RunView, duration_in_words};
use crate::cli::output::{memory_table, recompute_in_words};

/// Lines for every event, and for steps now and then.
pub struct PlainLines {
    recompute: RecomputePolicy,
    precision: Precision,
    last_line: Option<Instant>,
}

/// Seconds between two lines about steps.
const LINE_SECS: f64 = 5.0;

impl PlainLines {
    pub fn new(config: &RunConfig) -> Self {
        Self { recompute: config.train.recompute, precision: config.train.precision, last_line: None }
    }

    /// The lines for an event of `run`, which has taken it in; often none.
    pub fn lines_of(&mut self, event: &Event, run: &RunView) -> Vec<String> {
        let mut lines = Vec::new();
        match event {
            Event::Ready { memory, recompute, precision, first_step, baseline_bigram_loss, changes } => {
                lines.extend(changes.iter().map(|change| format!("changed    {change}")));
                lines.push(memory_table(&[("this run", memory)]));
                lines.push(format!("precision  {}", precision_in_words(self.precision, *precision)));
                lines.push(format!("recompute  {}", recompute_in_words(self.recompute, *recompute)));
                lines.push(format!(
                    "baseline   a bigram table reaches {baseline_bigram_loss:.4} nats a token on the validation tokens"
                ));
                if *first_step > 0 {
                    lines.push(format!("resuming after step {first_step}"));
                }
            }
            Event::Step(report) => {
                let is_due = self.last_line.is_none_or(|last| last.elapsed().as_secs_f64() >= LINE_SECS);
                if is_due || report.step == run.n_steps {
                    let mut line = format!("step {}/{} · loss {:.4}", report.step, run.n_steps, report.loss);
                    if let Some(speed) = run.tokens_per_sec {
                        line += &format!(" · {speed:.0} tokens/s");
                    }
                    if let Some(skipped) = report.skipped_steps.filter(|&skipped| skipped > 0) {
                        line += &format!(" · {skipped} skipped");
                    }
                    line += &format!(" · lr {:.3e}", report.lr);
                    if let Some(left) = run.time_left() {
                        line += &format!(" · {} left", duration_in_words(left));
                    }
                    lines.push(line);
                    self.last_line = Some(Instant::now());
                }
            }
            Event::Evaluated { step, evaluation } => lines.push(format!(
                "step {step}: validation loss {:.4}, perplexity {:.2}, over {} tokens",
                evaluation.loss, evaluation.perplexity, evaluation.tokens
            )),
            Event::Wrote { step, text } => lines.push(text_line(*step, text)),
            Event::DeviceLost { message, step } => {
                lines.push(format!("the device was lost ({message}); resuming after step {step} on a new one"));
            }
            Event::Spectrum(_) => {} // in spectra.jsonl
            Event::Saved(path) => lines.push(format!("saved {}", path.display())),
        }
        lines
    }
}

/// The line for a text that the model wrote after `step`.
pub fn text_line(step: u64, text: &str) -> String {
    format!("step {step}: the model writes: {}", printable(text).replace('\n', "\n  "))
}

/// The precision of activations, and if it was chosen automatically, why.
fn precision_in_words(wanted: Precision, found: Precision) -> String {
    match (wanted, found) {
        (Precision::Auto, Precision::F16) => "f16 under a loss scale (auto: the adapter has half precision)".into(),
        (Precision::Auto, _) => "f32 (auto: no GPU with half precision, or the optimizer needs f32)".into(),
        (_, Precision::F16) => "f16 under a loss scale".into(),
        (_, found) => found.name().into(),
    }
}
