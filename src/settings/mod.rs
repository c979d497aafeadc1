//! Reading and checking of settings, and plain data shared by modules of all layers: the model's sizes, the text, the
//! passes, what the backward pass recomputes, and how ranks send numbers.
//!
//! [`Section`] is one section of CONFIG.toml; [`check`] has the range checks. [`crate::config`] assembles a whole run
//! and exports the types.

mod adapter;
pub(crate) mod check;
mod data;
mod hf;
mod keys;
mod model;
mod parameter;
mod pass;
mod recompute;
mod rope;
mod wire;

pub use adapter::{AdapterConfig, TensorTrain};
pub use data::{CORPORA, DataConfig};
pub(crate) use keys::{Origin, Section, did_you_mean};
pub use model::{AttentionBias, MAX_HEAD_DIM, ModelConfig, PRESETS};
pub use parameter::{ParameterSpec, Role};
pub use pass::{Pass, Spectral, SpectralVariant};
pub use recompute::Recompute;
pub use rope::{RopeScaling, rotary_frequencies};
pub use wire::Wire;
