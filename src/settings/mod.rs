//! What settings are read and checked by, and the plain data that modules of every layer share: the model's shape, the text,
//! the passes, and what the backward pass computes again.
//!
//! [`Section`] is one section of CONFIG.toml; [`check`] has the ranges. [`crate::config`] puts a whole run together and
//! exports the types.

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

pub use adapter::{AdapterConfig, TensorTrain};
pub use data::{CORPORA, DataConfig};
pub(crate) use keys::{Origin, Section, did_you_mean};
pub use model::{AttentionBias, MAX_HEAD_DIM, ModelConfig, PRESETS};
pub use parameter::{ParameterSpec, Role};
pub use pass::{Pass, Spectral, SpectralVariant};
pub use recompute::Recompute;
pub use rope::{RopeScaling, rotary_frequencies};
