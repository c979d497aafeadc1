//! What model, on what text, by what optimizer, for how long: everything that one run is set by.
//!
//! [`RunConfig::load`] reads CONFIG.toml and `--set` over one of two default runs and resolves every value;
//! [`RunConfig::to_toml`] writes it back so that the text alone repeats the run.
//! A setting that cannot be is refused here, in the words the user wrote, before anything is allocated.
//! What the settings of an optimizer are stands with the optimizer, in [`crate::optim`].

mod load;
mod run;

pub use crate::optim::{
    Adafactor, Adalomo, AdamNonzero, Adamw, Adazeta, Apollo, ExtrapolatedSgd, Fira, Galore, HFac, Lion, Mezo,
    MomentumPlacement, OptimizerConfig, PassProgram, Racs, Recipe, Rule, ScaleOf, ScaleRule, SecondMomentStart, Sgd,
    Subzero, optimizer_names, rank_for,
};
pub use crate::settings::{
    AdapterConfig, AttentionBias, CORPORA, DataConfig, ModelConfig, PRESETS, ParameterSpec, Pass, Recompute, Role,
    RopeScaling, Spectral, SpectralVariant, TensorTrain, rotary_frequencies,
};
pub use load::RunDefaults;
pub use run::{
    CheckpointConfig, EvalConfig, MatmulPrecision, Precision, RecomputePolicy, RunConfig, ScheduleConfig, ScheduleKind,
    SpectraConfig, TrainConfig,
};
