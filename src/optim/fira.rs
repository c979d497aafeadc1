//! Fira (Chen et al. 2024, arXiv 2410.01623, algorithm 1), as the authors' fira 1.0.2 computes it: GaLore's step, plus
//! the part of the gradient outside the subspace, scaled per channel as Adam scales the part inside, with a limit on
//! how fast the norm of that part may grow.

use serde::Serialize;

use super::apollo::{LIMIT_EPS, limited_step};
use super::galore::{Galore, sides};
use super::group::{Group, GroupState, tensors};
use super::method::{Method, ReferenceParameter, ReferenceStep, not_in_a_page};
use super::shared::{check_matrix, rank_in_words};
use super::update::{Parameter, StateSpec, StepTensors};
use crate::Result;
use crate::gpu::Recorder;
use crate::kernels::apollo::channel_factors;
use crate::kernels::effective_lr::LimitConstants;
use crate::kernels::scaled::{Scaled, StepConstants, apply};
use crate::kernels::subspace::{project_back, subtract};
use crate::settings::{Section, check};

/// Fira (Chen et al. 2024, arXiv 2410.01623): GaLore, with the rest of the gradient scaled as Adam scales the subspace.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Fira {
    /// The settings of the subspace.
    #[serde(flatten)]
    pub galore: Galore,
    /// γ: the largest growth of the rest's norm per step.
    pub growth_limit: f64,
}

impl Default for Fira {
    fn default() -> Self {
        Self { galore: Galore { scale: 1.0, ..Galore::default() }, growth_limit: 1.01 }
    }
}

impl Method for Fira {
    fn title(&self) -> &'static str {
        "fira"
    }

    fn describe(&self) -> String {
        format!("Fira of {}", rank_in_words(self.galore.rank))
    }

    fn read_keys(&mut self, section: &mut Section) -> Result<()> {
        section.set("growth_limit", &mut self.growth_limit)?;
        self.galore.read_keys(section)
    }

    fn validate(&self, key: &dyn Fn(&str) -> String) -> Result<()> {
        self.galore.validate(key)?;
        check::above_1(&key("growth_limit"), self.growth_limit)
    }

    fn state(&self, parameter: &Parameter<'_>) -> Result<Vec<StateSpec>> {
        check_matrix(parameter, "Fira projects a matrix")?;
        let mut states = self.galore.state(parameter)?;
        states.push(StateSpec::new("residual_norm", &[1]));
        Ok(states)
    }

    fn state_formula(&self) -> String {
        format!("{} + 1", self.galore.state_formula())
    }

    fn products_formula(&self) -> String {
        "3·r·m·n".into()
    }

    /// Three products of a matrix m×n with one of the smaller side by r, two reads and writes of W.
    fn record(
        &self,
        rec: &mut Recorder,
        group: &Group<'_>,
        states: &[GroupState],
        step: StepTensors<'_>,
        lr: f64,
    ) -> Result<()> {
        let update = group.only();
        let [basis, exp_avg, exp_avg_sq, last] = tensors(states);
        let within = self.galore.in_subspace(rec, &update, [basis, exp_avg, exp_avg_sq], step);
        let StepTensors { statistics, step } = step;

        let residual = project_back(rec, &within.projected, basis, sides(&update));
        subtract(rec, update.gradient, &residual, self.galore.scale);
        let factors = channel_factors(rec, &within.sums, statistics, false);
        let Galore { beta1, beta2, scale, weight_decay, .. } = self.galore;
        let (growth_limit, corrected) = (self.growth_limit, Some([beta1, beta2]));
        let limit = LimitConstants { lr, growth_limit, eps: LIMIT_EPS, corrected };
        limited_step(rec, &update, &residual, factors, last, [statistics, step], limit, [1.0, weight_decay]);

        let whole = project_back(rec, &within.direction, basis, sides(&update));
        let constants = StepConstants { lr, scale, weight_decay: 0.0 };
        apply(rec, &Scaled::new(&whole), update.weight, statistics, step, constants);
        Ok(())
    }

    fn reference(&self, parameter: &ReferenceParameter) -> Box<ReferenceStep> {
        not_in_a_page();
        self.galore.reference_with(Some(self.growth_limit), parameter)
    }
}
