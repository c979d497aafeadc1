//! multinorm trains small LLaMA models on any GPU through WebGPU with stateless optimizers, and shows how they work.
//!
//! The rooms, lowest floor first, are those of ARCHITECTURE.md; imports go down only.

pub mod error;

pub mod config;
pub mod reference;

pub mod gpu;
pub mod kernels;

pub use error::{Error, Result};
