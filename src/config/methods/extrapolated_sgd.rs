use serde::Serialize;

use super::Settings;
use crate::Result;
use crate::config::check;
use crate::config::keys::Section;

/// Extrapolated SGD (Lin, Kong, Stich & Jaggi 2020, arXiv 2006.05720).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ExtrapolatedSgdConfig {
    /// Rate of the extrapolation along the last gradient, over the learning rate.
    pub extrapolation: f64,
    /// Added to the gradient, times the weight.
    pub weight_decay: f64,
}

impl Default for ExtrapolatedSgdConfig {
    fn default() -> Self {
        Self { extrapolation: 1.0, weight_decay: 0.0 }
    }
}

impl Settings for ExtrapolatedSgdConfig {
    fn title(&self) -> &'static str {
        "extrapolated-sgd"
    }

    fn words(&self) -> String {
        "SGD with extrapolation".into()
    }

    fn read_keys(&mut self, section: &mut Section) -> Result<()> {
        section.set("extrapolation", &mut self.extrapolation)?;
        section.set("weight_decay", &mut self.weight_decay)
    }

    fn validate(&self, key: &dyn Fn(&str) -> String) -> Result<()> {
        check::positive(&key("extrapolation"), self.extrapolation)?;
        check::not_negative(&key("weight_decay"), self.weight_decay)
    }
}
