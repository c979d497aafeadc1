//! Models in Hugging Face's layout, and a run's folder: checkpoints, metrics.jsonl, TensorBoard's event files.
//!
//! Every file is written beside its name, synced and renamed, and so is every checkpoint's folder:
//! a crash at any instant leaves the last whole one.
//! A name that starts with a dot is never read as a checkpoint, save the one case told at [`save_checkpoint`].

#[cfg(not(target_arch = "wasm32"))]
mod event_file;
#[cfg(not(target_arch = "wasm32"))]
mod gguf;
#[cfg(not(target_arch = "wasm32"))]
mod json_lines;
#[cfg(not(target_arch = "wasm32"))]
mod log;
mod model;
mod run;
mod tensors;
#[cfg(test)]
mod testing;

#[cfg(not(target_arch = "wasm32"))]
pub use json_lines::JsonLines;
#[cfg(not(target_arch = "wasm32"))]
pub use log::MetricsLog;
#[cfg(not(target_arch = "wasm32"))]
pub use model::load_tokenizer;
pub use model::{load_config, load_model, model_files, save_model};
pub use run::{
    Checkpoint, Resumed, TrainerState, latest_checkpoint, list_checkpoints, load_checkpoint, load_newest_checkpoint,
    load_state, prune_checkpoints, resolve_model_dir, run_of_checkpoint, save_checkpoint, set_aside_checkpoint,
};
pub use tensors::{NamedTensor, read_tensor, read_tensors, tensor_bytes, tensors_of_bytes, write_tensors};
