//! APOLLO (Zhu et al. 2024, arXiv 2412.05270, algorithm 1), as the authors' apollo-torch 1.0.3 computes it: Adam's
//! moments of a random projection determine each channel's step length, and the gradient itself gives the direction.
//!
//! The projection is regenerated from the run's seed in every step and never stored; it changes every T steps.

use std::str::FromStr;

use serde::Serialize;

use super::group::{Group, GroupState, tensors};
use super::method::{Method, ReferenceParameter, ReferenceStep, not_in_a_page};
use super::shared::{check_matrix, check_rank, rank_for, rank_in_words, read_betas};
use super::update::{Parameter, StateSpec, StepTensors, Update};
use crate::Result;
use crate::gpu::{Class, DType, Recorder, Tensor};
use crate::kernels::apollo::channel_factors;
use crate::kernels::effective_lr::{LimitConstants, apply_effective_lr, growth_limit};
use crate::kernels::random::gaussian;
use crate::kernels::scaled::Scaled;
use crate::kernels::subspace::{self, SubspaceConstants, project};
use crate::reference;
use crate::reference::random::stream;
use crate::settings::{Section, check};

/// APOLLO (Zhu et al. 2024, arXiv 2412.05270, algorithm 1), as its authors' apollo-torch computes it; with rank 1 and
/// one factor for the whole matrix it is APOLLO-Mini.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Apollo {
    /// r: number of random directions to project the smaller side onto; 0 for a quarter of it, as in the papers.
    pub rank: usize,
    /// T: steps between redraws of the directions.
    pub update_interval: u32,
    /// The update is multiplied by the root of this.
    pub scale: f64,
    /// What shares one factor.
    pub scale_of: ScaleOf,
    /// γ: the largest growth of the update's norm per step.
    pub growth_limit: f64,
    /// Decay of the averaged projected gradient.
    pub beta1: f64,
    /// Decay of its averaged square.
    pub beta2: f64,
    /// Added to the root of the averaged square.
    pub eps: f64,
    /// Decoupled weight decay, times the learning rate.
    pub weight_decay: f64,
}

/// What shares one factor of APOLLO.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ScaleOf {
    /// Each row or column along the larger side.
    Channel,
    /// The whole matrix.
    Tensor,
}

impl FromStr for ScaleOf {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        match word {
            "channel" => Ok(Self::Channel),
            "tensor" => Ok(Self::Tensor),
            _ => Err(format!("must be channel or tensor, got `{word}`")),
        }
    }
}

impl Default for Apollo {
    fn default() -> Self {
        Self {
            rank: 0,
            update_interval: 200,
            scale: 1.0,
            scale_of: ScaleOf::Channel,
            growth_limit: 1.01,
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-6,
            weight_decay: 0.0,
        }
    }
}

