use serde::Serialize;

use super::{MezoConfig, Settings};
use crate::Result;
use crate::config::check;
use crate::config::keys::Section;

/// SubZero (Yu et al. 2024, arXiv 2410.08989): MeZO whose directions are of low rank, in a subspace for each matrix.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SubzeroConfig {
    /// What it shares with MeZO.
    #[serde(flatten)]
    pub mezo: MezoConfig,
    /// r of every matrix's directions.
    pub rank: usize,
    /// T: steps after which the subspaces are drawn anew.
    pub update_interval: u32,
}

impl Default for SubzeroConfig {
    fn default() -> Self {
        Self { mezo: MezoConfig::default(), rank: 8, update_interval: 2000 }
    }
}

impl Settings for SubzeroConfig {
    fn title(&self) -> &'static str {
        "subzero"
    }

    fn words(&self) -> String {
        format!("SubZero of rank {}", self.rank)
    }

    fn read_keys(&mut self, section: &mut Section) -> Result<()> {
        section.set("rank", &mut self.rank)?;
        section.set("update_interval", &mut self.update_interval)?;
        self.mezo.read_keys(section)
    }

    fn validate(&self, key: &dyn Fn(&str) -> String) -> Result<()> {
        check::at_least_1(&key("rank"), self.rank as u64)?;
        check::at_least_1(&key("update_interval"), self.update_interval.into())?;
        self.mezo.validate(key)
    }

    fn zeroth_order(&self) -> Option<&MezoConfig> {
        Some(&self.mezo)
    }
}
