//! What an optimizer is: the trait that each optimizer's file implements.

use super::group::{Group, GroupState};
use super::shared::section_of;
use super::update::{Parameter, Perturbed, State, StateSpec, StepTensors};
use crate::gpu::Recorder;
use crate::reference::random;
use crate::settings::{AdapterConfig, Role, Section};
use crate::{Error, Result};

/// An optimizer, represented by its settings.
pub(super) trait Method {
    /// Its name in messages about keys: `adam`.
    fn title(&self) -> &'static str;

    /// Its name in reports: `AdamW`.
    fn describe(&self) -> String;

    /// Reads the section's keys.
    fn read_keys(&mut self, section: &mut Section) -> Result<()>;

    /// Rejects values for which an update would be undefined; `key` turns a key into its full path.
    fn validate(&self, key: &dyn Fn(&str) -> String) -> Result<()>;

    /// The state it carries between steps, in the order of checkpoints.
    ///
    /// Errors: a parameter that it cannot update.
    fn state(&self, parameter: &Parameter<'_>) -> Result<Vec<StateSpec>>;

    /// Size of its state for an m×n matrix, with r the rank of its subspace: `m·n`, or `0`.
    fn state_formula(&self) -> String;

    /// Multiplications in the matrix products of an update of an m×n matrix, with k its smaller side; empty if there
    /// are none.
    fn products_formula(&self) -> String {
        String::new()
    }

    /// How many of `count` parameters of one shape, with gradients of `bytes` each, it updates together.
    fn parameters_per_update(&self, count: usize, bytes: u64) -> usize {
        let _ = (count, bytes);
        1
    }

    /// Whether each row's update depends only on that row, regardless of the number of rows: a matrix that does not fit
    /// one binding is then passed to it in parts.
    fn is_row_wise(&self) -> bool {
        false
    }

    /// Whether its updates should be fused into the backward pass.
    fn is_fused(&self) -> bool {
        false
    }

    /// Records what it does to weights before a step's forward pass, if anything, and returns the one state it uses for
    /// this, which is passed to [`Method::record`].
    fn record_lookahead(
        &self,
        _rec: &mut Recorder,
        _group: &Group<'_>,
        _step: StepTensors<'_>,
        _lr: f64,
    ) -> Option<GroupState> {
        None
    }

    /// Records the update of as many parameters as [`Method::parameters_per_update`] returns, with the states of
    /// [`Method::state`].
    ///
    /// Zeroth-order methods do not implement it.
    /// Errors: a parameter that it cannot update.
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

    /// The same in f64, before the first step. Zeroth-order methods have none, and panic.
    fn reference(&self, _parameter: &ReferenceParameter) -> Box<ReferenceStep> {
        panic!("a zeroth-order method takes losses, not a gradient")
    }

    /// Its last step on a matrix, up to a factor, from the state after it, with its name; `None` if the state does not
    /// determine it.
    fn seen_step(&self, _seen: &SeenStep<'_>) -> Option<(&'static str, Vec<f64>)> {
        None
    }

    /// The rest of the implementation, if it takes losses instead of a gradient.
    fn zeroth_order(&self) -> Option<&dyn ZerothOrder> {
        None
    }
}

/// A method that takes only losses: two along every direction of a step.
pub(super) trait ZerothOrder {
    /// How it estimates the gradient along a direction.
    fn directions(&self) -> Directions;

    /// The adapters that it trains instead of the model.
    fn adapter(&self) -> Option<AdapterConfig> {
        None
    }

    /// Directions per step in an epoch, from 0, of a run of `epochs`.
    fn queries_at(&self, _epoch: u64, _epochs: f64) -> u32 {
        self.directions().queries
    }

    /// The subspace of the directions for a parameter of this shape, if they are restricted to one.
    fn subspace(&self, _shape: &[usize]) -> Option<Subspace> {
        None
    }

    /// Records what it does at the start of a step, before a parameter first moves, to the states of [`Method::state`].
    fn prepare(&self, _rec: &mut Recorder, _parameter: &Perturbed<'_>, _states: &[State]) {}

    /// Records one move of a parameter: to where a loss is taken, back, or an update.
    fn record_move(&self, rec: &mut Recorder, parameter: &Perturbed<'_>, states: &[State], lr: f64);
}

/// How a zeroth-order method estimates the gradient along a direction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Directions {
    /// ε: distance from the weights at which the two losses are taken, in standard deviations per weight.
    pub eps: f64,
    /// Most directions per step, each with two losses; the step is their mean.
    pub queries: u32,
    /// Weight decay: added to the estimated gradient, times the weight.
    pub weight_decay: f64,
}

/// Random directions of low rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Subspace {
    /// r.
    pub rank: usize,
    /// Steps between redraws.
    pub interval: u32,
}

/// Called first in every [`Method::reference`]: a page calls none of them, and need not download their mathematics.
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
    /// The random stream of its name, and the run's seed.
    pub random: [u32; 2],
}

impl ReferenceParameter {
    pub fn new(shape: &[usize], name: &str, seed: u64) -> Self {
        let (is_matrix, sides) = match *shape {
            [m, n] => (true, [m, n]),
            [n] => (false, [1, n]),
            _ => panic!("expected a matrix or a vector, got {shape:?}"),
        };
        Self { is_matrix, sides, random: [random::stream(name), random::word_of_seed(seed)] }
    }

    /// Number of elements of the weight.
    pub fn len(&self) -> usize {
        self.sides[0] * self.sides[1]
    }
}

/// Makes one step of a weight `[m·n]`.
pub(super) type ReferenceStep = dyn FnMut(&mut [f64], Step<'_>);

/// The inputs of a step.
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

/// A completed step, as a run saw it.
#[derive(Clone, Copy, Debug)]
pub struct SeenStep<'a> {
    /// Its number, from 1.
    pub number: u64,
    /// `[m·n]`.
    pub gradient: &'a [f32],
    /// The clip factor on the gradient.
    pub clip: f32,
    /// The states after it, in order.
    pub states: &'a [Vec<f32>],
}
