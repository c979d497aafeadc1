//! Training batches: every epoch takes each window once, in an order determined by seed and epoch.

use std::ops::Range;

use super::tokens::Tokens;
use super::windows::shorter_windows;
use crate::{Error, Result};

/// Batches of windows of a token sequence: `[batch_size, sequence_length]` input ids and the ids that follow them.
///
/// A window is `sequence_length + 1` ids. Neighbouring windows share one id, the last target of one and the first input
/// of the next. Every epoch starts its windows at a different phase, so that the model does not see the same cuts
/// again. This skips at most `2 * sequence_length` ids per epoch at the ends, different ones every epoch.
#[derive(Debug, Clone)]
pub struct Batches<'a> {
    tokens: &'a Tokens,
    batch_size: usize,
    sequence_length: usize,
    seed: u64,
    n_windows: u64,
    n_phases: u64,
}

impl<'a> Batches<'a> {
    /// Windows over `tokens`.
    ///
    /// # Errors
    /// If there are fewer tokens than one window.
    ///
    /// # Panics
    /// If a size is zero.
    pub fn new(tokens: &'a Tokens, batch_size: usize, sequence_length: usize, seed: u64) -> Result<Self> {
        assert!(batch_size > 0 && sequence_length > 0, "batch_size {batch_size}, sequence_length {sequence_length}");
        let len = tokens.len();
        if len <= sequence_length {
            return Err(Error::Data(format!(
                "the training text has {len} tokens, but one window takes {}: {}train on more text",
                sequence_length + 1,
                if len < 2 { String::new() } else { shorter_windows(len) + "or " }
            )));
        }
        let n_windows = n_windows(len, sequence_length);
        let n_phases = (len - n_windows * sequence_length).min(sequence_length);
        let (n_windows, n_phases) = (n_windows as u64, n_phases as u64);
        Ok(Self { tokens, batch_size, sequence_length, seed, n_windows, n_phases })
    }

    /// Windows per epoch; the last batch of an epoch continues with windows of the next.
    pub fn windows_per_epoch(&self) -> u64 {
        self.n_windows
    }

    /// The number of epochs completed when `step` begins.
    pub fn epoch_of(&self, step: u64) -> f64 {
        step as f64 * self.batch_size as f64 / self.n_windows as f64
    }

    /// Writes the batch of `step`, `[batch_size, sequence_length]` each; it depends only on tokens, seed and step.
    ///
    /// # Errors
    /// See [`Tokens::copy_to`].
    ///
    /// # Panics
    /// If a slice has another length.
    pub fn fill(&self, step: u64, inputs: &mut [u32], targets: &mut [u32]) -> Result<()> {
        self.fill_rows(step, 0..self.batch_size, inputs, targets)
    }

    /// The same for some of the batch's rows.
    ///
    /// # Errors
    /// See [`Tokens::copy_to`].
    ///
    /// # Panics
    /// If a slice has another length, or the batch has no such rows.
    pub fn fill_rows(&self, step: u64, rows: Range<usize>, inputs: &mut [u32], targets: &mut [u32]) -> Result<()> {
        assert!(rows.end <= self.batch_size, "rows {rows:?} of a batch of {}", self.batch_size);
        let n_ids = rows.len() * self.sequence_length;
        assert_eq!((inputs.len(), targets.len()), (n_ids, n_ids), "inputs and targets of a batch");
        let windows = inputs.chunks_exact_mut(self.sequence_length).zip(targets.chunks_exact_mut(self.sequence_length));
        for (row, (inputs, targets)) in rows.zip(windows) {
            let start = self.window_start(step * self.batch_size as u64 + row as u64);
            self.tokens.copy_to(start, inputs)?;
            self.tokens.copy_to(start + 1, targets)?;
        }
        Ok(())
    }

    /// Where the `n`-th window of the run begins.
    fn window_start(&self, n: u64) -> usize {
        let (epoch, position) = (n / self.n_windows, n % self.n_windows);
        let key = mix(mix(self.seed) ^ epoch);
        let phase = mix(key) % self.n_phases;
        let window = permuted(position, self.n_windows, key);
        (phase + window * self.sequence_length as u64) as usize
    }
}

/// The number of windows that fit at every phase, so that the epoch of a step follows by arithmetic.
pub(crate) fn n_windows(n_tokens: usize, sequence_length: usize) -> usize {
    (n_tokens.saturating_sub(sequence_length) / sequence_length).max(1)
}

/// The image of `index` under a permutation of `0..n` that depends on `key`, without a table.
///
/// A Feistel network permutes the next power of four; indices that land outside `0..n` are permuted again (cycle
/// walking: Black and Rogaway, "Ciphers with Arbitrary Finite Domains", 2002).
fn permuted(index: u64, n: u64, key: u64) -> u64 {
    const ROUNDS: u64 = 8;
    let bits = (u64::BITS - (n - 1).leading_zeros()).div_ceil(2).max(1);
    let mask = (1 << bits) - 1;
    let mut value = index;
    loop {
        let (mut left, mut right) = (value >> bits, value & mask);
        for round in 0..ROUNDS {
            let noise = mix(key.wrapping_add(round) ^ mix(right)) & mask;
            (left, right) = (right, left ^ noise);
        }
        value = left << bits | right;
        if value < n {
            return value;
        }
    }
}

