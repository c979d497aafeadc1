//! Settings as plain data: what model, on what text, by what optimizer, for how long.
//!
//! [`RunConfig::load`] reads CONFIG.toml and `--set` over one of two default runs and resolves every value;
//! [`RunConfig::to_toml`] writes it back so that the text alone repeats the run.
//! A setting that cannot be is refused here, in the words the user wrote, before anything is allocated.
//! Nothing in this module knows of the GPU, of files or of bytes.

mod adapter;
mod catalog;
mod check;
mod hf;
mod keys;
mod load;
mod methods;
mod model;
mod optimizer;
mod passes;
mod rule;
mod run;

pub use adapter::{AdapterConfig, TensorTrain};
pub use catalog::names as optimizer_names;
pub use load::RunDefaults;
pub use methods::{
    AdafactorConfig, AdalomoConfig, AdamNonzeroConfig, AdamwConfig, AdazetaConfig, ApolloConfig, ExtrapolatedSgdConfig,
    FiraConfig, GaloreConfig, HFacConfig, LionConfig, MezoConfig, RacsConfig, ScaleOf, SecondMomentStart, SgdConfig,
    SubzeroConfig, rank_for,
};
pub use model::{ModelConfig, PRESETS, ParameterSpec, Role};
pub use optimizer::OptimizerConfig;
pub use passes::{MomentumPlacement, Pass, PassProgram, ScaleRule, Spectral, SpectralVariant};
pub use rule::{Recipe, Rule};
pub use run::{
    CORPORA, CheckpointConfig, DataConfig, EvalConfig, MatmulPrecision, Precision, RunConfig, ScheduleConfig,
    ScheduleKind, SpectraConfig, TrainConfig,
};
