//! H-Fac (Nguyen, Chen, Liu & Liu 2024, arXiv 2406.09958): Adam's two moments of an m×n matrix as 2(m + n) averages.

use serde::Serialize;

use super::group::{Group, GroupState, tensors};
use super::method::{Method, ReferenceParameter, ReferenceStep, not_in_a_page};
use super::shared::{check_matrix, check_width, read_betas};
use super::update::{Parameter, StateSpec, StepTensors};
use crate::Result;
use crate::gpu::Recorder;
use crate::kernels::effective_lr::{RateConstants, update_rates};
use crate::kernels::factored::{Factors, over_root};
use crate::kernels::h_fac::{AverageConstants, Averages, apply, average};
use crate::reference;
use crate::settings::{Section, check};

/// H-Fac (Nguyen et al. 2024, arXiv 2406.09958): rank-one momentum and second moment.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HFac {
    /// Decay of the averaged row and column means.
    pub beta1: f64,
    /// Decay of the averaged squares.
    pub beta2: f64,
    /// Added to every square.
    pub eps: f64,
    /// d: a preconditioned gradient with a larger root mean square is scaled down to this one.
    pub clip_threshold: f64,
    /// Decoupled weight decay, times the learning rate.
    pub weight_decay: f64,
}

impl Default for HFac {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.999, eps: 1e-30, clip_threshold: 1.0, weight_decay: 0.0 }
    }
}

impl Method for HFac {
    fn title(&self) -> &'static str {
        "h-fac"
    }

    fn describe(&self) -> String {
        "H-Fac".into()
    }

    fn read_keys(&mut self, section: &mut Section) -> Result<()> {
        read_betas(section, &mut self.beta1, &mut self.beta2)?;
        section.set("eps", &mut self.eps)?;
        section.set("clip_threshold", &mut self.clip_threshold)?;
        section.set("weight_decay", &mut self.weight_decay)
    }

    fn validate(&self, key: &dyn Fn(&str) -> String) -> Result<()> {
        check::from_0_below_1(&key("beta1"), self.beta1)?;
        check::from_0_below_1(&key("beta2"), self.beta2)?;
        check::positive(&key("eps"), self.eps)?;
        check::positive(&key("clip_threshold"), self.clip_threshold)?;
        check::not_negative(&key("weight_decay"), self.weight_decay)
    }

    fn state(&self, parameter: &Parameter<'_>) -> Result<Vec<StateSpec>> {
        let [m, n] = check_matrix(parameter, "H-Fac averages the rows and columns of a matrix")?;
        check_width(parameter)?;
        let [row_mean, row_sq] = ["exp_avg_row", "exp_avg_sq_row"].map(|what| StateSpec::new(what, &[m]));
        let [col_mean, col_sq] = ["exp_avg_col", "exp_avg_sq_col"].map(|what| StateSpec::new(what, &[n]));
        Ok(vec![row_mean, row_sq, col_mean, col_sq])
    }

    fn state_formula(&self) -> String {
        "2·(m + n)".into()
    }

    /// Four reads of G, one read and one write of W.
    fn record(
        &self,
        rec: &mut Recorder,
        group: &Group<'_>,
        states: &[GroupState],
        step: StepTensors<'_>,
        lr: f64,
    ) -> Result<()> {
        let update = group.only();
        let [row_mean, row_sq, col_mean, col_sq] = tensors(states);
        let StepTensors { statistics, step } = step;
        let averages = Averages { rows: [row_mean, row_sq], cols: [col_mean, col_sq] };
        let Self { beta1, beta2, eps, clip_threshold, weight_decay } = *self;
        let constants = AverageConstants { beta1, beta2, eps };
        let lookahead = average(rec, update.gradient, averages, statistics, step, constants);
        let x = over_root(rec, update.gradient, Factors { row: Some(row_sq), col: col_sq }, statistics);
        let constants = RateConstants { lr, clip_threshold, relative: false, least_rms: None };
        let rates = update_rates(rec, &x, update.weight, step, constants);
        apply(rec, &x, update.weight, [&lookahead[0], &lookahead[1]], &rates, [statistics, step], weight_decay);
        Ok(())
    }

    fn reference(&self, parameter: &ReferenceParameter) -> Box<ReferenceStep> {
        not_in_a_page();
        let Self { beta1, beta2, eps, clip_threshold, weight_decay } = *self;
        let hyper = reference::h_fac::HFac { beta1, beta2, eps, clip_threshold, weight_decay };
        let [m, n] = parameter.sides;
        let mut state = reference::h_fac::State::new(m, n);
        Box::new(move |w, step| reference::h_fac::step(&hyper, &mut state, w, &step.clipped(), step.rate()))
    }
}
