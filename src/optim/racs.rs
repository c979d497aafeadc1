//! RACS (Gong, Scetbon, Ma & Meeds 2025, arXiv 2502.07752, algorithm 1): scales rows and columns by the averaged
//! principal singular vectors of G⊙G, found by power iteration, and limits how fast the update's norm may grow.
//!
//! It is not a Sinkhorn iteration: it does not normalize any row or column.

use serde::Serialize;

use super::group::{Group, GroupState, tensors};
use super::method::{Method, ReferenceParameter, ReferenceStep, not_in_a_page};
use super::shared::{check_matrix, check_width};
use super::update::{Parameter, StateSpec, StepTensors};
use crate::Result;
use crate::gpu::Recorder;
use crate::kernels::effective_lr::{LimitConstants, apply_effective_lr, growth_limit};
use crate::kernels::racs::{averaged_root, power_iteration};
use crate::kernels::scaled::Scaled;
use crate::reference;
use crate::settings::{Section, check};

/// RACS, row and column scaled SGD (Gong, Scetbon, Ma & Meeds 2025, arXiv 2502.07752, algorithm 1).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Racs {
    /// Power-iteration steps on G⊙G.
    pub iterations: u32,
    /// Decay of the averaged scalings.
    pub beta: f64,
    /// α, a factor on the update.
    pub scale: f64,
    /// γ: the largest growth of the update's norm per step.
    pub growth_limit: f64,
    /// Decoupled weight decay, times the learning rate.
    pub weight_decay: f64,
}

impl Default for Racs {
    fn default() -> Self {
        Self { iterations: 5, beta: 0.9, scale: 0.05, growth_limit: 1.01, weight_decay: 0.0 }
    }
}

impl Method for Racs {
    fn title(&self) -> &'static str {
        "racs"
    }

    fn describe(&self) -> String {
        "RACS".into()
    }

    fn read_keys(&mut self, section: &mut Section) -> Result<()> {
        section.set("iterations", &mut self.iterations)?;
        section.set("beta", &mut self.beta)?;
        section.set("scale", &mut self.scale)?;
        section.set("growth_limit", &mut self.growth_limit)?;
        section.set("weight_decay", &mut self.weight_decay)
    }

    fn validate(&self, key: &dyn Fn(&str) -> String) -> Result<()> {
        check::iterations(&key("iterations"), self.iterations)?;
        check::from_0_below_1(&key("beta"), self.beta)?;
        check::positive(&key("scale"), self.scale)?;
        check::above_1(&key("growth_limit"), self.growth_limit)?;
        check::not_negative(&key("weight_decay"), self.weight_decay)
    }

    fn state(&self, parameter: &Parameter<'_>) -> Result<Vec<StateSpec>> {
        let [m, n] = check_matrix(parameter, "RACS scales the rows and columns of a matrix")?;
        check_width(parameter)?;
        let scalings = [StateSpec::new("row_scaling", &[m]), StateSpec::new("column_scaling", &[n])];
        Ok(scalings.into_iter().chain([StateSpec::new("update_norm", &[1])]).collect())
    }

    fn state_formula(&self) -> String {
        "m + n + 1".into()
    }

    /// Iterations + 3 reads of G, one read and one write of W.
    fn record(
        &self,
        rec: &mut Recorder,
        group: &Group<'_>,
        states: &[GroupState],
        step: StepTensors<'_>,
        lr: f64,
    ) -> Result<()> {
        let update = group.only();
        let [row, col, last] = tensors(states);
        let StepTensors { statistics, step } = step;
        let [q, s] = power_iteration(rec, update.gradient, statistics, self.iterations);
        let mut x = Scaled::new(update.gradient);
        x.r = Some(averaged_root(rec, &q, row, statistics, self.beta, true));
        x.c = Some(averaged_root(rec, &s, col, statistics, self.beta, false));
        let constants = LimitConstants { lr, growth_limit: self.growth_limit, eps: 0.0, corrected: None };
        let rates = growth_limit(rec, &x, last, statistics, step, constants);
        apply_effective_lr(rec, &x, update.weight, &rates, [statistics, step], [self.scale, self.weight_decay]);
        Ok(())
    }

    fn reference(&self, parameter: &ReferenceParameter) -> Box<ReferenceStep> {
        not_in_a_page();
        let Self { iterations, beta, scale, growth_limit, weight_decay } = *self;
        let hyper = reference::racs::Racs { iterations, beta, scale, growth_limit, weight_decay };
        let [m, n] = parameter.sides;
        let mut state = reference::racs::State::new(m, n);
        Box::new(move |w, step| reference::racs::step(&hyper, &mut state, w, &step.clipped(), step.rate()))
    }
}
