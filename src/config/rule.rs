//! How a gradient becomes an update: a list of passes, or one of the methods that are not such lists.

use serde::Serialize;

use super::AdapterConfig;
use super::catalog;
use super::check;
use super::keys::Section;
use super::methods::{
    AdafactorConfig, AdalomoConfig, AdamNonzeroConfig, AdamwConfig, AdazetaConfig, ApolloConfig, ExtrapolatedSgdConfig,
    FiraConfig, GaloreConfig, HFacConfig, LionConfig, MezoConfig, RacsConfig, Settings, SgdConfig, SubzeroConfig,
};
use super::passes::{MomentumPlacement, Pass, PassProgram, ScaleRule};
use crate::Result;

/// Makes [`Rule`] of a list of rules with settings of their own: variant, settings, name in the catalog.
macro_rules! rules {
    ($($(#[$doc:meta])* $variant:ident($settings:ident) = $name:literal,)*) => {
        /// How a gradient becomes an update.
        #[derive(Clone, Debug, PartialEq, Serialize)]
        #[serde(tag = "name", rename_all = "kebab-case")]
        pub enum Rule {
            $($(#[$doc])* $variant($settings),)*
            /// A list of normalizing passes, repeated; SinkGD is `row, column` five times.
            #[serde(untagged)]
            Passes(PassProgram),
        }

        impl Rule {
            /// A method that is no list of passes, with its source's defaults; for the catalog's `rule` key.
            pub(super) fn method(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(Self::$variant($settings::default())),)*
                    _ => None,
                }
            }

            fn settings(&self) -> &dyn Settings {
                match self {
                    $(Self::$variant(settings) => settings,)*
                    Self::Passes(program) => program,
                }
            }

            fn settings_mut(&mut self) -> &mut dyn Settings {
                match self {
                    $(Self::$variant(settings) => settings,)*
                    Self::Passes(program) => program,
                }
            }
        }
    };
}

rules! {
    /// A factored second moment and a relative step.
    Adafactor(AdafactorConfig) = "adafactor",
    /// A factored second moment for updates inside the backward pass.
    Adalomo(AdalomoConfig) = "adalomo",
    /// Adam whose second moment does not begin at 0.
    AdamNonzero(AdamNonzeroConfig) = "adam-nonzero",
    /// Adam with decoupled weight decay; without decay it is Adam.
    Adamw(AdamwConfig) = "adamw",
    /// Random directions for adapters in tensor-train form.
    Adazeta(AdazetaConfig) = "adazeta",
    /// Adam's scaling seen in a random projection.
    Apollo(ApolloConfig) = "apollo",
    /// SGD whose gradient is taken where the last one points.
    ExtrapolatedSgd(ExtrapolatedSgdConfig) = "extrapolated-sgd",
    /// Adam in a subspace, and the rest of the gradient scaled alike.
    Fira(FiraConfig) = "fira",
    /// Adam in a subspace that the gradient's singular vectors span.
    Galore(GaloreConfig) = "galore",
    /// Momentum and second moment of rank one.
    HFac(HFacConfig) = "h-fac",
    /// The sign of a momentum.
    Lion(LionConfig) = "lion",
    /// Random directions and two losses, without a gradient.
    Mezo(MezoConfig) = "mezo",
    /// Rows and columns scaled by the principal singular vectors of the squared gradient.
    Racs(RacsConfig) = "racs",
    /// Stochastic gradient descent.
    Sgd(SgdConfig) = "sgd",
    /// The same with directions of low rank.
    Subzero(SubzeroConfig) = "subzero",
}

/// A rule and its peak learning rate.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Recipe {
    /// How the gradient becomes an update.
    #[serde(flatten)]
    pub rule: Rule,
    /// Peak learning rate.
    pub lr: f64,
}

/// What a section begins with before its own keys are read.
pub(super) struct Base {
    pub rule: Rule,
    pub lr: Option<f64>,
    /// What to call it in a message.
    pub title: String,
}

/// A rule as a section gives it.
pub(super) struct ReadRule {
    pub rule: Rule,
    /// The section's learning rate, or that of its base.
    pub lr: Option<f64>,
    /// The learning rate that comes with the name in the section.
    pub named_lr: Option<f64>,
}

impl Rule {
    /// Whether nothing is carried from one step to the next.
    pub fn is_stateless(&self) -> bool {
        self.settings().is_stateless()
    }

    /// The adapters that it trains in the place of the model, if it does.
    pub fn adapter(&self) -> Option<AdapterConfig> {
        self.settings().adapter()
    }

    /// Directions of a step in an epoch, from 0, of a run of so many; 0 where a gradient is taken.
    pub fn queries_at(&self, epoch: u64, epochs: f64) -> u32 {
        self.settings().queries_at(epoch, epochs)
    }

    /// How it estimates the gradient, if it is a zeroth-order method: one that takes losses alone.
    pub fn zeroth_order(&self) -> Option<&MezoConfig> {
        self.settings().zeroth_order()
    }

    /// What to call it in a message about a key: `adam`.
    pub(super) fn title(&self) -> &'static str {
        self.settings().title()
    }

    /// What to call it in a report: `row, column × 5`, `momentum 0.95, spectral:muon:5`, `AdamW (no list of passes)`.
    pub fn words(&self) -> String {
        match self {
            Self::Passes(_) => self.settings().words(),
            _ => format!("{} (no list of passes)", self.settings().words()),
        }
    }

    /// A list of passes without anything around it.
    pub(super) fn bare(passes: Vec<Pass>) -> Self {
        Self::Passes(PassProgram {
            passes,
            iterations: 1,
            tolerance: 0.0,
            momentum: 0.0,
            momentum_placement: MomentumPlacement::Before,
            nesterov: false,
            row_threshold: 0.0,
            scale: 1.0,
            scale_rule: ScaleRule::Rms,
            weight_decay: 0.0,
        })
    }

    /// `base`, or the named or listed rule with its defaults, with the section's keys on top.
    pub(super) fn read(section: &mut Section, base: Base) -> Result<ReadRule> {
        let base_lr = base.lr;
        let name = section.get::<String>("name")?;
        let passes = section.get::<Vec<String>>("passes")?;
        let mut named_lr = None;
        let mut base = match (name, passes) {
            (Some(_), Some(_)) => return Err(section.error("passes", "give `name` or `passes`, not both")),
            (Some(name), None) => {
                let named = catalog::base(&name).map_err(|message| section.error("name", message))?;
                named_lr = named.lr;
                named
            }
            (None, Some(words)) => {
                let passes = Pass::parse_list(&words).map_err(|message| section.error("passes", message))?;
                let Rule::Passes(sinkgd) = catalog::sinkgd().rule else { unreachable!("SinkGD is a list of passes") };
                let rule = Self::Passes(PassProgram { passes, ..sinkgd });
                Base { rule, lr: None, title: "a list of passes".to_owned() }
            }
            (None, None) => base,
        };
        base.rule.read_keys(section)?;
        let lr = section.get("lr")?.or(base_lr);
        section.finish(&format!("{} does not use this key", base.title))?;
        Ok(ReadRule { rule: base.rule, lr, named_lr })
    }

    pub(super) fn read_keys(&mut self, section: &mut Section) -> Result<()> {
        self.settings_mut().read_keys(section)
    }
}

impl Recipe {
    pub(super) fn validate(&self, section: &str) -> Result<()> {
        check::positive(&format!("{section}.lr"), self.lr)?;
        self.rule.settings().validate(&|key| format!("{section}.{key}"))
    }
}
