//! Optimizers: lists of passes over a gradient, and other methods.
//!
//! An optimizer is one file that implements `Method`, a line in the list below, and a section in catalog.toml. A method
//! may update parameters of one shape together, with results bit-identical to updating them one by one.
//!
//! ```
//! use multinorm::optim::OptimizerConfig;
//!
//! let sinkgd = OptimizerConfig::named("sinkgd")?;
//! assert_eq!(sinkgd.linear.rule.describe(), "row, column × 5");
//! # Ok::<(), multinorm::Error>(())
//! ```

mod catalog;
mod config;
mod group;
mod iterate;
mod method;
mod optimizer;
mod passes;
mod record;
mod reference;
mod reference_directions;
mod rule;
mod shared;
mod update;

mod adafactor;
mod adalomo;
mod adam_nonzero;
mod adamw;
mod adazeta;
mod apollo;
mod extrapolated_sgd;
mod fira;
mod galore;
mod h_fac;
mod lion;
mod mezo;
mod racs;
mod sgd;
mod subzero;

rule::rules! {
    adafactor::Adafactor = "adafactor",
    adalomo::Adalomo = "adalomo",
    adam_nonzero::AdamNonzero = "adam-nonzero",
    adamw::Adamw = "adamw",
    adazeta::Adazeta = "adazeta",
    apollo::Apollo = "apollo",
    extrapolated_sgd::ExtrapolatedSgd = "extrapolated-sgd",
    fira::Fira = "fira",
    galore::Galore = "galore",
    h_fac::HFac = "h-fac",
    lion::Lion = "lion",
    mezo::Mezo = "mezo",
    racs::Racs = "racs",
    sgd::Sgd = "sgd",
    subzero::Subzero = "subzero",
}

pub use adam_nonzero::SecondMomentStart;
pub use apollo::ScaleOf;
pub use catalog::{names as optimizer_names, source as source_of};
pub use config::OptimizerConfig;
pub use group::{Group, GroupState};
pub use iterate::{Iterate, sequence};
pub use method::{Directions, SeenStep};
pub use optimizer::{Optimizer, Stepper};
pub use passes::{MomentumPlacement, PassProgram, ScaleRule, reference_pass};
pub use record::{
    RecordUpdate, record, record_directions, record_group, record_group_lookahead, record_lookahead,
    record_perturbation,
};
pub use reference::ReferenceUpdate;
pub use reference_directions::ReferenceDirections;
pub use rule::Recipe;
pub use shared::rank_for;
pub use update::{Parameter, Perturbed, State, StateSpec, StepTensors, Update};
