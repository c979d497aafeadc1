//! Stochastic gradient descent, stateless unless it has momentum.

use serde::Serialize;

use super::group::{Group, GroupState};
use super::method::{Method, ReferenceParameter, ReferenceStep, SeenStep, not_in_a_page};
use super::update::{Parameter, StateSpec, StepTensors};
use crate::gpu::Recorder;
use crate::kernels::sgd::{MomentumConstants, sgd, sgd_momentum};
use crate::reference;
use crate::settings::{Section, check};
use crate::{Error, Result};

/// Stochastic gradient descent, as PyTorch computes it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Sgd {
    /// Decay of the summed gradient; 0 for none.
    pub momentum: f64,
    /// Weight decay: added to the gradient, times the weight.
    pub weight_decay: f64,
    /// Whether to use Nesterov momentum.
    pub nesterov: bool,
}

impl Method for Sgd {
    fn title(&self) -> &'static str {
        "sgd"
    }

    fn describe(&self) -> String {
        "the gradient itself (SGD)".into()
    }

    fn read_keys(&mut self, section: &mut Section) -> Result<()> {
        section.set("momentum", &mut self.momentum)?;
        section.set("weight_decay", &mut self.weight_decay)?;
        section.set("nesterov", &mut self.nesterov)
    }

    fn validate(&self, key: &dyn Fn(&str) -> String) -> Result<()> {
        check::from_0_below_1(&key("momentum"), self.momentum)?;
        check::not_negative(&key("weight_decay"), self.weight_decay)?;
        if self.nesterov && self.momentum == 0.0 {
            return Err(Error::config(key("nesterov"), "looks ahead along the momentum, which is 0"));
        }
        Ok(())
    }

    fn state(&self, parameter: &Parameter<'_>) -> Result<Vec<StateSpec>> {
        let momentum = (self.momentum > 0.0).then(|| StateSpec::new("momentum_buffer", parameter.shape));
        Ok(momentum.into_iter().collect())
    }

    fn state_formula(&self) -> String {
        if self.momentum > 0.0 { "m·n" } else { "0" }.into()
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
        let Self { momentum, weight_decay, nesterov } = *self;
        let StepTensors { statistics, step } = step;
        match states {
            [] => sgd(rec, &group.weight, &group.gradient, statistics, step, lr, weight_decay),
            [buffer, ..] => {
                let constants = MomentumConstants { lr, momentum, nesterov, weight_decay };
                sgd_momentum(rec, &group.weight, &group.gradient, &buffer.tensor, statistics, step, constants);
            }
        }
        Ok(())
    }

    fn reference(&self, _: &ReferenceParameter) -> Box<ReferenceStep> {
        not_in_a_page();
        let Self { momentum, weight_decay, nesterov } = *self;
        let hyper = reference::sgd::Sgd { momentum, weight_decay, nesterov };
        let mut state = reference::sgd::State::default();
        Box::new(move |w, step| reference::sgd::step(&hyper, &mut state, w, &step.clipped(), step.rate()))
    }

    fn seen_step(&self, seen: &SeenStep<'_>) -> Option<(&'static str, Vec<f64>)> {
        let buffer = seen.states.first()?;
        let clip = f64::from(seen.clip);
        let lookahead = |(b, g): (&f32, &f32)| match self.nesterov {
            true => clip * f64::from(*g) + self.momentum * f64::from(*b),
            false => f64::from(*b),
        };
        Some(("momentum", buffer.iter().zip(seen.gradient).map(lookahead).collect()))
    }
}
