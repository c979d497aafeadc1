use serde::Serialize;

use super::Settings;
use crate::Result;
use crate::config::check;
use crate::config::keys::Section;
/// RACS, row and column scaled SGD (Gong, Scetbon, Ma & Meeds 2025, arXiv 2502.07752, algorithm 1).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RacsConfig {
    /// Power-iteration steps on G⊙G.
    pub iterations: u32,
    /// Decay of the averaged scalings.
    pub beta: f64,
    /// α on the update.
    pub scale: f64,
    /// γ: by how much the update's norm may grow from step to step.
    pub growth_limit: f64,
    /// Decoupled weight decay, times the learning rate.
    pub weight_decay: f64,
}

impl Default for RacsConfig {
    fn default() -> Self {
        Self { iterations: 5, beta: 0.9, scale: 0.05, growth_limit: 1.01, weight_decay: 0.0 }
    }
}

impl Settings for RacsConfig {
    fn title(&self) -> &'static str {
        "racs"
    }

    fn words(&self) -> String {
        "RACS".into()
    }

    fn read_keys(&mut self, section: &mut Section) -> Result<()> {
        section.set("iterations", &mut self.iterations)?;
        section.set("beta", &mut self.beta)?;
        section.set("scale", &mut self.scale)?;
        section.set("growth_limit", &mut self.growth_limit)?;
        section.set("weight_decay", &mut self.weight_decay)
    }

    fn validate(&self, key: &dyn Fn(&str) -> String) -> Result<()> {
        check::at_least_1(&key("iterations"), self.iterations.into())?;
        check::from_0_below_1(&key("beta"), self.beta)?;
        check::positive(&key("scale"), self.scale)?;
        check::above_1(&key("growth_limit"), self.growth_limit)?;
        check::not_negative(&key("weight_decay"), self.weight_decay)
    }
}
