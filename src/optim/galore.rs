//! GaLore (Zhao et al. 2024, arXiv 2403.03507, algorithm 2), as the authors' galore-torch 1.0 computes it: Adam in the
//! coordinates of the gradient's leading singular vectors along its smaller side, which are recomputed every T steps.
//!
//! The moments are kept when the basis changes, as in the authors' code. The authors compute a full singular value
//! decomposition; here the device computes a randomized one, so that nothing waits for the host.

use serde::Serialize;

use super::group::{Group, GroupState, tensors};
use super::method::{Method, ReferenceParameter, ReferenceStep, not_in_a_page};
use super::shared::{check_matrix, check_rank, rank_for, rank_in_words, read_betas};
use super::update::{Parameter, StateSpec, StepTensors, Update};
use crate::Result;
use crate::gpu::{Class, DType, Recorder, Tensor};
use crate::kernels::scaled::{Scaled, StepConstants, apply};
use crate::kernels::subspace::{SubspaceConstants, moments, project, project_back, renew_basis};
use crate::reference;
use crate::reference::random::stream;
use crate::settings::{Section, check};

/// GaLore (Zhao et al. 2024, arXiv 2403.03507): Adam in a subspace spanned by the gradient's singular vectors.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Galore {
    /// r: number of singular vectors of the smaller side; 0 for a quarter of it, as in the papers.
    pub rank: usize,
    /// T: steps between recomputations of the vectors.
    pub update_interval: u32,
    /// α, a factor on the update.
    pub scale: f64,
    /// Decay of the averaged projected gradient.
    pub beta1: f64,
    /// Decay of its averaged square.
    pub beta2: f64,
    /// Added to the root of the averaged square.
    pub eps: f64,
    /// Decoupled weight decay, times the learning rate.
    pub weight_decay: f64,
}

impl Default for Galore {
    fn default() -> Self {
        Self { rank: 0, update_interval: 200, scale: 0.25, beta1: 0.9, beta2: 0.999, eps: 1e-6, weight_decay: 0.0 }
    }
}

impl Method for Galore {
    fn title(&self) -> &'static str {
        "galore"
    }

    fn describe(&self) -> String {
        format!("GaLore of {}", rank_in_words(self.rank))
    }

    fn read_keys(&mut self, section: &mut Section) -> Result<()> {
        section.set("rank", &mut self.rank)?;
        section.set("update_interval", &mut self.update_interval)?;
        section.set("scale", &mut self.scale)?;
        read_betas(section, &mut self.beta1, &mut self.beta2)?;
        section.set("eps", &mut self.eps)?;
        section.set("weight_decay", &mut self.weight_decay)
    }

    fn validate(&self, key: &dyn Fn(&str) -> String) -> Result<()> {
        check::at_least_1(&key("update_interval"), self.update_interval.into())?;
        check::positive(&key("scale"), self.scale)?;
        check::from_0_below_1(&key("beta1"), self.beta1)?;
        check::from_0_below_1(&key("beta2"), self.beta2)?;
        check::positive(&key("eps"), self.eps)?;
        check::not_negative(&key("weight_decay"), self.weight_decay)
    }

    fn state(&self, parameter: &Parameter<'_>) -> Result<Vec<StateSpec>> {
        let [m, n] = check_matrix(parameter, "GaLore projects a matrix")?;
        let rank = check_rank(parameter, self.rank)?;
        let [exp_avg, exp_avg_sq] = ["exp_avg", "exp_avg_sq"].map(|what| StateSpec::new(what, &[m.max(n), rank]));
        Ok(vec![StateSpec::new("ortho_matrix", &[m.min(n), rank]), exp_avg, exp_avg_sq])
    }

    fn state_formula(&self) -> String {
        "(min(m, n) + 2·max(m, n))·r".into()
    }

    fn products_formula(&self) -> String {
        "2·r·m·n".into()
    }

    /// Two products of a matrix m×n with one of the smaller side by r, one read and one write of W.
    fn record(
        &self,
        rec: &mut Recorder,
        group: &Group<'_>,
        states: &[GroupState],
        step: StepTensors<'_>,
        lr: f64,
    ) -> Result<()> {
        let update = group.only();
        let [basis, exp_avg, exp_avg_sq] = tensors(states);
        let within = self.in_subspace(rec, &update, [basis, exp_avg, exp_avg_sq], step);
        let whole = project_back(rec, &within.direction, basis, sides(&update));
        let constants = StepConstants { lr, scale: self.scale, weight_decay: self.weight_decay };
        apply(rec, &Scaled::new(&whole), update.weight, step.statistics, step.step, constants);
        Ok(())
    }

    fn reference(&self, parameter: &ReferenceParameter) -> Box<ReferenceStep> {
        not_in_a_page();
        self.reference_with(None, parameter)
    }
}

/// A gradient projected onto its subspace, and Adam's step on it there.
pub(super) struct InSubspace {
    pub projected: Tensor,
    /// Adam's step there.
    pub direction: Tensor,
    /// Squared norms per channel, of the step and of the projected gradient.
    pub sums: Tensor,
}

impl Galore {
    /// Renews the basis when due, projects, and updates the moments: the three states.
    pub(super) fn in_subspace(
        &self,
        rec: &mut Recorder,
        update: &Update<'_>,
        [basis, exp_avg, exp_avg_sq]: [&Tensor; 3],
        step: StepTensors<'_>,
    ) -> InSubspace {
        let shared = [step.statistics, step.step];
        renew_basis(rec, update.gradient, basis, shared, self.update_interval, stream(update.name));
        let projected = project(rec, update.gradient, basis);
        let Self { beta1, beta2, eps, .. } = *self;
        let direction = rec.transient(Class::Scratch, DType::F32, "direction", &projected.shape);
        let constants = SubspaceConstants { beta1, beta2, eps };
        let sums = moments(rec, &projected, [exp_avg, exp_avg_sq], shared, constants, Some(&direction));
        InSubspace { projected, direction, sums }
    }

    /// In f64; with a growth limit it computes Fira, without one GaLore.
    pub(super) fn reference_with(
        &self,
        growth_limit: Option<f64>,
        parameter: &ReferenceParameter,
    ) -> Box<ReferenceStep> {
        let Self { rank, update_interval, scale, beta1, beta2, eps, weight_decay } = *self;
        let [m, n] = parameter.sides;
        let rank = rank_for(rank, m.min(n));
        let hyper =
            reference::galore::Galore { rank, update_interval, scale, growth_limit, beta1, beta2, eps, weight_decay };
        let mut state = reference::galore::State::new(m, n, rank);
        Box::new(move |w, step| {
            reference::galore::step(&hyper, &mut state, w, &step.clipped(), [m, n], step.rate());
        })
    }
}

/// [m, n] of a matrix.
pub(super) fn sides(update: &Update<'_>) -> [usize; 2] {
    [update.weight.shape[0], update.weight.shape[1]]
}
