//! Parameters to update, and their state.

use crate::gpu::{Class, DType, Recorder, Tensor};
use crate::settings::Role;

/// A parameter to update.
#[derive(Clone, Copy, Debug)]
pub struct Update<'a> {
    /// The parameter's name.
    pub name: &'a str,
    /// The role that determines its rule.
    pub role: Role,
    /// The weight.
    pub weight: &'a Tensor,
    /// Its gradient.
    pub gradient: &'a Tensor,
    /// What [`record_lookahead`](super::record_lookahead) returned for it.
    pub lookahead: Option<&'a State>,
}

/// The tensors shared by all updates of a step.
#[derive(Clone, Copy, Debug)]
pub struct StepTensors<'a> {
    /// Loss, clip factor and norms: see [`crate::kernels::norms::Statistics`].
    pub statistics: &'a Tensor,
    /// The `Step` of shaders/lib/step.wgsl, 4 words.
    pub step: &'a Tensor,
}

/// A parameter moved by a zeroth-order method.
#[derive(Clone, Copy, Debug)]
pub struct Perturbed<'a> {
    /// The parameter's name.
    pub name: &'a str,
    /// The role that determines its settings.
    pub role: Role,
    /// The weight.
    pub weight: &'a Tensor,
    /// Index of the weight's first element within the whole parameter, if the weight is a part of one.
    pub first: usize,
    /// `[4]`: how to move it, set by [`crate::kernels::zeroth_order::two_point`].
    pub how: &'a Tensor,
    /// The tensors shared by all parameters.
    pub step: StepTensors<'a>,
}

/// A parameter before memory is allocated for it.
#[derive(Clone, Copy, Debug)]
pub struct Parameter<'a> {
    /// Its name.
    pub name: &'a str,
    /// The role that determines its rule.
    pub role: Role,
    /// `[m, n]`, or `[n]`.
    pub shape: &'a [usize],
}

/// A state that an optimizer carries for one parameter, before memory is allocated for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateSpec {
    /// PyTorch's name: `exp_avg`.
    pub what: &'static str,
    /// Its shape, which may differ from the weight's.
    pub shape: Vec<usize>,
}

impl StateSpec {
    pub(super) fn new(what: &'static str, shape: &[usize]) -> Self {
        Self { what, shape: shape.to_vec() }
    }
}

/// A state that an optimizer carries between steps; zero before the first.
#[derive(Clone, Debug)]
pub struct State {
    /// `PARAMETER.exp_avg` and the like: PyTorch's names.
    pub name: String,
    /// The tensor.
    pub tensor: Tensor,
}

impl State {
    /// `PARAMETER.what`, with its own shape.
    pub(super) fn named(rec: &mut Recorder, parameter: &str, what: &str, shape: &[usize]) -> Self {
        let name = format!("{parameter}.{what}");
        Self { tensor: rec.persistent(Class::OptimizerState, DType::F32, name.clone(), shape), name }
    }
}
