//! The report of a step, available some steps later.

use serde::Serialize;

/// The results of one step.
#[derive(Clone, Debug, Serialize)]
pub struct StepReport {
    /// The step, counted from 1.
    pub step: u64,
    /// Tokens trained on, including this step.
    pub tokens: u64,
    /// Mean loss of the step's batch before its update, nats per token; in a zeroth-order step the mean of its losses
    /// at the perturbed weights.
    pub loss: f64,
    /// Learning rate of the linear layers.
    pub lr: f64,
    /// L2 norm of all gradients together, before clipping; in a zeroth-order step the root mean square of the gradient
    /// along its directions.
    pub grad_norm: f64,
    /// The loss scale of the next step; `None` in f32.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss_scale: Option<f64>,
    /// Whether gradients overflowed under the loss scale, so that the step changed only the scale; with
    /// `train.fused_update`, parameters whose gradients were complete earlier have moved.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub skipped: bool,
    /// Number of such steps so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skipped_steps: Option<u64>,
    /// Tokens per second since the previous report.
    pub tokens_per_sec: f64,
}