/// SplitMix64's step: integer arithmetic only, hence the same on every platform (Steele, Lea and Flood, 2014).
fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    const B: usize = 4;
    const T: usize = 5;

    fn counting(n: u32) -> Tokens {
        Tokens::Owned((0..n).collect())
    }

    fn fill(batches: &Batches<'_>, step: u64) -> (Vec<u32>, Vec<u32>) {
        let n_ids = batches.batch_size * batches.sequence_length;
        let (mut inputs, mut targets) = (vec![0; n_ids], vec![0; n_ids]);
        batches.fill(step, &mut inputs, &mut targets).unwrap();
        (inputs, targets)
    }

    /// The first id of every row in the first `n_steps` batches: with counting tokens, where the windows begin.
    fn starts(batches: &Batches<'_>, n_steps: u64) -> Vec<u32> {
        (0..n_steps).flat_map(|step| fill(batches, step).0.into_iter().step_by(batches.sequence_length)).collect()
    }

    #[test]
    fn targets_are_the_next_ids() {
        let tokens = counting(1000);
        let batches = Batches::new(&tokens, B, T, 1).unwrap();
        for step in 0..100 {
            let (inputs, targets) = fill(&batches, step);
            for (row, next) in inputs.chunks(T).zip(targets.chunks(T)) {
                assert!(row.windows(2).all(|pair| pair[1] == pair[0] + 1));
                assert!(row.iter().zip(next).all(|(id, target)| *target == id + 1));
            }
        }
    }

    #[test]
    fn every_epoch_takes_each_window_once() {
        for n_tokens in [6, 7, 10, 11, 23, 100, 101, 102, 103, 104, 1000] {
            let tokens = counting(n_tokens);
            let batches = Batches::new(&tokens, B, T, 7).unwrap();
            let n_windows = batches.windows_per_epoch() as usize;
            let starts = starts(&batches, 40 * n_windows.div_ceil(B) as u64);
            let mut phases = std::collections::HashSet::new();
            let mut orders = std::collections::HashSet::new();
            for epoch in starts.chunks_exact(n_windows) {
                let mut sorted = epoch.to_vec();
                sorted.sort();
                let phase = sorted[0];
                let expected: Vec<u32> = (0..n_windows as u32).map(|i| phase + i * T as u32).collect();
                assert_eq!(sorted, expected, "{n_tokens} tokens");
                phases.insert(phase);
                orders.insert(epoch.iter().map(|start| start - phase).collect::<Vec<_>>());
            }
            let lost = n_tokens as usize - n_windows * T;
            assert!(lost <= 2 * T, "{n_tokens} tokens: {lost} lost");
            assert_eq!(phases.len(), batches.n_phases as usize, "{n_tokens} tokens: all phases occur in 40 epochs");
            if n_windows >= 10 {
                assert!(orders.len() > 30, "{n_tokens} tokens: {} orders", orders.len());
            }
        }
    }

    #[test]
    fn a_permutation_moves_indices_everywhere() {
        let n = 16;
        let mut counts = vec![0; n as usize * n as usize];
        for key in 0..3200 {
            for index in 0..n {
                counts[(index * n + permuted(index, n, mix(key))) as usize] += 1;
            }
        }
        // 200 expected in each cell, standard deviation 14.
        assert!(counts.iter().all(|count| (120..280).contains(count)), "{counts:?}");
    }

    #[test]
    fn a_batch_depends_on_seed_and_step_alone() {
        let tokens = counting(10_000);
        let straight = Batches::new(&tokens, B, T, 3).unwrap();
        let resumed = Batches::new(&tokens, B, T, 3).unwrap();
        let far = 123_456_789; // thousands of epochs on
        assert_eq!(fill(&straight, far), fill(&resumed, far));
        let other = Batches::new(&tokens, B, T, 4).unwrap();
        assert_ne!(starts(&straight, 5), starts(&other, 5));
        let other = Batches::new(&tokens, B, T, 3 | 1 << 32).unwrap();
        assert_ne!(starts(&straight, 5), starts(&other, 5), "the upper half of a seed counts");
        // Frozen: a change here would change every published run.
        assert_eq!(starts(&straight, 1), [947, 9097, 8502, 542]);
    }

    #[test]
    fn rows_of_any_batch_size_are_the_same_stream() {
        let tokens = counting(500);
        let wide = Batches::new(&tokens, 6, T, 3).unwrap();
        let narrow = Batches::new(&tokens, 2, T, 3).unwrap();
        assert_eq!(starts(&wide, 50), starts(&narrow, 150));
    }

    #[test]
    fn epochs_and_short_texts() {
        let tokens = counting(1005);
        let batches = Batches::new(&tokens, B, T, 0).unwrap();
        assert_eq!(batches.windows_per_epoch(), 200);
        assert_eq!(batches.epoch_of(25), 0.5);
        let tokens = counting(5);
        let error = Batches::new(&tokens, B, T, 0).unwrap_err().to_string();
        assert_eq!(
            error,
            "the training text has 5 tokens, but one window takes 6: \
             set train.sequence_length to 4 or less, or train on more text"
        );
    }
}
