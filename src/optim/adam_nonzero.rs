//! Adam with a second moment that does not start at 0 (Abuduweili & Liu 2024, arXiv 2412.02153), but at the squared
//! gradients of the first batches, or at random numbers. Everything else is Adam, as in the authors' code: v is
//! corrected as if it had started at 0, so that the first steps are small, and vectors have no random start.

use std::str::FromStr;

use serde::Serialize;

use super::group::{Group, GroupState, tensors};
use super::method::{Method, ReferenceParameter, ReferenceStep, not_in_a_page};
use super::shared::read_betas;
use super::update::{Parameter, StateSpec, StepTensors};
use crate::Result;
use crate::gpu::Recorder;
use crate::kernels::adam_nonzero::{AdamNonzeroConstants, adam_nonzero};
use crate::reference;
use crate::reference::random::stream;
use crate::settings::{Section, check};

/// Adam with a second moment that does not start at 0 (Abuduweili & Liu 2024, arXiv 2412.02153).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AdamNonzero {
    /// Decay of the averaged gradient.
    pub beta1: f64,
    /// Decay of the averaged square.
    pub beta2: f64,
    /// Added to the root of the averaged square.
    pub eps: f64,
    /// Decoupled weight decay, times the learning rate.
    pub weight_decay: f64,
    /// The initial second moment.
    pub start: SecondMomentStart,
    /// σ, the factor on the initial second moment.
    pub start_scale: f64,
    /// Batches whose squared gradients initialize it from data: steps that move no weight.
    pub start_batches: u32,
    /// Whether to correct the second moment as if it had started at 0: the first steps are then small.
    pub bias_correction: bool,
}

/// The initial second moment.
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

impl Default for AdamNonzero {
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

impl Method for AdamNonzero {
    fn title(&self) -> &'static str {
        "adam-nonzero"
    }

    fn describe(&self) -> String {
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

    fn state(&self, parameter: &Parameter<'_>) -> Result<Vec<StateSpec>> {
        Ok(["exp_avg", "exp_avg_sq"].map(|what| StateSpec::new(what, parameter.shape)).into())
    }

    fn state_formula(&self) -> String {
        "2·m·n".into()
    }

    /// A random start depends on the number of rows.
    fn is_row_wise(&self) -> bool {
        self.start == SecondMomentStart::Data
    }

    fn record(
        &self,
        rec: &mut Recorder,
        group: &Group<'_>,
        states: &[GroupState],
        step: StepTensors<'_>,
        lr: f64,
    ) -> Result<()> {
        let update = group.only();
        let Self { beta1, beta2, eps, weight_decay, bias_correction, .. } = *self;
        let (start, batches) = match self.start {
            SecondMomentStart::Data => (self.start_scale, self.start_batches),
            SecondMomentStart::Random => {
                // Fan-in plus fan-out; a vector has neither.
                let start = match update.weight.shape[..] {
                    [m, n] => 2.0 * self.start_scale / (m + n) as f64,
                    _ => 0.0,
                };
                (start, 0)
            }
        };
        let stream = stream(update.name);
        let constants =
            AdamNonzeroConstants { lr, beta1, beta2, eps, weight_decay, start, batches, stream, bias_correction };
        let shared = [step.statistics, step.step];
        adam_nonzero(rec, update.weight, update.gradient, tensors(states), shared, constants);
        Ok(())
    }

    fn reference(&self, parameter: &ReferenceParameter) -> Box<ReferenceStep> {
        not_in_a_page();
        let Self { beta1, beta2, eps, weight_decay, start, start_scale, start_batches, bias_correction } = *self;
        let from_data = start == SecondMomentStart::Data;
        let hyper = reference::adam_nonzero::AdamNonzero {
            beta1,
            beta2,
            eps,
            weight_decay,
            start_scale: if from_data || parameter.is_matrix { start_scale } else { 0.0 },
            bias_correction,
            start_batches: from_data.then_some(start_batches),
        };
        let mut state = reference::adam_nonzero::State::new(parameter.len());
        let ReferenceParameter { sides, random, .. } = *parameter;
        Box::new(move |w, step| {
            reference::adam_nonzero::step(&hyper, &mut state, w, &step.clipped(), sides, step.rate(), random);
        })
    }
}
