//! A model for tests, and values that tell its parameters apart.

use super::tensors::NamedTensor;
use crate::settings::{ModelConfig, ParameterSpec};

pub(super) fn small() -> ModelConfig {
    let tiny = ModelConfig::preset("tiny").unwrap();
    ModelConfig { vocab_size: 16, hidden_size: 8, intermediate_size: 12, head_dim: 4, num_hidden_layers: 2, ..tiny }
}

/// Distinct values, counted from `first`.
pub(super) fn parameters_of(config: &ModelConfig, first: f32) -> Vec<NamedTensor> {
    let mut next = first;
    let tensor = |spec: ParameterSpec| {
        let values = (0..spec.n_elements()).map(|i| next + i as f32).collect();
        next += spec.n_elements() as f32;
        NamedTensor { name: spec.name, shape: spec.shape, values }
    };
    config.parameters().into_iter().map(tensor).collect()
}
