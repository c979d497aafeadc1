//! What an optimizer is: the trait that its file implements, with everything about it.

use super::group::{Group, GroupState};
use super::shared::section_of;
use super::update::{Parameter, Perturbed, State, StateSpec, StepTensors};
use crate::gpu::Recorder;
use crate::reference::random;
use crate::settings::{AdapterConfig, Role, Section};
use crate::{Error, Result};

/// An optimizer, as its settings.
pub(super) trait Method {
    /// What to call it in a message about a key: `adam`.
    fn title(&self) -> &'static str;

    /// What to call it in a report: `AdamW`.
    fn describe(&self) -> String;

    /// Takes the section's keys.
    fn read_keys(&mut self, section: &mut Section) -> Result<()>;

    /// Refuses values for which an update would be undefined; `key` turns a key into its place.
    fn validate(&self, key: &dyn Fn(&str) -> String) -> Result<()>;

    /// What it carries from one step to the next, in the order in which it is saved.
    ///
    /// Errors: a parameter that it cannot move.
    fn state(&self, parameter: &Parameter<'_>) -> Result<Vec<StateSpec>>;

    /// Numbers that it carries for a matrix m×n, r the rank of its subspace: `m·n`, or `0`.
    fn state_formula(&self) -> String;

    /// Multiplications of the matrix products in an update of a matrix m×n, k its smaller side; empty where there are none.
    fn products_formula(&self) -> String {
        String::new()
    }

    /// How many of `count` parameters of one shape, with gradients of `bytes` each, it moves at once.
    fn at_once(&self, count: usize, bytes: u64) -> usize {
        let _ = (count, bytes);
        1
    }

    /// Whether it moves each row of a matrix by what stands in that row alone, however many rows there are: a matrix that does
    /// not fit one binding is then handed to it in parts.
    fn is_row_wise(&self) -> bool {
        false
    }

    /// Whether its updates are meant to be made inside the backward pass.
    fn is_fused(&self) -> bool {
        false
    }

    /// Records what it does to weights before a step's forward pass, if it does anything, and the one state that it made
    /// for it, which [`Method::record`] gets.
    fn record_lookahead(
        &self,
        _rec: &mut Recorder,
        _group: &Group<'_>,
        _step: StepTensors<'_>,
        _lr: f64,
    ) -> Option<GroupState> {
        None
    }

    /// Records the update of as many parameters as [`Method::at_once`] says, whose states are those of [`Method::state`].
    ///
    /// A zeroth-order method has none. Errors: a parameter that it cannot move.
    fn record(
        &self,
        _rec: &mut Recorder,
        group: &Group<'_>,
        _states: &[GroupState],
        _step: StepTensors<'_>,
        _lr: f64,
    ) -> Result<()> {
        Err(refuse_gradients(group.role))
    }

    /// The same in f64, before the first step. A zeroth-order method has none, and panics.
    fn reference(&self, _parameter: &ReferenceParameter) -> Box<ReferenceStep> {
        panic!("a zeroth-order method takes losses, not a gradient")
    }

    /// Its last step on a matrix by the state after it, up to a factor, and its name; none where that does not tell.
    fn seen_step(&self, _seen: &SeenStep<'_>) -> Option<(&'static str, Vec<f64>)> {
        None
    }

    /// The rest of it, where it takes losses and no gradient.
    fn zeroth_order(&self) -> Option<&dyn ZerothOrder> {
        None
    }
}

/// A method that takes losses alone: two along every direction of a step.
pub(super) trait ZerothOrder {
    /// How it estimates the gradient along a direction.
    fn directions(&self) -> Directions;

    /// The adapters that it trains in the place of the model.
    fn adapter(&self) -> Option<AdapterConfig> {
        None
    }

    /// Directions of a step in an epoch, from 0, of a run of so many.
    fn queries_at(&self, _epoch: u64, _epochs: f64) -> u32 {
        self.directions().queries
    }

    /// Where the directions of a parameter of this shape lie, if not everywhere.
    fn subspace(&self, _shape: &[usize]) -> Option<Subspace> {
        None
    }

    /// Records what it does at the beginning of a step, before a parameter first moves, to the states of [`Method::state`].
    fn prepare(&self, _rec: &mut Recorder, _parameter: &Perturbed<'_>, _states: &[State]) {}

    /// Records one move of a parameter: to where a loss is taken, back, or an update.
    fn record_move(&self, rec: &mut Recorder, parameter: &Perturbed<'_>, states: &[State], lr: f64);
}

/// How a zeroth-order method estimates the gradient along a direction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Directions {
    /// ε: how far from the weights, in standard deviations of one weight, the two losses are taken.
    pub eps: f64,
    /// The most directions of a step, each with two losses; the step is the mean over them.
    pub queries: u32,
    /// Added to the estimated gradient, times the weight.
    pub weight_decay: f64,
}

/// Random directions of low rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Subspace {
    /// r.
    pub rank: usize,
    /// Steps after which another is drawn.
    pub interval: u32,
}

/// Stands at the beginning of every [`Method::reference`]: a page asks for none, and need not download its mathematics.
#[inline(always)]
pub(super) fn not_in_a_page() {
    if cfg!(target_arch = "wasm32") {
        unreachable!("a page has no reference of an update");
    }
}

pub(super) fn refuse_gradients(role: Role) -> Error {
    let message = "is a zeroth-order method, which takes losses and no gradient";
    Error::config(format!("{}.name", section_of(role)), message)
}

/// A parameter whose update is computed in f64.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReferenceParameter {
    pub is_matrix: bool,
    /// m×n; a vector is a matrix of one row.
    pub sides: [usize; 2],
    /// The stream of its name, and the run's seed.
    pub random: [u32; 2],
}

impl ReferenceParameter {
    pub fn new(shape: &[usize], name: &str, seed: u64) -> Self {
        let (is_matrix, sides) = match *shape {
            [m, n] => (true, [m, n]),
            [n] => (false, [1, n]),
            _ => panic!("a matrix or a vector is wanted, got {shape:?}"),
        };
        Self { is_matrix, sides, random: [random::stream(name), random::word_of_seed(seed)] }
    }

    /// Numbers of the weight.
    pub fn len(&self) -> usize {
        self.sides[0] * self.sides[1]
    }
}

/// One step of a weight `[m·n]`.
pub(super) type ReferenceStep = dyn FnMut(&mut [f64], Step<'_>);

/// What a step is made of.
pub(super) struct Step<'a> {
    /// `[m·n]`.
    pub gradient: &'a [f64],
    pub clip: f64,
    pub lr: f64,
    pub schedule: f64,
}

impl Step<'_> {
    pub fn clipped(&self) -> Vec<f64> {
        self.gradient.iter().map(|g| self.clip * g).collect()
    }

    pub fn rate(&self) -> f64 {
        self.lr * self.schedule
    }
}

/// A step that was made, as a run saw it.
#[derive(Clone, Copy, Debug)]
pub struct SeenStep<'a> {
    /// Its number, from 1.
    pub number: u64,
    /// `[m·n]`.
    pub gradient: &'a [f32],
    /// What the gradient was multiplied by.
    pub clip: f32,
    /// The states after it, in their order.
    pub states: &'a [Vec<f32>],
}
