//! How to prune, with the defaults of the method's published code where a small model allows them.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::gpu::MAX_GROUPS;
use crate::llama::UnitKind;
use crate::{Error, Result};

/// The settings of a pruning.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PruneSettings {
    /// Fraction of the groups of heads to keep, and of the channels: 0.7 in the published runs.
    pub keep: [f64; 2],
    /// Where scores are compared and budgeted.
    pub scope: Scope,
    /// The form of the result.
    pub shape: Shape,
    /// What the scores start from.
    pub start: Start,
    /// Steps; 0 selects by the start alone. 15 000 in the published runs, on models a thousand times as large.
    pub steps: u64,
    /// Learning rate of the scores, which falls to zero along a cosine: 0.002 for LLaMA-2 7B and 0.006 for LLaMA-3 8B.
    pub lr: f64,
    /// Masks drawn per step and batch: 2 in the published code; at least 2.
    pub samples: usize,
    /// Steps over which the baseline averages losses: 5 in the published code.
    pub window: f64,
    /// Sequences per batch: 8 in the published runs.
    pub batch_size: usize,
    /// Tokens per sequence: 128 in the published runs.
    pub sequence_length: usize,
    /// Sequences from which Wanda's measure is computed: 128 in the published code.
    pub calibration: usize,
    /// Seed of masks, batches and random starts.
    pub seed: u64,
}

impl Default for PruneSettings {
    fn default() -> Self {
        Self {
            keep: [0.7; 2],
            scope: Scope::Layer,
            shape: Shape::Equal,
            start: Start::Wanda,
            steps: 300,
            lr: 0.02,
            samples: 2,
            window: 5.0,
            batch_size: 8,
            sequence_length: 128,
            calibration: 128,
            seed: 0,
        }
    }
}

impl PruneSettings {
    /// Fraction of units of a kind to keep.
    pub fn keep(&self, kind: UnitKind) -> f64 {
        self.keep[kind as usize]
    }

    /// The factor on the learning rate of `step`, from 1: half a cosine from 1 to 0.
    pub fn schedule(&self, step: u64) -> f64 {
        0.5 * (1.0 + (std::f64::consts::PI * (step - 1) as f64 / self.steps as f64).cos())
    }

    /// Errors: a setting out of range, by its option's name.
    pub fn validate(&self) -> Result<()> {
        let checks = [
            ("--keep", self.keep.iter().all(|keep| *keep > 0.0 && *keep <= 1.0), "above 0 and at most 1"),
            ("--lr", self.lr > 0.0 && self.lr.is_finite(), "above 0"),
            ("--samples", (2..=64).contains(&self.samples), "from 2 to 64"),
            ("--window", self.window >= 1.0 && self.window.is_finite(), "at least 1"),
            ("--batch-size", (1..=MAX_GROUPS as usize).contains(&self.batch_size), "from 1 to 65535"),
            ("--sequence-length", self.sequence_length > 0, "at least 1"),
            ("--calibration", self.calibration > 0, "at least 1"),
            ("--steps", self.steps < 1 << 32, "below 2^32"),
        ];
        match checks.iter().find(|(_, holds, _)| !holds) {
            Some((option, _, range)) => Err(Error::config(*option, format!("must be {range}"))),
            None => Ok(()),
        }
    }
}

/// Where scores are compared, and a budget holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// All layers together: layers may keep different numbers of units.
    Model,
    /// Every layer for itself.
    Layer,
}

/// The form of the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Shape {
    /// A smaller model, whose layers are equally wide.
    Equal,
    /// A model of the same sizes, in which the weights that read removed units are zero.
    Mask,
}

/// What the scores start from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Start {
    /// |W| times the norm of its input, on calibration text: Wanda's measure, summed over a unit.
    Wanda,
    /// |W| alone.
    Magnitude,
    /// Random numbers.
    Random,
    /// The same score for all.
    Constant,
}

macro_rules! words {
    ($name:ident: $($word:literal = $variant:ident),+) => {
        impl FromStr for $name {
            type Err = String;

            fn from_str(word: &str) -> std::result::Result<Self, String> {
                match word {
                    $($word => Ok(Self::$variant),)+
                    _ => Err(format!("expected one of {}", [$($word),+].join(", "))),
                }
            }
        }
    };
}

words!(Scope: "model" = Model, "layer" = Layer);
words!(Shape: "equal" = Equal, "mask" = Mask);
words!(Start: "wanda" = Wanda, "magnitude" = Magnitude, "random" = Random, "constant" = Constant);
