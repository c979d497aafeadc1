//! Descriptions of parameters, before any are allocated.

use serde::Serialize;

/// The role of a parameter, which determines its optimizer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The token embedding (and the head, if they are tied).
    Embedding,
    /// A matrix of attention or of the feed-forward layer.
    Linear,
    /// The gains of an RMSNorm.
    Norm,
    /// The bias of a linear layer; its optimizer is that of norms.
    Bias,
    /// The untied output matrix.
    Head,
    /// A part of an adapter, see [`AdapterConfig`](super::AdapterConfig).
    Adapter,
}

/// One parameter of the model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ParameterSpec {
    /// Hugging Face's name.
    pub name: String,
    /// `[out, in]` for matrices, `[width]` for norms and biases; `[r, n, r']` for the cores of adapters.
    pub shape: Vec<usize>,
    /// Its role.
    pub role: Role,
}

impl ParameterSpec {
    /// Number of its elements.
    pub fn n_elements(&self) -> usize {
        self.shape.iter().product()
    }
}
