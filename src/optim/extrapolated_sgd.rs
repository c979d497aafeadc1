//! Extrapolated SGD (Lin, Kong, Stich & Jaggi 2020, arXiv 2006.05720): the gradient is taken at w½ = w − γ̂·(the
//! previous step's gradient), and w moves along it.
//!
//! The extrapolation comes first in a step's first plan, before the forward pass, and the update undoes it; evaluations
//! and checkpoints see w itself. One state per weight: the last gradient.

use serde::Serialize;

use super::group::{Group, GroupState};
use super::method::{Method, ReferenceParameter, ReferenceStep, not_in_a_page};
use super::update::{Parameter, StateSpec, StepTensors};
use crate::Result;
use crate::gpu::Recorder;
use crate::kernels::extrapolated_sgd::{extrapolate, extrapolated_sgd};
use crate::reference;
use crate::settings::{Section, check};

/// Extrapolated SGD (Lin, Kong, Stich & Jaggi 2020, arXiv 2006.05720).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ExtrapolatedSgd {
    /// Rate of the extrapolation along the last gradient, relative to the learning rate.
    pub extrapolation: f64,
    /// Weight decay: added to the gradient, times the weight.
    pub weight_decay: f64,
}

impl Default for ExtrapolatedSgd {
    fn default() -> Self {
        Self { extrapolation: 1.0, weight_decay: 0.0 }
    }
}

impl Method for ExtrapolatedSgd {
    fn title(&self) -> &'static str {
        "extrapolated-sgd"
    }

    fn describe(&self) -> String {
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

    fn state(&self, parameter: &Parameter<'_>) -> Result<Vec<StateSpec>> {
        Ok(vec![last_gradient(parameter)])
    }

    fn state_formula(&self) -> String {
        "m·n".into()
    }

    fn is_row_wise(&self) -> bool {
        true
    }

    fn parameters_per_update(&self, count: usize, _: u64) -> usize {
        count
    }

    fn record_lookahead(
        &self,
        rec: &mut Recorder,
        group: &Group<'_>,
        step: StepTensors<'_>,
        lr: f64,
    ) -> Option<GroupState> {
        let previous = group.state(rec, &last_gradient(&group.parameter()));
        extrapolate(rec, &group.weight, &previous.tensor, step.step, self.extrapolation * lr);
        Some(previous)
    }

    fn record(
        &self,
        rec: &mut Recorder,
        group: &Group<'_>,
        states: &[GroupState],
        step: StepTensors<'_>,
        lr: f64,
    ) -> Result<()> {
        assert!(group.lookahead.is_some(), "the extrapolation was recorded before the update");
        let shared = [step.statistics, step.step];
        let rates = [lr, self.extrapolation * lr, self.weight_decay];
        extrapolated_sgd(rec, &group.weight, &group.gradient, &states[0].tensor, shared, rates);
        Ok(())
    }

    /// The gradient is given; where it was taken does not matter here.
    fn reference(&self, _: &ReferenceParameter) -> Box<ReferenceStep> {
        not_in_a_page();
        let weight_decay = self.weight_decay;
        Box::new(move |w, step| reference::extrapolated_sgd::step(w, &step.clipped(), step.rate(), weight_decay))
    }
}

fn last_gradient(parameter: &Parameter<'_>) -> StateSpec {
    StateSpec::new("previous_gradient", parameter.shape)
}
