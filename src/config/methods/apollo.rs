use std::str::FromStr;

use serde::Serialize;

use super::{Settings, rank_in_words, read_betas};
use crate::Result;
use crate::config::check;
use crate::config::keys::Section;

/// APOLLO (Zhu et al. 2024, arXiv 2412.05270, algorithm 1), as its authors' apollo-torch computes it; with rank 1 and
/// one factor for the whole matrix it is APOLLO-Mini.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ApolloConfig {
    /// r: how many random directions the smaller side is seen in; 0 for a quarter of it, as the papers have it.
    pub rank: usize,
    /// T: steps after which other directions are drawn.
    pub update_interval: u32,
    /// The update is times the root of this.
    pub scale: f64,
    /// What one factor is for.
    pub scale_of: ScaleOf,
    /// γ: by how much the update's norm may grow from step to step.
    pub growth_limit: f64,
    /// Decay of the averaged projected gradient.
    pub beta1: f64,
    /// Decay of its averaged square.
    pub beta2: f64,
    /// Added to the root of the averaged square.
    pub eps: f64,
    /// Decoupled weight decay, times the learning rate.
    pub weight_decay: f64,
}

/// What one factor of APOLLO is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ScaleOf {
    /// Each row or column along the larger side.
    Channel,
    /// The whole matrix.
    Tensor,
}

impl FromStr for ScaleOf {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        match word {
            "channel" => Ok(Self::Channel),
            "tensor" => Ok(Self::Tensor),
            _ => Err(format!("must be channel or tensor, got `{word}`")),
        }
    }
}

impl Default for ApolloConfig {
    fn default() -> Self {
        Self {
            rank: 0,
            update_interval: 200,
            scale: 1.0,
            scale_of: ScaleOf::Channel,
            growth_limit: 1.01,
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-6,
            weight_decay: 0.0,
        }
    }
}

impl Settings for ApolloConfig {
    fn title(&self) -> &'static str {
        "apollo"
    }

    fn words(&self) -> String {
        let of = match self.scale_of {
            ScaleOf::Channel => "",
            ScaleOf::Tensor => ", one factor",
        };
        format!("APOLLO of {}{of}", rank_in_words(self.rank))
    }

    fn read_keys(&mut self, section: &mut Section) -> Result<()> {
        section.set("rank", &mut self.rank)?;
        section.set("update_interval", &mut self.update_interval)?;
        section.set("scale", &mut self.scale)?;
        section.set_word("scale_of", &mut self.scale_of)?;
        section.set("growth_limit", &mut self.growth_limit)?;
        read_betas(section, &mut self.beta1, &mut self.beta2)?;
        section.set("eps", &mut self.eps)?;
        section.set("weight_decay", &mut self.weight_decay)
    }

    fn validate(&self, key: &dyn Fn(&str) -> String) -> Result<()> {
        check::at_least_1(&key("update_interval"), self.update_interval.into())?;
        check::positive(&key("scale"), self.scale)?;
        check::above_1(&key("growth_limit"), self.growth_limit)?;
        check::from_0_below_1(&key("beta1"), self.beta1)?;
        check::from_0_below_1(&key("beta2"), self.beta2)?;
        check::positive(&key("eps"), self.eps)?;
        check::not_negative(&key("weight_decay"), self.weight_decay)
    }
}
