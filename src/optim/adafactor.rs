//! Adafactor (Shazeer & Stern 2018, arXiv 1804.04235, algorithms 4 and 5): the second moment of an m×n matrix as m + n
//! averages, updates clipped to a root mean square of d, and a rate relative to the weight's root mean square.

use serde::Serialize;

use super::group::{Group, GroupState};
use super::method::{Method, ReferenceParameter, ReferenceStep, not_in_a_page};
use super::shared::check_width;
use super::update::{Parameter, StateSpec, StepTensors};
use crate::Result;
use crate::gpu::Recorder;
use crate::kernels::effective_lr::{RateConstants, apply_effective_lr, update_rates};
use crate::kernels::factored::{FactoredConstants, Factors, average_squares, over_root};
use crate::reference;
use crate::settings::{Section, check};

/// Adafactor (Shazeer & Stern 2018, arXiv 1804.04235, algorithms 4 and 5) without momentum; the defaults are the paper's.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Adafactor {
    /// The decay of the averages in step t is 1 − t^−decay_rate.
    pub decay_rate: f64,
    /// ε₁, added to every square.
    pub eps1: f64,
    /// ε₂: a smaller root mean square of the weight counts as this.
    pub eps2: f64,
    /// d: an update with a larger root mean square is scaled down to this one.
    pub clip_threshold: f64,
    /// Whether the rate in step t is at most 1/√t.
    pub relative_step: bool,
    /// Whether the rate is multiplied by the weight's root mean square.
    pub scale_parameter: bool,
    /// Decoupled weight decay, times the rate.
    pub weight_decay: f64,
}

impl Default for Adafactor {
    fn default() -> Self {
        Self {
            decay_rate: 0.8,
            eps1: 1e-30,
            eps2: 1e-3,
            clip_threshold: 1.0,
            relative_step: true,
            scale_parameter: true,
            weight_decay: 0.0,
        }
    }
}

impl Method for Adafactor {
    fn title(&self) -> &'static str {
        "adafactor"
    }

    fn describe(&self) -> String {
        "Adafactor".into()
    }

    fn read_keys(&mut self, section: &mut Section) -> Result<()> {
        section.set("decay_rate", &mut self.decay_rate)?;
        section.set("eps1", &mut self.eps1)?;
        section.set("eps2", &mut self.eps2)?;
        section.set("clip_threshold", &mut self.clip_threshold)?;
        section.set("relative_step", &mut self.relative_step)?;
        section.set("scale_parameter", &mut self.scale_parameter)?;
        section.set("weight_decay", &mut self.weight_decay)
    }

    fn validate(&self, key: &dyn Fn(&str) -> String) -> Result<()> {
        check::between_0_and_1(&key("decay_rate"), self.decay_rate)?;
        check::positive(&key("eps1"), self.eps1)?;
        check::positive(&key("eps2"), self.eps2)?;
        check::positive(&key("clip_threshold"), self.clip_threshold)?;
        check::not_negative(&key("weight_decay"), self.weight_decay)
    }

    fn state(&self, parameter: &Parameter<'_>) -> Result<Vec<StateSpec>> {
        check_width(parameter)?;
        Ok(match *parameter.shape {
            [m, n] => vec![StateSpec::new("exp_avg_sq_row", &[m]), StateSpec::new("exp_avg_sq_col", &[n])],
            _ => vec![StateSpec::new("exp_avg_sq", parameter.shape)], // a vector's squares are averaged per element
        })
    }

    fn state_formula(&self) -> String {
        "m + n".into()
    }

    /// Four reads of G and three of W, one write of W.
    fn record(
        &self,
        rec: &mut Recorder,
        group: &Group<'_>,
        states: &[GroupState],
        step: StepTensors<'_>,
        lr: f64,
    ) -> Result<()> {
        let update = group.only();
        let (row, col) = match states {
            [row, col] => (Some(&row.tensor), &col.tensor),
            _ => (None, &states[0].tensor),
        };
        let factors = Factors { row, col };
        let StepTensors { statistics, step } = step;
        let constants = FactoredConstants { decay_rate: self.decay_rate, eps: self.eps1 };
        average_squares(rec, update.gradient, factors, statistics, step, constants);
        let x = over_root(rec, update.gradient, factors, statistics);
        let constants = RateConstants {
            lr,
            clip_threshold: self.clip_threshold,
            relative: self.relative_step,
            least_rms: self.scale_parameter.then_some(self.eps2),
        };
        let rates = update_rates(rec, &x, update.weight, step, constants);
        apply_effective_lr(rec, &x, update.weight, &rates, [statistics, step], [1.0, self.weight_decay]);
        Ok(())
    }

    fn reference(&self, parameter: &ReferenceParameter) -> Box<ReferenceStep> {
        not_in_a_page();
        let Self { decay_rate, eps1, eps2, clip_threshold, relative_step, scale_parameter, weight_decay } = *self;
        let hyper = reference::adafactor::Adafactor {
            decay_rate,
            eps1,
            eps2,
            clip_threshold,
            relative_step,
            scale_parameter,
            weight_decay,
        };
        let [m, n] = parameter.sides;
        let mut state = reference::adafactor::State::new(if parameter.is_matrix { m } else { 0 }, n);
        Box::new(move |w, step| {
            reference::adafactor::step(&hyper, &mut state, w, &step.clipped(), step.lr, step.schedule);
        })
    }
}
