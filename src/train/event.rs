//! What a run tells.

use std::path::PathBuf;

use super::changes::SettingChange;
use super::evaluation::Evaluation;
use super::report::StepReport;
use super::spectra::SpectrumRecord;
use crate::config::{Precision, Recompute};
use crate::gpu::Memory;

/// What happens during a run, in order: what the command line prints, a comparison passes on and the lab draws.
#[derive(Clone, Debug)]
pub enum Event {
    /// The run is ready: its memory, what it computes again, the step it begins after, and the loss to beat.
    Ready {
        /// Bytes allocated, by class.
        memory: Memory,
        /// What the backward pass computes again.
        recompute: Recompute,
        /// What activations are in: `f32` or `f16`.
        precision: Precision,
        /// Steps that are done already.
        first_step: u64,
        /// Nats a token of a bigram table on the validation tokens.
        baseline_bigram_loss: f64,
        /// Settings that are not those with which the run was trained until now.
        changes: Vec<SettingChange>,
    },
    /// A step's numbers arrived.
    Step(StepReport),
    /// The validation tokens were evaluated.
    Evaluated {
        /// After this step.
        step: u64,
        /// The result.
        evaluation: Evaluation,
    },
    /// The model wrote a text.
    Wrote {
        /// After this step.
        step: u64,
        /// `eval.prompt` and what the model wrote after it.
        text: String,
    },
    /// A checkpoint was written.
    Saved(PathBuf),
    /// The device was lost, and the run goes on with another of the same adapter.
    DeviceLost {
        /// What the driver said.
        message: String,
        /// The step after which it goes on: that of its last checkpoint.
        step: u64,
    },
    /// A gradient was followed through its passes; some steps after it was sampled.
    Spectrum(Box<SpectrumRecord>),
}
