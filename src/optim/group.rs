//! Parameters of one shape with one rule, stacked in one tensor.

use std::borrow::Cow;

use super::update::{Parameter, State, StateSpec, Update};
use crate::gpu::{Class, DType, Recorder, Tensor};
use crate::settings::Role;

/// Parameters of one shape and one role.
#[derive(Clone, Debug)]
pub struct Group<'a> {
    /// The parameters' names.
    pub names: Cow<'a, [&'a str]>,
    /// The role that determines their rule.
    pub role: Role,
    /// Shape of each weight.
    pub shape: Cow<'a, [usize]>,
    /// All weights, stacked.
    pub weight: Tensor,
    /// Their gradients, stacked.
    pub gradient: Tensor,
    /// What [`super::record_group_lookahead`] returned for them.
    pub lookahead: Option<GroupState>,
}

/// A state of all parameters of a group.
#[derive(Clone, Debug)]
pub struct GroupState {
    /// The stacked tensor.
    pub tensor: Tensor,
    /// Each parameter's part.
    pub states: Vec<State>,
}

impl<'a> Group<'a> {
    /// A group of one parameter.
    pub fn of(update: &Update<'a>) -> Self {
        let kept = |state: &State| GroupState { tensor: state.tensor.clone(), states: vec![state.clone()] };
        Self {
            names: Cow::Owned(vec![update.name]),
            role: update.role,
            shape: Cow::Borrowed(&update.weight.shape),
            weight: update.weight.clone(),
            gradient: update.gradient.clone(),
            lookahead: update.lookahead.map(kept),
        }
    }

    /// The only parameter.
    ///
    /// # Panics
    /// If there are several.
    pub fn only(&self) -> Update<'_> {
        let [name] = self.names[..] else { panic!("one parameter at a time, not {:?}", self.names) };
        let lookahead = self.lookahead.as_ref().map(|kept| &kept.states[0]);
        Update { name, role: self.role, weight: &self.weight, gradient: &self.gradient, lookahead }
    }

    /// Splits the group into groups of at most `n` parameters.
    pub fn parts(&self, n: usize) -> impl Iterator<Item = Group<'_>> {
        let all = self.names.len();
        (0..all).step_by(n.max(1)).map(move |first| {
            let range = first..all.min(first + n);
            let of = |tensor: &Tensor| part(tensor, &self.shape, range.clone(), all);
            let kept = |kept: &GroupState| GroupState {
                tensor: of(&kept.tensor),
                states: kept.states[range.clone()].to_vec(),
            };
            Group {
                names: Cow::Borrowed(&self.names[range.clone()]),
                role: self.role,
                shape: Cow::Borrowed(&self.shape),
                weight: of(&self.weight),
                gradient: of(&self.gradient),
                lookahead: self.lookahead.as_ref().map(kept),
            }
        })
    }

    /// The parameters, which differ only in name.
    pub(super) fn parameter(&self) -> Parameter<'_> {
        Parameter { name: self.names[0], role: self.role, shape: &self.shape }
    }

    /// Bytes of one gradient.
    pub(super) fn bytes_each(&self) -> u64 {
        self.gradient.bytes() / self.names.len() as u64
    }

    /// Allocates a state, `PARAMETER.what` for each.
    pub(super) fn state(&self, rec: &mut Recorder, StateSpec { what, shape }: &StateSpec) -> GroupState {
        let name = |parameter: &str| format!("{parameter}.{what}");
        if let [only] = self.names[..] {
            let state = State::named(rec, only, what, shape);
            let like_weight = *shape == *self.shape;
            let tensor = if like_weight { state.tensor.reshaped(&self.weight.shape) } else { state.tensor.clone() };
            return GroupState { tensor, states: vec![state] };
        }
        let label = format!("{} and {} more", name(self.names[0]), self.names.len() - 1);
        let tensor =
            rec.persistent(Class::OptimizerState, DType::F32, label, &[&[self.names.len()], &shape[..]].concat());
        let of = |(index, parameter): (usize, &&str)| State {
            name: name(parameter),
            tensor: part(&tensor, shape, index..index + 1, self.names.len()),
        };
        let states = self.names.iter().enumerate().map(of).collect();
        GroupState { tensor, states }
    }
}

impl GroupState {
    /// Regroups the states of `n` parameters by parameter.
    pub(super) fn by_parameter(kept: &[Self], n: usize) -> Vec<Vec<State>> {
        let of = |index: usize| kept.iter().map(|kept| kept.states[index].clone()).collect();
        (0..n).map(of).collect()
    }
}

/// The tensors of all states.
pub(super) fn tensors<const N: usize>(states: &[GroupState]) -> [&Tensor; N] {
    assert_eq!(states.len(), N, "states of a method");
    std::array::from_fn(|index| &states[index].tensor)
}

/// Parts `range` of `tensor` split into `all` equal parts; a single part gets its own shape.
fn part(tensor: &Tensor, shape: &[usize], range: std::ops::Range<usize>, all: usize) -> Tensor {
    if range.len() == all && all > 1 {
        return tensor.clone();
    }
    let one: usize = shape.iter().product();
    let n = range.len();
    let part = tensor.reshaped(&[all, one]).rows(range);
    if n == 1 { part.reshaped(shape) } else { part.reshaped(&[&[n], shape].concat()) }
}