impl Method for Apollo {
    fn title(&self) -> &'static str {
        "apollo"
    }

    fn describe(&self) -> String {
        let of = match self.scale_of {
            ScaleOf::Channel => "",
            ScaleOf::Tensor => ", one factor",
        };
        format!("APOLLO of {}{of}", rank_in_words(self.rank))
    }

    fn read_keys(&mut self, section: &mut Section) -> Result<()> {
        section.set("rank", &mut self.rank)?;
        section.set("update_interval", &mut self.update_interval)?;
        section.set("scale", &mut self.scale)?;
        section.set_word("scale_of", &mut self.scale_of)?;
        section.set("growth_limit", &mut self.growth_limit)?;
        read_betas(section, &mut self.beta1, &mut self.beta2)?;
        section.set("eps", &mut self.eps)?;
        section.set("weight_decay", &mut self.weight_decay)
    }

    fn validate(&self, key: &dyn Fn(&str) -> String) -> Result<()> {
        check::at_least_1(&key("update_interval"), self.update_interval.into())?;
        check::positive(&key("scale"), self.scale)?;
        check::above_1(&key("growth_limit"), self.growth_limit)?;
        check::from_0_below_1(&key("beta1"), self.beta1)?;
        check::from_0_below_1(&key("beta2"), self.beta2)?;
        check::positive(&key("eps"), self.eps)?;
        check::not_negative(&key("weight_decay"), self.weight_decay)
    }

    fn state(&self, parameter: &Parameter<'_>) -> Result<Vec<StateSpec>> {
        let [m, n] = check_matrix(parameter, "APOLLO scales the channels of a matrix")?;
        let moments = [m.max(n), check_rank(parameter, self.rank)?];
        let [exp_avg, exp_avg_sq] = ["exp_avg", "exp_avg_sq"].map(|what| StateSpec::new(what, &moments));
        Ok(vec![exp_avg, exp_avg_sq, StateSpec::new("update_norm", &[1])])
    }

    fn state_formula(&self) -> String {
        if self.rank == 1 { "2·max(m, n) + 1" } else { "2·max(m, n)·r + 1" }.into()
    }

    fn products_formula(&self) -> String {
        if self.rank == 1 { "m·n" } else { "r·m·n" }.into()
    }

    /// One product of G with the projection, two more reads of G, one read and one write of W.
    fn record(
        &self,
        rec: &mut Recorder,
        group: &Group<'_>,
        states: &[GroupState],
        step: StepTensors<'_>,
        lr: f64,
    ) -> Result<()> {
        let update = group.only();
        let [exp_avg, exp_avg_sq, last] = tensors(states);
        let StepTensors { statistics, step } = step;
        let small = update.weight.shape.iter().copied().min().unwrap_or(0);
        let rank = exp_avg.shape[1];
        let projection = rec.transient(Class::Scratch, DType::F32, "random projection", &[small, rank]);
        let scale = (rank as f64).sqrt().recip();
        gaussian(rec, &projection, step, scale, stream(update.name), self.update_interval);
        let projected = project(rec, update.gradient, &projection);
        let Self { beta1, beta2, eps, growth_limit, weight_decay, .. } = *self;
        let constants = SubspaceConstants { beta1, beta2, eps };
        let sums = subspace::moments(rec, &projected, [exp_avg, exp_avg_sq], [statistics, step], constants, None);
        let factors = channel_factors(rec, &sums, statistics, self.scale_of == ScaleOf::Tensor);
        let limit = LimitConstants { lr, growth_limit, eps: LIMIT_EPS, corrected: Some([beta1, beta2]) };
        let scale_and_decay = [self.scale.sqrt(), weight_decay];
        limited_step(rec, &update, update.gradient, factors, last, [statistics, step], limit, scale_and_decay);
        Ok(())
    }

    fn reference(&self, parameter: &ReferenceParameter) -> Box<ReferenceStep> {
        not_in_a_page();
        let ReferenceParameter { sides: [m, n], random, .. } = *parameter;
        let hyper = reference::apollo::Apollo {
            rank: rank_for(self.rank, m.min(n)),
            update_interval: self.update_interval,
            scale: self.scale,
            whole: self.scale_of == ScaleOf::Tensor,
            growth_limit: self.growth_limit,
            beta1: self.beta1,
            beta2: self.beta2,
            eps: self.eps,
            weight_decay: self.weight_decay,
        };
        let mut state = reference::apollo::State::new(m, n, hyper.rank);
        Box::new(move |w, step| {
            reference::apollo::step(&hyper, &mut state, w, &step.clipped(), [m, n], step.rate(), random);
        })
    }
}

/// Added to the norm that the limiter divides by, as in the authors' Fira and APOLLO.
pub(super) const LIMIT_EPS: f64 = 1e-8;

/// A step along `base`, m×n, with a factor for each channel along the larger side, whose norm growth is limited; `last`
/// `[1]` is the previous step's norm.
#[expect(clippy::too_many_arguments, reason = "what a step is made of")]
pub(super) fn limited_step(
    rec: &mut Recorder,
    update: &Update<'_>,
    base: &Tensor,
    factors: Tensor,
    last: &Tensor,
    [statistics, step]: [&Tensor; 2],
    limit: LimitConstants,
    scale_and_decay: [f64; 2],
) {
    let mut x = Scaled::new(base);
    let [m, n] = x.shape();
    *(if m >= n { &mut x.r } else { &mut x.c }) = Some(factors);
    let rates = growth_limit(rec, &x, last, statistics, step, limit);
    apply_effective_lr(rec, &x, update.weight, &rates, [statistics, step], scale_and_decay);
}
