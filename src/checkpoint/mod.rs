//! Models in Hugging Face's layout, and the files of a run: checkpoints, metrics.jsonl, TensorBoard event files.
//!
//! Every file and every checkpoint directory is written under a temporary name, synced and renamed: a crash at any time
//! leaves the last complete one. Names that start with a dot are never read as checkpoints, with the one exception
//! described at [`save_checkpoint`].

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
