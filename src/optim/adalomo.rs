//! AdaLomo (Lv et al. 2023, arXiv 2310.10195, algorithm 1): Adafactor's second moment, with every matrix's update
//! normalized separately, so that it can run as soon as its gradient is complete. The configuration then fuses updates
//! into the backward pass, and the gradients of the whole model are never held at once.

use serde::Serialize;

use super::adafactor::Adafactor;
use super::group::{Group, GroupState};
use super::method::{Method, ReferenceParameter, ReferenceStep, not_in_a_page};
use super::update::{Parameter, StateSpec, StepTensors};
use crate::Result;
use crate::gpu::Recorder;
use crate::settings::Section;

/// AdaLomo (Lv et al. 2023, arXiv 2310.10195, algorithm 1), as in its authors' lomo-optim: Adafactor's factored second
/// moment, each matrix's update normalized separately, and updates inside the backward pass.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Adalomo {
    /// The decay of the averages in step t is 1 − t^−decay_rate.
    pub decay_rate: f64,
    /// Added to every square.
    pub eps1: f64,
    /// A smaller root mean square of the weight counts as this.
    pub eps2: f64,
    /// An update with a larger root mean square is scaled down to this one.
    pub clip_threshold: f64,
    /// Decoupled weight decay, times the rate.
    pub weight_decay: f64,
}

impl Adalomo {
    /// The equivalent Adafactor settings; the rate is not bounded by the step number.
    pub fn as_adafactor(&self) -> Adafactor {
        let Self { decay_rate, eps1, eps2, clip_threshold, weight_decay } = *self;
        let (relative_step, scale_parameter) = (false, true);
        Adafactor { decay_rate, eps1, eps2, clip_threshold, relative_step, scale_parameter, weight_decay }
    }
}

impl Default for Adalomo {
    fn default() -> Self {
        Self { decay_rate: 0.8, eps1: 1e-30, eps2: 1e-3, clip_threshold: 1.0, weight_decay: 0.0 }
    }
}

impl Method for Adalomo {
    fn title(&self) -> &'static str {
        "adalomo"
    }

    fn describe(&self) -> String {
        "AdaLomo".into()
    }

    fn read_keys(&mut self, section: &mut Section) -> Result<()> {
        section.set("decay_rate", &mut self.decay_rate)?;
        section.set("eps1", &mut self.eps1)?;
        section.set("eps2", &mut self.eps2)?;
        section.set("clip_threshold", &mut self.clip_threshold)?;
        section.set("weight_decay", &mut self.weight_decay)
    }

    fn validate(&self, key: &dyn Fn(&str) -> String) -> Result<()> {
        self.as_adafactor().validate(key)
    }

    fn state(&self, parameter: &Parameter<'_>) -> Result<Vec<StateSpec>> {
        self.as_adafactor().state(parameter)
    }

    fn state_formula(&self) -> String {
        self.as_adafactor().state_formula()
    }

    fn is_fused(&self) -> bool {
        true
    }

    fn record(
        &self,
        rec: &mut Recorder,
        group: &Group<'_>,
        states: &[GroupState],
        step: StepTensors<'_>,
        lr: f64,
    ) -> Result<()> {
        self.as_adafactor().record(rec, group, states, step, lr)
    }

    fn reference(&self, parameter: &ReferenceParameter) -> Box<ReferenceStep> {
        not_in_a_page();
        self.as_adafactor().reference(parameter)
    }
}
