//! How a gradient becomes an update: a list of passes, or one of the methods that are not such lists.

use serde::Serialize;

use super::catalog;
use super::check;
use super::keys::Section;
use super::passes::{MomentumPlacement, Pass, PassProgram, ScaleRule};
use crate::{Error, Result};

/// How a gradient becomes an update.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "name", rename_all = "lowercase")]
pub enum Rule {
    /// Adam with decoupled weight decay; without decay it is Adam.
    Adamw(AdamwConfig),
    /// The sign of a momentum.
    Lion(LionConfig),
    /// Stochastic gradient descent.
    Sgd(SgdConfig),
    /// A list of normalizing passes, repeated; SinkGD is `row, column` five times.
    #[serde(untagged)]
    Passes(PassProgram),
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

/// Adam with decoupled weight decay (Loshchilov and Hutter, 2019), as PyTorch computes it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AdamwConfig {
    /// Decay of the averaged gradient.
    pub beta1: f64,
    /// Decay of the averaged square.
    pub beta2: f64,
    /// Added to the root of the averaged square.
    pub eps: f64,
    /// Decoupled weight decay, times the learning rate.
    pub weight_decay: f64,
}

/// Lion (Chen et al. 2023, arXiv 2302.06675, algorithm 2).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LionConfig {
    /// The momentum's share in the update.
    pub beta1: f64,
    /// Decay of the momentum.
    pub beta2: f64,
    /// Decoupled weight decay, times the learning rate.
    pub weight_decay: f64,
}

/// Stochastic gradient descent, as PyTorch computes it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SgdConfig {
    /// Decay of the summed gradient; 0 for none.
    pub momentum: f64,
    /// Added to the gradient, times the weight.
    pub weight_decay: f64,
    /// Whether to look one momentum step ahead.
    pub nesterov: bool,
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
        match self {
            Self::Passes(program) => program.momentum == 0.0,
            Self::Sgd(sgd) => sgd.momentum == 0.0,
            Self::Adamw(_) | Self::Lion(_) => false,
        }
    }

    /// A method that is no list of passes, with its source's defaults; for the catalog's `rule` key.
    pub(super) fn method(name: &str) -> Option<Self> {
        match name {
            "adamw" => Some(Self::Adamw(AdamwConfig { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.01 })),
            "lion" => Some(Self::Lion(LionConfig { beta1: 0.9, beta2: 0.99, weight_decay: 0.0 })),
            "sgd" => Some(Self::Sgd(SgdConfig { momentum: 0.0, weight_decay: 0.0, nesterov: false })),
            _ => None,
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
        match self {
            Self::Passes(program) => {
                section.set("iterations", &mut program.iterations)?;
                section.set("tolerance", &mut program.tolerance)?;
                section.set("momentum", &mut program.momentum)?;
                section.set_word("momentum_placement", &mut program.momentum_placement)?;
                section.set("nesterov", &mut program.nesterov)?;
                section.set("row_threshold", &mut program.row_threshold)?;
                section.set("scale", &mut program.scale)?;
                section.set_word("scale_rule", &mut program.scale_rule)?;
                section.set("weight_decay", &mut program.weight_decay)
            }
            Self::Adamw(adamw) => {
                read_betas(section, &mut adamw.beta1, &mut adamw.beta2)?;
                section.set("eps", &mut adamw.eps)?;
                section.set("weight_decay", &mut adamw.weight_decay)
            }
            Self::Lion(lion) => {
                read_betas(section, &mut lion.beta1, &mut lion.beta2)?;
                section.set("weight_decay", &mut lion.weight_decay)
            }
            Self::Sgd(sgd) => {
                section.set("momentum", &mut sgd.momentum)?;
                section.set("weight_decay", &mut sgd.weight_decay)?;
                section.set("nesterov", &mut sgd.nesterov)
            }
        }
    }

    fn validate(&self, section: &str) -> Result<()> {
        let key = |name: &str| format!("{section}.{name}");
        match self {
            Self::Passes(program) => program.validate(key),
            Self::Adamw(adamw) => {
                check::from_0_below_1(&key("beta1"), adamw.beta1)?;
                check::from_0_below_1(&key("beta2"), adamw.beta2)?;
                check::positive(&key("eps"), adamw.eps)?;
                check::not_negative(&key("weight_decay"), adamw.weight_decay)
            }
            Self::Lion(lion) => {
                check::from_0_below_1(&key("beta1"), lion.beta1)?;
                check::from_0_below_1(&key("beta2"), lion.beta2)?;
                check::not_negative(&key("weight_decay"), lion.weight_decay)
            }
            Self::Sgd(sgd) => {
                check::from_0_below_1(&key("momentum"), sgd.momentum)?;
                check::not_negative(&key("weight_decay"), sgd.weight_decay)?;
                if sgd.nesterov && sgd.momentum == 0.0 {
                    return Err(Error::config(key("nesterov"), "looks ahead along the momentum, which is 0"));
                }
                Ok(())
            }
        }
    }
}

impl Recipe {
    pub(super) fn validate(&self, section: &str) -> Result<()> {
        check::positive(&format!("{section}.lr"), self.lr)?;
        self.rule.validate(section)
    }
}

fn read_betas(section: &mut Section, beta1: &mut f64, beta2: &mut f64) -> Result<()> {
    if let Some(betas) = section.get::<[f64; 2]>("betas")? {
        if ["beta1", "beta2"].iter().any(|beta| section.written_together("betas", beta)) {
            return Err(section.error("betas", "give `betas` or `beta1` and `beta2`, not both"));
        }
        [*beta1, *beta2] = betas;
    }
    section.set("beta1", beta1)?;
    section.set("beta2", beta2)
}
