//! Settings as plain data: what model, on what text, by what optimizer, for how long.
//!
//! [`RunConfig::load`] reads CONFIG.toml and `--set` over one of two default runs and resolves every value;
//! [`RunConfig::to_toml`] writes it back so that the text alone repeats the run.
//! A setting that cannot be is refused here, in the words the user wrote, before anything is allocated.
//! Nothing in this room knows of the GPU, of files or of bytes.

mod check;
mod hf;
mod keys;
mod load;
mod model;
mod optimizer;
mod run;

pub use load::RunDefaults;
pub use model::{ModelConfig, PRESETS, ParameterSpec, Role};
pub use optimizer::{AdamwConfig, OPTIMIZERS, OptimizerConfig, Pass, PassProgram, Rule, SgdConfig};
pub use run::{
    CORPORA, CheckpointConfig, DataConfig, EvalConfig, Precision, RunConfig, ScheduleConfig, ScheduleKind, TrainConfig,
};
