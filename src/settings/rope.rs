//! Rotary frequencies, and their scaling for longer contexts.

use std::f64::consts::TAU;

use serde::Serialize;

use super::check;
use super::keys::FromToml;
use crate::{Error, Result};

/// How rotary frequencies differ from theta^(−2i/D), with the names of Hugging Face's `rope_scaling`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(tag = "rope_type", rename_all = "lowercase")]
pub enum RopeScaling {
    /// All are divided by one factor (kaiokendev 2023; Chen et al., arXiv 2306.15595).
    Linear {
        /// At least 1.
        factor: f64,
    },
    /// Low frequencies are divided by a factor, high ones stay, and those between are interpolated (LLaMA 3.1: arXiv
    /// 2407.21783).
    Llama3 {
        /// At least 1.
        factor: f64,
        /// Frequencies with fewer turns than this in the original context are low.
        low_freq_factor: f64,
        /// Frequencies with more turns than this are high.
        high_freq_factor: f64,
        /// The context length before scaling.
        original_max_position_embeddings: usize,
    },
}

/// Radians per position for each pair of channels, `[head_dim / 2]`, the highest frequency first.
pub fn rotary_frequencies(head_dim: usize, theta: f64, scaling: Option<&RopeScaling>) -> Vec<f64> {
    let half = head_dim / 2;
    let scaled = |i: usize| {
        let frequency = theta.powf(-(i as f64) / half as f64);
        scaling.map_or(frequency, |scaling| scaling.scaled(frequency))
    };
    (0..half).map(scaled).collect()
}

impl RopeScaling {
    fn scaled(&self, frequency: f64) -> f64 {
        match *self {
            Self::Linear { factor } => frequency / factor,
            Self::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_position_embeddings } => {
                let turns = original_max_position_embeddings as f64 * frequency / TAU;
                // 0 for low frequencies, 1 for high ones.
                let kept = ((turns - low_freq_factor) / (high_freq_factor - low_freq_factor)).clamp(0.0, 1.0);
                (1.0 - kept) * frequency / factor + kept * frequency
            }
        }
    }

    pub(super) fn validate(&self) -> Result<()> {
        let refuse = |key: &str, message: String| Err(Error::config(format!("model.rope_scaling.{key}"), message));
        let (Self::Linear { factor } | Self::Llama3 { factor, .. }) = *self;
        if !(factor >= 1.0 && factor.is_finite()) {
            return refuse("factor", format!("must be at least 1, got {factor}"));
        }
        match *self {
            Self::Linear { .. } => Ok(()),
            Self::Llama3 { low_freq_factor, high_freq_factor, original_max_position_embeddings, .. } => {
                check::positive("model.rope_scaling.low_freq_factor", low_freq_factor)?;
                if !(high_freq_factor > low_freq_factor && high_freq_factor.is_finite()) {
                    let message = format!("must be above low_freq_factor {low_freq_factor}, got {high_freq_factor}");
                    return refuse("high_freq_factor", message);
                }
                let key = "model.rope_scaling.original_max_position_embeddings";
                check::at_least_1(key, original_max_position_embeddings as u64)?;
                check::fits_toml(key, original_max_position_embeddings as u64)
            }
        }
    }
}

impl FromToml for RopeScaling {
    const EXPECTED: &'static str = "{ rope_type = \"linear\", factor = … } or { rope_type = \"llama3\", factor = …, \
                                  low_freq_factor = …, high_freq_factor = …, original_max_position_embeddings = … }";
    fn from_toml(value: &toml::Value) -> Option<Self> {
        let table = value.as_table()?;
        let number = |key: &str| f64::from_toml(table.get(key)?);
        match (table.get("rope_type")?.as_str()?, table.len()) {
            ("linear", 2) => Some(Self::Linear { factor: number("factor")? }),
            ("llama3", 5) => Some(Self::Llama3 {
                factor: number("factor")?,
                low_freq_factor: number("low_freq_factor")?,
                high_freq_factor: number("high_freq_factor")?,
                original_max_position_embeddings: usize::from_toml(table.get("original_max_position_embeddings")?)?,
            }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn toml_says_the_same_back() {
        let linear = "rope_type = 'linear'\nfactor = 2";
        let llama3 = "rope_type = 'llama3'\nfactor = 8.0\nlow_freq_factor = 1\nhigh_freq_factor = 4\n\
                      original_max_position_embeddings = 8192";
        for text in [linear, llama3] {
            let value = toml::Value::Table(text.parse().unwrap());
            let scaling = RopeScaling::from_toml(&value).unwrap();
            scaling.validate().unwrap();
            let written = toml::Value::try_from(scaling).unwrap();
            assert_eq!(RopeScaling::from_toml(&written), Some(scaling), "{written}");
        }
        for text in
            ["rope_type = 'yarn'\nfactor = 2", "rope_type = 'linear'", "rope_type = 'linear'\nfactor = 2\nx = 1"]
        {
            assert_eq!(RopeScaling::from_toml(&toml::Value::Table(text.parse().unwrap())), None, "{text}");
        }
    }

    #[test]
    fn frequencies_are_those_of_transformers() {
        let plain = rotary_frequencies(8, 500_000.0, None);
        assert_eq!(plain.len(), 4);
        assert!((plain[1] - 0.037_606_030_930_863_93).abs() < 1e-16, "{plain:?}");
        assert_eq!(rotary_frequencies(8, 500_000.0, Some(&RopeScaling::Linear { factor: 2.0 }))[3], plain[3] / 2.0);
        // LLaMA 3.2 1B; transformers' `_compute_llama3_parameters` in double precision, channels 0, 10, 17, 31 of 32.
        let llama3 = RopeScaling::Llama3 {
            factor: 32.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_max_position_embeddings: 8192,
        };
        let [plain, scaled] = [None, Some(&llama3)].map(|scaling| rotary_frequencies(64, 500_000.0, scaling));
        assert_eq!((scaled[0], scaled[31]), (plain[0], plain[31] / 32.0));
        let turns = 8192.0 * plain[17] / TAU;
        assert!(turns > 1.0 && turns < 4.0, "{turns}");
        let smooth = (turns - 1.0) / 3.0;
        let expected = (1.0 - smooth) * plain[17] / 32.0 + smooth * plain[17];
        assert!((scaled[17] - expected).abs() < 1e-18);
    }
}
