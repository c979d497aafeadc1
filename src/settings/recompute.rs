//! What of a layer is kept for the backward pass.

use serde::Serialize;

/// What the backward pass computes again of a layer instead of keeping it from the forward pass; norms and SwiGLU always.
///
/// All kinds give the same bits: what is computed again is computed by the same kernels from the same weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Recompute {
    /// Nothing else.
    None,
    /// Queries, keys, values and what attention makes of them; its input is kept.
    Attention,
    /// Everything; the layer's input alone is kept.
    Layer,
}

impl Recompute {
    /// In the order of what is kept, the most first.
    pub const ALL: [Self; 3] = [Self::None, Self::Attention, Self::Layer];

    /// As it is written in CONFIG.toml.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Attention => "attention",
            Self::Layer => "layer",
        }
    }
}
