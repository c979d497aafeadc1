use serde::Serialize;

use super::Settings;
use crate::config::check;
use crate::config::keys::Section;
use crate::{Error, Result};

/// MeZO (Malladi et al. 2023, arXiv 2305.17333): descent along random directions, by the difference of two losses.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MezoConfig {
    /// ε: how far from the weights, in standard deviations of one weight, the two losses are taken.
    pub eps: f64,
    /// n: directions of a step, each with two losses; the step is the mean over them.
    pub queries: u32,
    /// Added to the estimated gradient, times the weight.
    pub weight_decay: f64,
}

impl MezoConfig {
    /// The most directions of a step: its number stands in half a word.
    pub const MAX_QUERIES: u32 = 1024;

    /// The least ε: weights come back exactly while they are below 2²⁴ times a sixteenth of ε or less, which here is 8.
    const MIN_EPS: f64 = 1e-5;
}

impl Default for MezoConfig {
    fn default() -> Self {
        Self { eps: 1e-3, queries: 1, weight_decay: 0.0 }
    }
}

impl Settings for MezoConfig {
    fn title(&self) -> &'static str {
        "mezo"
    }

    fn words(&self) -> String {
        match self.queries {
            1 => "MeZO".into(),
            queries => format!("MeZO of {queries} directions"),
        }
    }

    fn read_keys(&mut self, section: &mut Section) -> Result<()> {
        section.set("eps", &mut self.eps)?;
        section.set("queries", &mut self.queries)?;
        section.set("weight_decay", &mut self.weight_decay)
    }

    fn validate(&self, key: &dyn Fn(&str) -> String) -> Result<()> {
        if !(Self::MIN_EPS..=1.0).contains(&self.eps) {
            let message = format!("must lie between {} and 1, got {}", Self::MIN_EPS, self.eps);
            return Err(Error::config(key("eps"), message));
        }
        if !(1..=Self::MAX_QUERIES).contains(&self.queries) {
            let message = format!("must be from 1 to {}, got {}", Self::MAX_QUERIES, self.queries);
            return Err(Error::config(key("queries"), message));
        }
        check::not_negative(&key("weight_decay"), self.weight_decay)
    }

    fn is_stateless(&self) -> bool {
        true
    }

    fn zeroth_order(&self) -> Option<&MezoConfig> {
        Some(self)
    }
}
