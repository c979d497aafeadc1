//! A recorded plan: its dispatches, including repeated and scheduled ones.

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
    /// Overrides and parameters.
    pub constants: Vec<(&'static str, f64)>,
    /// Only the parameters, in the layout the kernel reads.
    pub params: Vec<u32>,
    pub groups: [u32; 3],
    /// Floating-point operations, if the recording function reports them; otherwise 0.
    pub flops: u64,
    /// Where a gate writes the workgroup counts: `groups` or zeros.
    pub gated: Option<Tensor>,
    /// See [`super::Recorder::every_n_steps`].
    pub every: Option<u32>,
    /// See [`super::Recorder::repeated`].
    pub repeat: Option<Repeat>,
}

/// Metadata of a recorded dispatch.
#[derive(Clone, Debug, PartialEq)]
pub struct DispatchInfo {
    /// The kernel.
    pub kernel: &'static Kernel,
    /// Its overrides and parameters.
    pub constants: Vec<(&'static str, f64)>,
    /// Shapes of the bound tensors, in order.
    pub shapes: Vec<Vec<usize>>,
    /// Workgroup counts.
    pub groups: [u32; 3],
    /// Floating-point operations; 0 if not reported, as for memory-bound kernels.
    pub flops: u64,
    /// Bytes of the tensors it reads, each counted once.
    pub bytes_read: u64,
    /// Bytes of the tensors it writes, each counted once.
    pub bytes_written: u64,
}

impl DispatchInfo {
    /// Memory traffic: every tensor it touches is read and written at most once, in full.
    pub fn bytes(&self) -> u64 {
        self.bytes_read + self.bytes_written
    }

    /// The shapes as text: `[8, 16] [16]`.
    pub fn shapes_in_words(&self) -> String {
        self.shapes.iter().map(|shape| format!("{shape:?}")).collect::<Vec<_>>().join(" ")
    }
}

impl Dispatch {
    /// Whether it has neither a gate nor an interval.
    pub fn is_ordinary(&self) -> bool {
        self.gated.is_none() && self.every.is_none()
    }

    /// The constants that specialize its pipeline.
    pub fn overrides(&self) -> Vec<(&'static str, f64)> {
        let is_param = |name: &str| self.kernel.params().iter().any(|param| param.is(name));
        self.constants.iter().copied().filter(|(name, _)| !is_param(name)).collect()
    }

    pub fn info(&self) -> DispatchInfo {
        // A tensor bound twice, as in x·xᵀ, is counted once.
        let mut touched: Vec<(&Tensor, bool, bool)> = Vec::new();
        for (tensor, binding) in self.bindings.iter().zip(self.kernel.bindings()) {
            let [reads, writes] = [binding.reads, binding.writes].map(|touch| touch.with(&self.constants));
            match touched.iter_mut().find(|(known, ..)| *known == tensor) {
                Some((_, read, written)) => (*read, *written) = (*read || reads, *written || writes),
                None => touched.push((tensor, reads, writes)),
            }
        }
        let bytes = |of: fn(&(&Tensor, bool, bool)) -> bool| -> u64 {
            touched.iter().filter(|touch| of(touch)).map(|(tensor, ..)| tensor.bytes()).sum()
        };
        DispatchInfo {
            kernel: self.kernel,
            constants: self.constants.clone(),
            shapes: self.bindings.iter().map(|tensor| tensor.shape.clone()).collect(),
            groups: self.groups,
            flops: self.flops,
            bytes_read: bytes(|(_, read, _)| *read),
            bytes_written: bytes(|(_, _, written)| *written),
        }
    }
}

/// Adjacent dispatches with the same `Repeat` form a body that is run in order, `times` times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Repeat {
    /// Number of dispatches before it in its plan; identifies the repetition.
    pub before: usize,
    pub times: usize,
}

/// Which of the dispatches under [`super::Recorder::every_n_steps`] a replay runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// All of them.
    All,
    /// Those due at this step, counted from 0.
    Step(u64),
    /// None of them.
    None,
}

impl Schedule {
    pub(super) fn includes(self, every: Option<u32>) -> bool {
        match (self, every) {
            (Self::All, _) | (_, None) => true,
            (Self::Step(step), Some(every)) => step.is_multiple_of(every.into()),
            (Self::None, Some(_)) => false,
        }
    }
}

impl PlanRecord {
    /// The dispatch indices in replay order.
    pub fn order(&self) -> Vec<usize> {
        self.pieces().flat_map(|(piece, times)| std::iter::repeat_n(piece, times).flatten()).collect()
    }

    /// The dispatches in order, as ranges with repeat counts.
    pub fn pieces(&self) -> impl Iterator<Item = (Range<usize>, usize)> {
        let mut at = 0;
        self.dispatches.chunk_by(|a, b| a.repeat == b.repeat).map(move |body| {
            let first = at;
            at += body.len();
            (first..at, body[0].repeat.map_or(1, |repeat| repeat.times))
        })
    }
}
