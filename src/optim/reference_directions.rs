//! The zeroth-order rules in f64, built from [`crate::reference`]: where they move a parameter, and its update.

use super::Rule;
use super::method::Subspace;
use crate::reference::random::{stream, word_of_seed};
use crate::reference::subzero::Subspaces;
use crate::reference::zeroth_order::{self, Mezo, direction, seed_of_query};

/// The directions of one parameter in a run.
#[derive(Clone, Debug)]
pub struct ReferenceDirections {
    hyper: Mezo,
    subspace: Option<Subspace>,
    shape: Vec<usize>,
    name: String,
    seed: u32,
}

impl ReferenceDirections {
    /// The directions of the parameter `name`, in a run with this seed. Panics for a rule that takes a gradient.
    pub fn new(rule: &Rule, shape: &[usize], name: &str, seed: u64) -> Self {
        let method = rule.on_losses().expect("a zeroth-order rule");
        let settings = method.directions();
        // Norm gains and biases do not decay.
        let weight_decay = if shape.len() > 1 { settings.weight_decay } else { 0.0 };
        let hyper = Mezo { eps: settings.eps, weight_decay };
        let subspace = method.subspace(shape);
        Self { hyper, subspace, shape: shape.to_vec(), name: name.to_owned(), seed: word_of_seed(seed) }
    }

    /// d of step t (from 1) along direction `query` (from 0): the displacement of the weights.
    pub fn change(&self, t: u32, query: u32) -> Vec<f64> {
        let own = [stream(&self.name), seed_of_query(self.seed, query)];
        let z = match self.subspace {
            None => direction(self.shape.iter().product(), t, own),
            Some(Subspace { rank, interval }) => {
                let shape = [self.shape[0], self.shape[1]];
                let streams = ["left_basis", "right_basis"].map(|what| stream(&format!("{}.{what}", self.name)));
                let spaces = Subspaces::at(shape, rank, interval, t, streams, self.seed);
                spaces.direction(&direction(rank * rank, t, own), shape)
            }
        };
        self.hyper.change(&z)
    }

    /// The nearest weights that return exactly after each move.
    pub fn settled(&self, w: &[f64]) -> Vec<f64> {
        w.iter().map(|w| self.hyper.settled(*w)).collect()
    }

    /// Moves w by a gradient along a change; weights decay only with the last direction of a step.
    pub fn step(&self, w: &mut [f64], change: &[f64], gradient: f64, lr: f64, decays: bool) {
        let hyper = Mezo { weight_decay: if decays { self.hyper.weight_decay } else { 0.0 }, ..self.hyper };
        zeroth_order::step(&hyper, w, change, gradient, lr);
    }
}
