//! What is updated, and what is kept for it from step to step.

use crate::gpu::{Class, DType, Recorder, Tensor};
use crate::settings::Role;

/// A parameter that is to be updated.
#[derive(Clone, Copy, Debug)]
pub struct Update<'a> {
    /// The parameter's name.
    pub name: &'a str,
    /// Which rule moves it.
    pub role: Role,
    /// The weight.
    pub weight: &'a Tensor,
    /// Its gradient.
    pub gradient: &'a Tensor,
    /// What [`record_lookahead`](super::record_lookahead) returned for it.
    pub lookahead: Option<&'a State>,
}

/// What all updates of a step share.
#[derive(Clone, Copy, Debug)]
pub struct StepTensors<'a> {
    /// Loss, clip factor and norms: see [`crate::kernels::norms::Statistics`].
    pub statistics: &'a Tensor,
    /// The `Step` of shaders/lib/step.wgsl, 4 words.
    pub step: &'a Tensor,
}

/// A parameter that a zeroth-order method moves.
#[derive(Clone, Copy, Debug)]
pub struct Perturbed<'a> {
    /// The parameter's name.
    pub name: &'a str,
    /// Which settings move it.
    pub role: Role,
    /// The weight.
    pub weight: &'a Tensor,
    /// Numbers of the parameter before the first of the weight, where that is a part of it.
    pub first: usize,
    /// `[4]`: where it goes, as [`crate::kernels::zeroth_order::two_point`] says.
    pub how: &'a Tensor,
    /// What all parameters share.
    pub step: StepTensors<'a>,
}

/// A parameter before there is memory for it.
#[derive(Clone, Copy, Debug)]
pub struct Parameter<'a> {
    /// Its name.
    pub name: &'a str,
    /// Which rule moves it.
    pub role: Role,
    /// `[m, n]`, or `[n]`.
    pub shape: &'a [usize],
}

/// What an optimizer carries for one parameter, before there is memory for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateSpec {
    /// PyTorch's name: `exp_avg`.
    pub what: &'static str,
    /// Its own shape, not always the weight's.
    pub shape: Vec<usize>,
}

impl StateSpec {
    pub(super) fn new(what: &'static str, shape: &[usize]) -> Self {
        Self { what, shape: shape.to_vec() }
    }
}

/// What an optimizer carries from one step to the next; zero before the first.
#[derive(Clone, Debug)]
pub struct State {
    /// `PARAMETER.exp_avg` and the like: PyTorch's names.
    pub name: String,
    /// The tensor.
    pub tensor: Tensor,
}

impl State {
    /// `PARAMETER.what`, of a shape of its own.
    pub(super) fn named(rec: &mut Recorder, parameter: &str, what: &str, shape: &[usize]) -> Self {
        let name = format!("{parameter}.{what}");
        Self { tensor: rec.persistent(Class::OptimizerState, DType::F32, name.clone(), shape), name }
    }
}
