use serde::Serialize;

use super::Settings;
use crate::Result;
use crate::config::check;
use crate::config::keys::Section;
/// Adafactor (Shazeer & Stern 2018, arXiv 1804.04235, algorithms 4 and 5) without momentum; the defaults are the paper's.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AdafactorConfig {
    /// The averages' decay in step t is 1 − t^−decay_rate.
    pub decay_rate: f64,
    /// ε₁, added to every square.
    pub eps1: f64,
    /// ε₂, the least root mean square that a weight counts with.
    pub eps2: f64,
    /// d: an update of a larger root mean square is brought to this one.
    pub clip_threshold: f64,
    /// Whether the rate in step t is at most 1/√t.
    pub relative_step: bool,
    /// Whether the rate is times the weight's root mean square.
    pub scale_parameter: bool,
    /// Decoupled weight decay, times the rate.
    pub weight_decay: f64,
}

impl Default for AdafactorConfig {
    fn default() -> Self {
        Self {
            decay_rate: 0.8,
            eps1: 1e-30,
            eps2: 1e-3,
            clip_threshold: 1.0,
            relative_step: true,
            scale_parameter: true,
            weight_decay: 0.0,
        }
    }
}

impl Settings for AdafactorConfig {
    fn title(&self) -> &'static str {
        "adafactor"
    }

    fn words(&self) -> String {
        "Adafactor".into()
    }

    fn read_keys(&mut self, section: &mut Section) -> Result<()> {
        section.set("decay_rate", &mut self.decay_rate)?;
        section.set("eps1", &mut self.eps1)?;
        section.set("eps2", &mut self.eps2)?;
        section.set("clip_threshold", &mut self.clip_threshold)?;
        section.set("relative_step", &mut self.relative_step)?;
        section.set("scale_parameter", &mut self.scale_parameter)?;
        section.set("weight_decay", &mut self.weight_decay)
    }

    fn validate(&self, key: &dyn Fn(&str) -> String) -> Result<()> {
        check::between_0_and_1(&key("decay_rate"), self.decay_rate)?;
        check::positive(&key("eps1"), self.eps1)?;
        check::positive(&key("eps2"), self.eps2)?;
        check::positive(&key("clip_threshold"), self.clip_threshold)?;
        check::not_negative(&key("weight_decay"), self.weight_decay)
    }
}
