//! AdaZeta (Yang et al. 2024, arXiv 2406.18060): MeZO on adapters in tensor-train form, with more directions per step
//! in each epoch.

use serde::Serialize;

use super::method::{Directions, Method, ZerothOrder};
use super::mezo::Mezo;
use super::update::{Parameter, Perturbed, State, StateSpec};
use crate::gpu::Recorder;
use crate::settings::{AdapterConfig, Section, check};
use crate::{Error, Result};

/// AdaZeta (Yang et al. 2024, arXiv 2406.18060): MeZO on adapters in tensor-train form, with more directions per step
/// in each epoch. The model itself does not change.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Adazeta {
    /// The settings it shares with MeZO; its `queries` is the maximum number of directions per step.
    #[serde(flatten)]
    pub mezo: Mezo,
    /// The adapters it trains.
    #[serde(flatten)]
    pub adapter: AdapterConfig,
    /// α: directions after one epoch.
    pub query_factor: f64,
    /// N: directions after the last epoch, if unlimited.
    pub final_queries: f64,
}

impl Default for Adazeta {
    fn default() -> Self {
        Self {
            mezo: Mezo { queries: 15, ..Mezo::default() },
            adapter: AdapterConfig { bottleneck: 64, tensor_rank: 5, scale: 1.0 },
            query_factor: 0.85,
            final_queries: 20.0,
        }
    }
}

impl Method for Adazeta {
    fn title(&self) -> &'static str {
        "adazeta"
    }

    fn describe(&self) -> String {
        format!("AdaZeta on adapters of rank {}", self.adapter.tensor_rank)
    }

    fn read_keys(&mut self, section: &mut Section) -> Result<()> {
        section.set("bottleneck", &mut self.adapter.bottleneck)?;
        section.set("tensor_rank", &mut self.adapter.tensor_rank)?;
        section.set("scale", &mut self.adapter.scale)?;
        section.set("query_factor", &mut self.query_factor)?;
        section.set("final_queries", &mut self.final_queries)?;
        self.mezo.read_keys(section)
    }

    fn validate(&self, key: &dyn Fn(&str) -> String) -> Result<()> {
        self.adapter.validate(key)?;
        check::positive(&key("query_factor"), self.query_factor)?;
        if !(self.final_queries.is_finite() && self.final_queries >= self.query_factor) {
            let message = format!("must be query_factor ({}) or more, got {}", self.query_factor, self.final_queries);
            return Err(Error::config(key("final_queries"), message));
        }
        self.mezo.validate(key)
    }

    fn state(&self, parameter: &Parameter<'_>) -> Result<Vec<StateSpec>> {
        self.mezo.state(parameter)
    }

    fn state_formula(&self) -> String {
        self.mezo.state_formula()
    }

    fn zeroth_order(&self) -> Option<&dyn ZerothOrder> {
        Some(self)
    }
}

impl ZerothOrder for Adazeta {
    fn directions(&self) -> Directions {
        self.mezo.directions()
    }

    fn adapter(&self) -> Option<AdapterConfig> {
        Some(self.adapter)
    }

    /// max(⌊α·eᵝ⌋, 1), up to the limit, with β such that the last epoch has N: from the authors' run.py.
    fn queries_at(&self, epoch: u64, epochs: f64) -> u32 {
        let (first, last) = (self.query_factor, self.final_queries);
        let grown = if epoch == 0 {
            0.0
        } else if epochs > 1.0 {
            first * (epoch as f64).powf((last / first).ln() / epochs.ln())
        } else {
            first
        };
        (grown.floor().max(1.0) as u32).min(self.mezo.queries)
    }

    fn record_move(&self, rec: &mut Recorder, parameter: &Perturbed<'_>, states: &[State], lr: f64) {
        self.mezo.record_move(rec, parameter, states, lr);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directions_grow_from_epoch_to_epoch_to_the_limit() {
        let config = Adazeta::default();
        let of = |epochs: f64| (0..10).map(|epoch| config.queries_at(epoch, epochs)).collect::<Vec<_>>();
        // 0.85·eᵝ with β = ln(20/0.85)/ln(10) = 1.3716.
        assert_eq!(of(10.0), [1, 1, 2, 3, 5, 7, 9, 12, 14, 15]);
        assert_eq!(of(0.5)[0], 1);
        assert!(of(1.5).iter().all(|queries| (1..=15).contains(queries)));
    }
}
