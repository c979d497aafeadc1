//! What a step tells, some steps late.

use serde::Serialize;

/// One step's numbers.
#[derive(Clone, Debug, Serialize)]
pub struct StepReport {
    /// The step, from 1.
    pub step: u64,
    /// Tokens trained on up to and with this step.
    pub tokens: u64,
    /// Mean loss of the step's batch before its update, nats a token; of a zeroth-order step the mean of its losses beside
    /// the weights.
    pub loss: f64,
    /// Learning rate of the linear layers.
    pub lr: f64,
    /// L2 norm of all gradients together, before clipping; of a zeroth-order step the root mean square of the gradient along
    /// its directions.
    pub grad_norm: f64,
    /// What gradients of activations are multiplied by in the next step; none in single precision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss_scale: Option<f64>,
    /// Whether gradients overflowed under the loss scale, so that the step changed nothing but the scale; with
    /// `train.fused_update` those parameters had moved whose gradients were whole before.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub skipped: bool,
    /// Such steps so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skipped_steps: Option<u64>,
    /// Tokens a second since the report before.
    pub tokens_per_sec: f64,
}
