//! Lion (Chen et al. 2023, arXiv 2302.06675, algorithm 2): the sign of a momentum, one state per weight.

use serde::Serialize;

use super::group::{Group, GroupState};
use super::method::{Method, ReferenceParameter, ReferenceStep, SeenStep, not_in_a_page};
use super::shared::read_betas;
use super::update::{Parameter, StateSpec, StepTensors};
use crate::Result;
use crate::gpu::Recorder;
use crate::kernels::lion::{LionConstants, lion};
use crate::reference;
use crate::settings::{Section, check};

/// Lion (Chen et al. 2023, arXiv 2302.06675, algorithm 2).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Lion {
    /// Weight of the momentum in the update.
    pub beta1: f64,
    /// Decay of the momentum.
    pub beta2: f64,
    /// Decoupled weight decay, times the learning rate.
    pub weight_decay: f64,
}

impl Default for Lion {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.99, weight_decay: 0.0 }
    }
}

impl Method for Lion {
    fn title(&self) -> &'static str {
        "lion"
    }

    fn describe(&self) -> String {
        "Lion".into()
    }

    fn read_keys(&mut self, section: &mut Section) -> Result<()> {
        read_betas(section, &mut self.beta1, &mut self.beta2)?;
        section.set("weight_decay", &mut self.weight_decay)
    }

    fn validate(&self, key: &dyn Fn(&str) -> String) -> Result<()> {
        check::from_0_below_1(&key("beta1"), self.beta1)?;
        check::from_0_below_1(&key("beta2"), self.beta2)?;
        check::not_negative(&key("weight_decay"), self.weight_decay)
    }

    fn state(&self, parameter: &Parameter<'_>) -> Result<Vec<StateSpec>> {
        Ok(vec![StateSpec::new("exp_avg", parameter.shape)])
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

    fn record(
        &self,
        rec: &mut Recorder,
        group: &Group<'_>,
        states: &[GroupState],
        step: StepTensors<'_>,
        lr: f64,
    ) -> Result<()> {
        let Self { beta1, beta2, weight_decay } = *self;
        let constants = LionConstants { lr, beta1, beta2, weight_decay };
        lion(rec, &group.weight, &group.gradient, &states[0].tensor, step.statistics, step.step, constants);
        Ok(())
    }

    fn reference(&self, parameter: &ReferenceParameter) -> Box<ReferenceStep> {
        not_in_a_page();
        let Self { beta1, beta2, weight_decay } = *self;
        let hyper = reference::lion::Lion { beta1, beta2, weight_decay };
        let mut exp_avg = vec![0.0; parameter.len()];
        Box::new(move |w, step| reference::lion::step(&hyper, &mut exp_avg, w, &step.clipped(), step.rate()))
    }

    fn seen_step(&self, seen: &SeenStep<'_>) -> Option<(&'static str, Vec<f64>)> {
        let clip = f64::from(seen.clip);
        // m before the step, from m ← β₂m + (1 − β₂)g.
        let before = |(m, g): (&f32, &f32)| {
            let g = clip * f64::from(*g);
            let m = (f64::from(*m) - (1.0 - self.beta2) * g) / self.beta2;
            let mixed = self.beta1 * m + (1.0 - self.beta1) * g;
            if mixed == 0.0 { 0.0 } else { mixed.signum() }
        };
        Some(("lion", seen.states[0].iter().zip(seen.gradient).map(before).collect()))
    }
}
