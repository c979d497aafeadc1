//! All settings of a run: the model, the text, the optimizer, and the duration.
//!
//! [`RunConfig::load`] reads CONFIG.toml and `--set` over one of two default runs and resolves every value;
//! [`RunConfig::to_toml`] writes it back so that the text alone repeats the run. Invalid settings are rejected here, in
//! the user's own terms, before anything is allocated. The settings of an optimizer are defined with the optimizer, in
//! [`crate::optim`].
//!
//! ```
//! use multinorm::config::{RunConfig, RunDefaults};
//!
//! let sets = ["model.preset=9m".to_owned(), "train.steps=100".to_owned()];
//! let run = RunConfig::load(None, &sets, RunDefaults::Gpu)?;
//! assert_eq!((run.model.hidden_size, run.train.steps), (128, 100));
//! // A misspelled key is an error that names the nearest one.
//! assert!(RunConfig::load(None, &["train.step=1".to_owned()], RunDefaults::Gpu).is_err());
//! # Ok::<(), multinorm::Error>(())
//! ```

mod load;
mod run;

pub use crate::optim::{
    Adafactor, Adalomo, AdamNonzero, Adamw, Adazeta, Apollo, ExtrapolatedSgd, Fira, Galore, HFac, Lion, Mezo,
    MomentumPlacement, OptimizerConfig, PassProgram, Racs, Recipe, Rule, ScaleOf, ScaleRule, SecondMomentStart, Sgd,
    Subzero, optimizer_names, rank_for,
};
pub use crate::settings::{
    AdapterConfig, AttentionBias, CORPORA, DataConfig, ModelConfig, PRESETS, ParameterSpec, Pass, Recompute, Role,
    RopeScaling, Spectral, SpectralVariant, TensorTrain, Wire, rotary_frequencies,
};
pub use load::RunDefaults;
pub use run::{
    CheckpointConfig, DistributedConfig, EvalConfig, MatmulPrecision, Precision, RecomputePolicy, RunConfig,
    ScheduleConfig, ScheduleKind, Shares, SpectraConfig, TrainConfig,
};
