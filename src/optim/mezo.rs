//! MeZO (Malladi et al. 2023, arXiv 2305.17333, algorithm 1): a step takes two losses, at w + εz and w − εz, and moves
//! w along z by their difference. Nothing is stored: z is redrawn from the seed wherever it is needed.
//!
//! Each change is rounded to a multiple of at most ε/16, and each weight to the f32 spacing at the change's far end, so
//! that weights return bit-exactly.

use serde::Serialize;

use super::method::{Directions, Method, ZerothOrder};
use super::update::{Parameter, Perturbed, State, StateSpec};
use crate::gpu::Recorder;
use crate::kernels::zeroth_order::{PerturbConstants, perturb};
use crate::reference::random::stream;
use crate::settings::{Section, check};
use crate::{Error, Result};

/// MeZO (Malladi et al. 2023, arXiv 2305.17333): descent along random directions, by the difference of two losses.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Mezo {
    /// ε: distance from the weights at which the two losses are taken, in standard deviations per weight.
    pub eps: f64,
    /// n: directions per step, each with two losses; the step is their mean.
    pub queries: u32,
    /// Weight decay: added to the estimated gradient, times the weight.
    pub weight_decay: f64,
}

impl Mezo {
    /// Most directions per step: a direction's index occupies half a word.
    pub const MAX_QUERIES: u32 = 1024;

    /// Smallest ε: weights return exactly while they are below 2²⁴ times the quantum of at most ε/16, which here is 8.
    const MIN_EPS: f64 = 1e-5;
}

impl Default for Mezo {
    fn default() -> Self {
        Self { eps: 1e-3, queries: 1, weight_decay: 0.0 }
    }
}

impl Method for Mezo {
    fn title(&self) -> &'static str {
        "mezo"
    }

    fn describe(&self) -> String {
        match self.queries {
            1 => "MeZO".into(),
            queries => format!("MeZO of {queries} directions"),
        }
    }

    fn read_keys(&mut self, section: &mut Section) -> Result<()> {
        section.set("eps", &mut self.eps)?;
        section.set("queries", &mut self.queries)?;
        section.set("weight_decay", &mut self.weight_decay)
    }

    fn validate(&self, key: &dyn Fn(&str) -> String) -> Result<()> {
        if !(Self::MIN_EPS..=1.0).contains(&self.eps) {
            let message = format!("must lie between {} and 1, got {}", Self::MIN_EPS, self.eps);
            return Err(Error::config(key("eps"), message));
        }
        if !(1..=Self::MAX_QUERIES).contains(&self.queries) {
            let message = format!("must be from 1 to {}, got {}", Self::MAX_QUERIES, self.queries);
            return Err(Error::config(key("queries"), message));
        }
        check::not_negative(&key("weight_decay"), self.weight_decay)
    }

    fn state(&self, _: &Parameter<'_>) -> Result<Vec<StateSpec>> {
        Ok(Vec::new())
    }

    fn state_formula(&self) -> String {
        "0".into()
    }

    fn is_row_wise(&self) -> bool {
        true
    }

    fn zeroth_order(&self) -> Option<&dyn ZerothOrder> {
        Some(self)
    }
}

impl ZerothOrder for Mezo {
    fn directions(&self) -> Directions {
        Directions { eps: self.eps, queries: self.queries, weight_decay: self.weight_decay }
    }

    /// One read and one write of W.
    fn record_move(&self, rec: &mut Recorder, parameter: &Perturbed<'_>, _: &[State], lr: f64) {
        let constants = self.constants(lr, &parameter.weight.shape);
        let place = (stream(parameter.name), parameter.first);
        perturb(rec, parameter.weight, [parameter.how, parameter.step.step], place, constants);
    }
}

impl Mezo {
    /// Vectors, which are norm gains and biases, do not decay, as in the authors' code.
    pub(super) fn constants(&self, lr: f64, shape: &[usize]) -> PerturbConstants {
        let weight_decay = if shape.len() > 1 { self.weight_decay } else { 0.0 };
        PerturbConstants { eps: self.eps, lr, weight_decay }
    }
}
