//! multinorm trains small LLaMA models on any GPU, through WebGPU, with stateless optimizers, and shows how they work.
//!
//! The modules are listed lowest layer first, as in ARCHITECTURE.md; imports go down only.

pub mod error;

pub mod data;
#[cfg(not(target_arch = "wasm32"))]
pub mod distributed;
pub mod files;
#[cfg(all(feature = "plots", not(target_arch = "wasm32")))]
pub mod plot;
pub mod reference;
mod settings;

pub mod gpu;
pub mod kernels;

pub mod llama;
pub mod optim;
pub mod spectrum;

pub mod checkpoint;
#[cfg(all(feature = "plots", not(target_arch = "wasm32")))]
pub mod compare;
pub mod config;
pub mod generate;
pub mod normalize;
pub mod train;

#[cfg(not(target_arch = "wasm32"))]
pub mod prune;

pub use error::{Error, Result};
