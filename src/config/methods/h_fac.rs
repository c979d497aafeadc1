use serde::Serialize;

use super::{Settings, read_betas};
use crate::Result;
use crate::config::check;
use crate::config::keys::Section;

/// H-Fac (Nguyen et al. 2024, arXiv 2406.09958): momentum and second moment of rank one.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HFacConfig {
    /// Decay of the averaged row and column means.
    pub beta1: f64,
    /// Decay of the averaged squares.
    pub beta2: f64,
    /// Added to every square.
    pub eps: f64,
    /// d: a preconditioned gradient of a larger root mean square is brought to this one.
    pub clip_threshold: f64,
    /// Decoupled weight decay, times the learning rate.
    pub weight_decay: f64,
}

impl Default for HFacConfig {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.999, eps: 1e-30, clip_threshold: 1.0, weight_decay: 0.0 }
    }
}

impl Settings for HFacConfig {
    fn title(&self) -> &'static str {
        "h-fac"
    }

    fn words(&self) -> String {
        "H-Fac".into()
    }

    fn read_keys(&mut self, section: &mut Section) -> Result<()> {
        read_betas(section, &mut self.beta1, &mut self.beta2)?;
        section.set("eps", &mut self.eps)?;
        section.set("clip_threshold", &mut self.clip_threshold)?;
        section.set("weight_decay", &mut self.weight_decay)
    }

    fn validate(&self, key: &dyn Fn(&str) -> String) -> Result<()> {
        check::from_0_below_1(&key("beta1"), self.beta1)?;
        check::from_0_below_1(&key("beta2"), self.beta2)?;
        check::positive(&key("eps"), self.eps)?;
        check::positive(&key("clip_threshold"), self.clip_threshold)?;
        check::not_negative(&key("weight_decay"), self.weight_decay)
    }
}
