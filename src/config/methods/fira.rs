use serde::Serialize;

use super::{GaloreConfig, Settings, rank_in_words, read_betas};
use crate::Result;
use crate::config::check;
use crate::config::keys::Section;

/// Fira (Chen et al. 2024, arXiv 2410.01623): GaLore, and the rest of the gradient scaled as Adam scales the subspace.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FiraConfig {
    /// r: singular vectors of the smaller side that are kept; 0 for a quarter of it, as the papers have it.
    pub rank: usize,
    /// T: steps after which they are found anew.
    pub update_interval: u32,
    /// α on what the subspace holds.
    pub scale: f64,
    /// γ: by how much the norm of the rest may grow from step to step.
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

impl FiraConfig {
    /// What stands for the subspace.
    pub fn as_galore(&self) -> GaloreConfig {
        let Self { rank, update_interval, scale, beta1, beta2, eps, weight_decay, .. } = *self;
        GaloreConfig { rank, update_interval, scale, beta1, beta2, eps, weight_decay }
    }
}

impl Default for FiraConfig {
    fn default() -> Self {
        let GaloreConfig { rank, update_interval, beta1, beta2, eps, weight_decay, .. } = GaloreConfig::default();
        Self { rank, update_interval, scale: 1.0, growth_limit: 1.01, beta1, beta2, eps, weight_decay }
    }
}

impl Settings for FiraConfig {
    fn title(&self) -> &'static str {
        "fira"
    }

    fn words(&self) -> String {
        format!("Fira of {}", rank_in_words(self.rank))
    }

    fn read_keys(&mut self, section: &mut Section) -> Result<()> {
        section.set("rank", &mut self.rank)?;
        section.set("update_interval", &mut self.update_interval)?;
        section.set("scale", &mut self.scale)?;
        section.set("growth_limit", &mut self.growth_limit)?;
        read_betas(section, &mut self.beta1, &mut self.beta2)?;
        section.set("eps", &mut self.eps)?;
        section.set("weight_decay", &mut self.weight_decay)
    }

    fn validate(&self, key: &dyn Fn(&str) -> String) -> Result<()> {
        self.as_galore().validate(key)?;
        check::above_1(&key("growth_limit"), self.growth_limit)
    }
}
