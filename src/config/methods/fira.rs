use serde::Serialize;

use super::{GaloreConfig, Settings, rank_in_words};
use crate::Result;
use crate::config::check;
use crate::config::keys::Section;

/// Fira (Chen et al. 2024, arXiv 2410.01623): GaLore, and the rest of the gradient scaled as Adam scales the subspace.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FiraConfig {
    /// What happens in the subspace.
    #[serde(flatten)]
    pub galore: GaloreConfig,
    /// γ: by how much the norm of the rest may grow from step to step.
    pub growth_limit: f64,
}

impl Default for FiraConfig {
    fn default() -> Self {
        Self { galore: GaloreConfig { scale: 1.0, ..GaloreConfig::default() }, growth_limit: 1.01 }
    }
}

impl Settings for FiraConfig {
    fn title(&self) -> &'static str {
        "fira"
    }

    fn words(&self) -> String {
        format!("Fira of {}", rank_in_words(self.galore.rank))
    }

    fn read_keys(&mut self, section: &mut Section) -> Result<()> {
        section.set("growth_limit", &mut self.growth_limit)?;
        self.galore.read_keys(section)
    }

    fn validate(&self, key: &dyn Fn(&str) -> String) -> Result<()> {
        self.galore.validate(key)?;
        check::above_1(&key("growth_limit"), self.growth_limit)
    }
}
