//! What to keep of a layer for the backward pass.

use serde::Serialize;

/// What the backward pass recomputes of a layer instead of keeping it from the forward pass, besides norms and SwiGLU,
/// which are always recomputed.
///
/// All kinds give bit-identical results: recomputation uses the same kernels and the same weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Recompute {
    /// Nothing else.
    None,
    /// Queries, keys, values and the output of attention; the input of attention is kept.
    Attention,
    /// Everything; only the layer's input is kept.
    Layer,
}

impl Recompute {
    /// From the most kept to the least.
    pub const ALL: [Self; 3] = [Self::None, Self::Attention, Self::Layer];

    /// The name in CONFIG.toml.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Attention => "attention",
            Self::Layer => "layer",
        }
    }
}
