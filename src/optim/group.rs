//! Parameters of one shape that one rule moves, one after the other in one tensor.

use std::borrow::Cow;

use super::update::{Parameter, State, StateSpec, Update};
use crate::gpu::{Class, DType, Recorder, Tensor};
use crate::settings::Role;

/// Parameters of one shape and one role.
#[derive(Clone, Debug)]
pub struct Group<'a> {
    /// The parameters' names.
    pub names: Cow<'a, [&'a str]>,
    /// Which rule moves them.
    pub role: Role,
    /// Of each weight.
    pub shape: Cow<'a, [usize]>,
    /// All weights, one after the other.
    pub weight: Tensor,
    /// Their gradients.
    pub gradient: Tensor,
    /// What [`super::record_group_lookahead`] returned for them.
    pub lookahead: Option<GroupState>,
}

/// State of all parameters of a group.
#[derive(Clone, Debug)]
pub struct GroupState {
    /// All of it, one after the other.
    pub tensor: Tensor,
    /// Each parameter's own.
    pub states: Vec<State>,
}

impl<'a> Group<'a> {
    /// One parameter.
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
    /// On several.
    pub fn only(&self) -> Update<'_> {
        let [name] = self.names[..] else { panic!("one parameter at a time, not {:?}", self.names) };
        let lookahead = self.lookahead.as_ref().map(|kept| &kept.states[0]);
        Update { name, role: self.role, weight: &self.weight, gradient: &self.gradient, lookahead }
    }

    /// The parameters in groups of at most `n`.
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

    /// Its parameters, which differ in their names alone.
    pub(super) fn parameter(&self) -> Parameter<'_> {
        Parameter { name: self.names[0], role: self.role, shape: &self.shape }
    }

    /// Bytes of a gradient.
    pub(super) fn bytes_each(&self) -> u64 {
        self.gradient.bytes() / self.names.len() as u64
    }

    /// Room for a state, `PARAMETER.what` for each.
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
    /// What each of `n` parameters carries, of all that their rule keeps.
    pub(super) fn by_parameter(kept: &[Self], n: usize) -> Vec<Vec<State>> {
        let of = |index: usize| kept.iter().map(|kept| kept.states[index].clone()).collect();
        (0..n).map(of).collect()
    }
}

/// The tensors of as many states as there are.
pub(super) fn tensors<const N: usize>(states: &[GroupState]) -> [&Tensor; N] {
    assert_eq!(states.len(), N, "states of a method");
    std::array::from_fn(|index| &states[index].tensor)
}

/// The `range` of the `all` equal parts of `tensor`; one of them in its own shape.
fn part(tensor: &Tensor, shape: &[usize], range: std::ops::Range<usize>, all: usize) -> Tensor {
    if range.len() == all && all > 1 {
        return tensor.clone();
    }
    let one: usize = shape.iter().product();
    let n = range.len();
    let part = tensor.reshaped(&[all, one]).rows(range);
    if n == 1 { part.reshaped(shape) } else { part.reshaped(&[&[n], shape].concat()) }
}
