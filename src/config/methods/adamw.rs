use serde::Serialize;

use super::{Settings, read_betas};
use crate::Result;
use crate::config::check;
use crate::config::keys::Section;

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

impl Default for AdamwConfig {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.01 }
    }
}

impl Settings for AdamwConfig {
    fn title(&self) -> &'static str {
        "adam"
    }

    fn words(&self) -> String {
        if self.weight_decay == 0.0 { "Adam" } else { "AdamW" }.into()
    }

    fn read_keys(&mut self, section: &mut Section) -> Result<()> {
        read_betas(section, &mut self.beta1, &mut self.beta2)?;
        section.set("eps", &mut self.eps)?;
        section.set("weight_decay", &mut self.weight_decay)
    }

    fn validate(&self, key: &dyn Fn(&str) -> String) -> Result<()> {
        check::from_0_below_1(&key("beta1"), self.beta1)?;
        check::from_0_below_1(&key("beta2"), self.beta2)?;
        check::positive(&key("eps"), self.eps)?;
        check::not_negative(&key("weight_decay"), self.weight_decay)
    }
}
