use serde::Serialize;

use super::{Settings, rank_in_words, read_betas};
use crate::Result;
use crate::config::check;
use crate::config::keys::Section;

/// GaLore (Zhao et al. 2024, arXiv 2403.03507): Adam in a subspace that the gradient's singular vectors span.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GaloreConfig {
    /// r: singular vectors of the smaller side that are kept; 0 for a quarter of it, as the papers have it.
    pub rank: usize,
    /// T: steps after which they are found anew.
    pub update_interval: u32,
    /// α on the update.
    pub scale: f64,
    /// Decay of the averaged projected gradient.
    pub beta1: f64,
    /// Decay of its averaged square.
    pub beta2: f64,
    /// Added to the root of the averaged square.
    pub eps: f64,
    /// Decoupled weight decay, times the learning rate.
    pub weight_decay: f64,
}

impl Default for GaloreConfig {
    fn default() -> Self {
        Self { rank: 0, update_interval: 200, scale: 0.25, beta1: 0.9, beta2: 0.999, eps: 1e-6, weight_decay: 0.0 }
    }
}

impl Settings for GaloreConfig {
    fn title(&self) -> &'static str {
        "galore"
    }

    fn words(&self) -> String {
        format!("GaLore of {}", rank_in_words(self.rank))
    }

    fn read_keys(&mut self, section: &mut Section) -> Result<()> {
        section.set("rank", &mut self.rank)?;
        section.set("update_interval", &mut self.update_interval)?;
        section.set("scale", &mut self.scale)?;
        read_betas(section, &mut self.beta1, &mut self.beta2)?;
        section.set("eps", &mut self.eps)?;
        section.set("weight_decay", &mut self.weight_decay)
    }

    fn validate(&self, key: &dyn Fn(&str) -> String) -> Result<()> {
        check::at_least_1(&key("update_interval"), self.update_interval.into())?;
        check::positive(&key("scale"), self.scale)?;
        check::from_0_below_1(&key("beta1"), self.beta1)?;
        check::from_0_below_1(&key("beta2"), self.beta2)?;
        check::positive(&key("eps"), self.eps)?;
        check::not_negative(&key("weight_decay"), self.weight_decay)
    }
}
