use serde::Serialize;

use super::{Settings, read_betas};
use crate::Result;
use crate::config::check;
use crate::config::keys::Section;

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

impl Default for LionConfig {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.99, weight_decay: 0.0 }
    }
}

impl Settings for LionConfig {
    fn title(&self) -> &'static str {
        "lion"
    }

    fn words(&self) -> String {
        "Lion".into()
    }

    fn read_keys(&mut self, section: &mut Section) -> Result<()> {
        read_betas(section, &mut self.beta1, &mut self.beta2)?;
        section.set("weight_decay", &mut self.weight_decay)
    }

    fn validate(&self, key: &dyn Fn(&str) -> String) -> Result<()> {
        check::from_0_below_1(&key("beta1"), self.beta1)?;
        check::from_0_below_1(&key("beta2"), self.beta2)?;
        check::not_negative(&key("weight_decay"), self.weight_decay)
    }
}
