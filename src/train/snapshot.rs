//! What a checkpoint keeps of a trainer.

/// Everything that a step changes: enough to resume bit-identically. Named as in the checkpoint.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Steps done.
    pub step: u64,
    /// Weights, in the order of [`crate::config::ModelConfig::parameters`].
    pub parameters: Vec<Vec<f32>>,
    /// Optimizer state: name, shape and values.
    pub states: Vec<(String, Vec<usize>, Vec<f32>)>,
}
