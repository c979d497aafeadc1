//! Events of a run.

use std::path::PathBuf;

use super::changes::SettingChange;
use super::evaluation::Evaluation;
use super::report::StepReport;
use super::spectra::SpectrumRecord;
use crate::config::{Precision, Recompute};
use crate::gpu::Memory;

/// What happens during a run, in order: the command line prints it, a comparison passes it on and the lab draws it.
#[derive(Clone, Debug)]
pub enum Event {
    /// The run is ready: its memory, recomputation, first step and baseline loss.
    Ready {
        /// Bytes allocated, by class.
        memory: Memory,
        /// What the backward pass recomputes.
        recompute: Recompute,
        /// Precision of activations: `f32` or `f16`.
        precision: Precision,
        /// Steps already done.
        first_step: u64,
        /// Loss of a bigram table on the validation tokens, nats per token.
        baseline_bigram_loss: f64,
        /// Settings changed since the run was last trained.
        changes: Vec<SettingChange>,
    },
    /// A step's report arrived.
    Step(StepReport),
    /// The validation tokens were evaluated.
    Evaluated {
        /// After this step.
        step: u64,
        /// The result.
        evaluation: Evaluation,
    },
    /// The model generated a text.
    Wrote {
        /// After this step.
        step: u64,
        /// `eval.prompt` and the model's continuation.
        text: String,
    },
    /// A checkpoint was written.
    Saved(PathBuf),
    /// The device was lost, and the run continues on another device of the same adapter.
    DeviceLost {
        /// The driver's message.
        message: String,
        /// The step from which it continues: that of its last checkpoint.
        step: u64,
    },
    /// A gradient was followed through its passes, some steps after it was sampled.
    Spectrum(Box<SpectrumRecord>),
}
