use std::str::FromStr;

use serde::Serialize;

use super::{Settings, read_betas};
use crate::Result;
use crate::config::check;
use crate::config::keys::Section;

/// Adam whose second moment does not begin at 0 (Abuduweili & Liu 2024, arXiv 2412.02153).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AdamNonzeroConfig {
    /// Decay of the averaged gradient.
    pub beta1: f64,
    /// Decay of the averaged square.
    pub beta2: f64,
    /// Added to the root of the averaged square.
    pub eps: f64,
    /// Decoupled weight decay, times the learning rate.
    pub weight_decay: f64,
    /// Where the second moment begins.
    pub start: SecondMomentStart,
    /// σ, what the start is multiplied by.
    pub start_scale: f64,
    /// Batches whose squared gradients make a start from data: steps that move no weight.
    pub start_batches: u32,
    /// Whether the second moment is corrected as if it had begun at 0: the first steps are then small.
    pub bias_correction: bool,
}

/// Where the second moment begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SecondMomentStart {
    /// v₀ = σ times the mean of the squared gradients of the first batches.
    Data,
    /// v₀ = 2σ/(m + n) times χ² with one degree of freedom, element by element; 0 for a vector.
    Random,
}

impl FromStr for SecondMomentStart {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        match word {
            "data" => Ok(Self::Data),
            "random" => Ok(Self::Random),
            _ => Err(format!("must be data or random, got `{word}`")),
        }
    }
}

impl Default for AdamNonzeroConfig {
    fn default() -> Self {
        Self {
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            weight_decay: 0.0,
            start: SecondMomentStart::Data,
            start_scale: 1.0,
            start_batches: 4,
            bias_correction: true,
        }
    }
}

impl Settings for AdamNonzeroConfig {
    fn title(&self) -> &'static str {
        "adam-nonzero"
    }

    fn words(&self) -> String {
        match self.start {
            SecondMomentStart::Data => "Adam, v₀ from data".into(),
            SecondMomentStart::Random => "Adam, v₀ random".into(),
        }
    }

    fn read_keys(&mut self, section: &mut Section) -> Result<()> {
        read_betas(section, &mut self.beta1, &mut self.beta2)?;
        section.set("eps", &mut self.eps)?;
        section.set("weight_decay", &mut self.weight_decay)?;
        section.set_word("start", &mut self.start)?;
        section.set("start_scale", &mut self.start_scale)?;
        section.set("start_batches", &mut self.start_batches)?;
        section.set("bias_correction", &mut self.bias_correction)
    }

    fn validate(&self, key: &dyn Fn(&str) -> String) -> Result<()> {
        check::from_0_below_1(&key("beta1"), self.beta1)?;
        check::from_0_below_1(&key("beta2"), self.beta2)?;
        check::positive(&key("eps"), self.eps)?;
        check::not_negative(&key("weight_decay"), self.weight_decay)?;
        check::positive(&key("start_scale"), self.start_scale)?;
        check::at_least_1(&key("start_batches"), self.start_batches.into())
    }
}
