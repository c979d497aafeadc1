//! The memory ledger: every buffer is counted under a class before it is allocated.

use std::collections::BTreeMap;

use serde::Serialize;

/// What a buffer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Weights.
    Parameters,
    /// One gradient per parameter.
    Gradients,
    /// What an optimizer carries from step to step.
    OptimizerState,
    /// What the forward and backward passes keep or pass on; tensors with disjoint lifetimes share buffers.
    Activations,
    /// Everything else: token batches, tables, partial sums, read-back.
    Scratch,
}

impl Class {
    /// All classes, in the order of the table.
    pub const ALL: [Self; 5] =
        [Self::Parameters, Self::Gradients, Self::OptimizerState, Self::Activations, Self::Scratch];

    /// The name in tables and in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Parameters => "parameters",
            Self::Gradients => "gradients",
            Self::OptimizerState => "optimizer_state",
            Self::Activations => "activations",
            Self::Scratch => "scratch",
        }
    }
}

/// Bytes by class.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Memory(BTreeMap<Class, u64>);

impl Memory {
    /// Adds `bytes` under `class`.
    pub fn add(&mut self, class: Class, bytes: u64) {
        *self.0.entry(class).or_default() += bytes;
    }

    /// Bytes under `class`.
    pub fn bytes(&self, class: Class) -> u64 {
        self.0.get(&class).copied().unwrap_or(0)
    }

    /// Bytes of all classes.
    pub fn total(&self) -> u64 {
        self.0.values().sum()
    }
}

/// `1.25 GiB`, `3.00 MiB`, `512 B`.
pub fn bytes_in_words(n: u64) -> String {
    match byte_unit(n) {
        ("B", _) => format!("{n} B"),
        (unit, bytes) => format!("{:.2} {unit}", n as f64 / bytes),
    }
}

/// The largest unit in which `n` bytes are at least 1, and its bytes.
pub fn byte_unit(n: u64) -> (&'static str, f64) {
    let power = (n.max(1).ilog2() / 10).min(4);
    (["B", "KiB", "MiB", "GiB", "TiB"][power as usize], 1024f64.powi(power as i32))
}

/// The lifetime of a transient tensor: the first and last dispatch of its plan that use it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lifetime {
    pub tensor: usize,
    pub bytes: u64,
    pub first: usize,
    pub last: usize,
}

impl Lifetime {
    fn overlaps(&self, other: &Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

/// A buffer shared by tensors with disjoint lifetimes.
#[derive(Debug, Default)]
pub(super) struct Shared {
    pub bytes: u64,
    lives: Vec<Lifetime>,
}

/// Assigns each lifetime, largest first, to the smallest buffer that is free throughout it.
///
/// Whole buffers are shared, not ranges of one, because WebGPU forbids using one buffer both read-only and read-write
/// in a dispatch. `plans` never run at the same time, so they share buffers with each other too. Returns the buffers
/// and, for each tensor, the index of its buffer.
pub(super) fn share(plans: &[Vec<Lifetime>]) -> (Vec<Shared>, Vec<(usize, usize)>) {
    let mut buffers: Vec<Shared> = Vec::new();
    let mut places = Vec::new();
    for plan in plans {
        for buffer in &mut buffers {
            buffer.lives.clear();
        }
        let mut lives = plan.clone();
        lives.sort_by_key(|life| (std::cmp::Reverse(life.bytes), life.tensor));
        for life in lives {
            let fits = |buffer: &Shared| !buffer.lives.iter().any(|other| other.overlaps(&life));
            let free = (0..buffers.len()).filter(|&i| fits(&buffers[i]));
            let best = free.min_by_key(|&i| (buffers[i].bytes.abs_diff(life.bytes), i));
            let index = best.unwrap_or_else(|| {
                buffers.push(Shared::default());
                buffers.len() - 1
            });
            buffers[index].bytes = buffers[index].bytes.max(life.bytes);
            buffers[index].lives.push(life);
            places.push((life.tensor, index));
        }
    }
    (buffers, places)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_the_unit_that_fits() {
        assert_eq!([0, 1023, 1024, 5 << 20].map(bytes_in_words), ["0 B", "1023 B", "1.00 KiB", "5.00 MiB"]);
    }

    #[test]
    fn lifetimes_that_touch_never_share() {
        let life = |tensor, bytes, first, last| Lifetime { tensor, bytes, first, last };
        let plan = vec![life(0, 40, 0, 1), life(1, 16, 1, 2), life(2, 40, 2, 3), life(3, 8, 3, 4)];
        let (buffers, places) = share(std::slice::from_ref(&plan));
        assert_eq!(buffers.iter().map(|b| b.bytes).collect::<Vec<_>>(), [40, 16]);
        let place = |tensor| places.iter().find(|&&(t, _)| t == tensor).unwrap().1;
        assert_eq!((place(0), place(2)), (0, 0));
        assert_eq!((place(1), place(3)), (1, 1));

        let (buffers, _) = share(&[plan.clone(), vec![life(9, 64, 0, 5)]]);
        assert_eq!(buffers.iter().map(|b| b.bytes).sum::<u64>(), 80, "a second plan grows a buffer, it adds none");
    }
}
