//! Adam (Kingma & Ba, 2015) and AdamW (Loshchilov & Hutter, 2019): two moments per weight.

use serde::Serialize;

use super::group::{Group, GroupState, tensors};
use super::method::{Method, ReferenceParameter, ReferenceStep, SeenStep, not_in_a_page};
use super::shared::read_betas;
use super::update::{Parameter, StateSpec, StepTensors};
use crate::Result;
use crate::gpu::Recorder;
use crate::kernels::adamw::{AdamwConstants, adamw};
use crate::reference;
use crate::settings::{Section, check};

/// Adam with decoupled weight decay (Loshchilov and Hutter, 2019), as PyTorch computes it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Adamw {
    /// Decay of the averaged gradient.
    pub beta1: f64,
    /// Decay of the averaged square.
    pub beta2: f64,
    /// Added to the root of the averaged square.
    pub eps: f64,
    /// Decoupled weight decay, times the learning rate.
    pub weight_decay: f64,
}

impl Default for Adamw {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.01 }
    }
}

impl Method for Adamw {
    fn title(&self) -> &'static str {
        "adam"
    }

    fn describe(&self) -> String {
        if self.weight_decay == 0.0 { "Adam" } else { "AdamW" }.into()
    }

    fn read_keys(&mut self, section: &mut Section) -> Result<()> {
        read_betas(section, &mut self.beta1, &mut self.beta2)?;
        section.set("eps", &mut self.eps)?;
        section.set("weight_decay", &mut self.weight_decay)
    }

    fn validate(&self, key: &dyn Fn(&str) -> String) -> Result<()> {
        check::from_0_below_1(&key("beta1"), self.beta1)?;
        check::from_0_below_1(&key("beta2"), self.beta2)?;
        check::positive(&key("eps"), self.eps)?;
        check::not_negative(&key("weight_decay"), self.weight_decay)
    }

    fn state(&self, parameter: &Parameter<'_>) -> Result<Vec<StateSpec>> {
        Ok(["exp_avg", "exp_avg_sq"].map(|what| StateSpec::new(what, parameter.shape)).into())
    }

    fn state_formula(&self) -> String {
        "2·m·n".into()
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
        let Self { beta1, beta2, eps, weight_decay } = *self;
        let constants = AdamwConstants { lr, beta1, beta2, eps, weight_decay };
        adamw(rec, &group.weight, &group.gradient, tensors(states), step.statistics, step.step, constants);
        Ok(())
    }

    fn reference(&self, parameter: &ReferenceParameter) -> Box<ReferenceStep> {
        not_in_a_page();
        let Self { beta1, beta2, eps, weight_decay } = *self;
        let hyper = reference::adamw::AdamW { beta1, beta2, eps, weight_decay };
        let mut state = reference::adamw::State::new(parameter.len());
        Box::new(move |w, step| reference::adamw::step(&hyper, &mut state, w, &step.clipped(), step.rate()))
    }

    fn seen_step(&self, seen: &SeenStep<'_>) -> Option<(&'static str, Vec<f64>)> {
        // The bias corrections of the step just made.
        let correction = |beta: f64| 1.0 - beta.powf(seen.number as f64);
        let [c1, c2] = [self.beta1, self.beta2].map(correction);
        let [m, v] = [0, 1].map(|which| &seen.states[which]);
        let update = |(m, v): (&f32, &f32)| f64::from(*m) / c1 / ((f64::from(*v) / c2).sqrt() + self.eps);
        Some(("adamw", m.iter().zip(v).map(update).collect()))
    }
}
