//! A plan as it is recorded: dispatches, those that are repeated, and those that are due at times only.

use std::borrow::Cow;
use std::ops::Range;

use super::kernel::Kernel;
use super::tensor::Tensor;

pub(super) struct PlanRecord {
    pub name: Cow<'static, str>,
    pub dispatches: Vec<Dispatch>,
}

pub(super) struct Dispatch {
    pub kernel: &'static Kernel,
    pub bindings: Vec<Tensor>,
    pub constants: Vec<(&'static str, f64)>,
    pub groups: [u32; 3],
    /// Where a gate writes the workgroups instead: `groups`, or none.
    pub gated: Option<Tensor>,
    /// See [`super::Recorder::every`].
    pub every: Option<u32>,
    /// See [`super::Recorder::repeated`].
    pub repeat: Option<Repeat>,
}

/// Neighbours of one repetition are made one after the other, so many times over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Repeat {
    /// How many dispatches its plan had before it: no other one's number.
    pub before: usize,
    pub times: usize,
}

/// Which of the dispatches that stand under [`super::Recorder::every`] a replay makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// All of them.
    All,
    /// Those of this step, counted from 0.
    Step(u64),
    /// None of them.
    None,
}

impl Due {
    pub(super) fn includes(self, every: Option<u32>) -> bool {
        match (self, every) {
            (Self::All, _) | (_, None) => true,
            (Self::Step(step), Some(every)) => step.is_multiple_of(every.into()),
            (Self::None, Some(_)) => false,
        }
    }
}

impl PlanRecord {
    /// The dispatches' numbers in the order in which a replay makes them.
    pub fn order(&self) -> Vec<usize> {
        self.pieces().flat_map(|(piece, times)| std::iter::repeat_n(piece, times).flatten()).collect()
    }

    /// The dispatches in their order, in pieces that are made so many times over.
    pub fn pieces(&self) -> impl Iterator<Item = (Range<usize>, usize)> {
        let mut at = 0;
        self.dispatches.chunk_by(|a, b| a.repeat == b.repeat).map(move |body| {
            let first = at;
            at += body.len();
            (first..at, body[0].repeat.map_or(1, |repeat| repeat.times))
        })
    }
}
