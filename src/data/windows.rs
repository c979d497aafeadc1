//! Evaluation windows: contiguous, in order, each id predicted once.

use super::tokens::Tokens;
use crate::{Error, Result};

/// The windows of a token sequence from its beginning, `sequence_length` predictions each, in batches.
///
/// A shorter remainder at the end is skipped.
#[derive(Debug, Clone)]
pub struct Windows<'a> {
    tokens: &'a Tokens,
    batch_size: usize,
    sequence_length: usize,
    n_windows: usize,
}

impl<'a> Windows<'a> {
    /// All windows, or as many as predict at most `max_tokens` ids, but at least one.
    ///
    /// # Errors
    /// If there are fewer tokens than one window.
    ///
    /// # Panics
    /// If a size is zero.
    pub fn new(
        tokens: &'a Tokens,
        batch_size: usize,
        sequence_length: usize,
        max_tokens: Option<usize>,
    ) -> Result<Self> {
        assert!(batch_size > 0 && sequence_length > 0, "batch_size {batch_size}, sequence_length {sequence_length}");
        let len = tokens.len();
        if len <= sequence_length {
            return Err(Error::Data(format!(
                "the held-out text has {len} tokens, but one window takes {}: {}raise data.validation_fraction, or \
                 evaluate on more text",
                sequence_length + 1,
                shorter_windows(len)
            )));
        }
        let n_windows =
            ((len - 1) / sequence_length).min(max_tokens.map_or(usize::MAX, |n| n / sequence_length)).max(1);
        Ok(Self { tokens, batch_size, sequence_length, n_windows })
    }

    /// The number of windows.
    pub fn count(&self) -> usize {
        self.n_windows
    }

    /// The number of batches; the last may be partly filled.
    pub fn n_batches(&self) -> usize {
        self.n_windows.div_ceil(self.batch_size)
    }

    /// The number of predicted ids: ids 1 to `n_predicted()` of the sequence.
    pub fn n_predicted(&self) -> usize {
        self.n_windows * self.sequence_length
    }

    /// Writes batch `index`, `[batch_size, sequence_length]` each, and returns the number of rows that are windows. The
    /// remaining rows are zeros, to be left out of the mean.
    ///
    /// # Errors
    /// See [`Tokens::copy_to`].
    ///
    /// # Panics
    /// If a slice has another length, or the batch does not exist.
    pub fn fill(&self, index: usize, inputs: &mut [u32], targets: &mut [u32]) -> Result<usize> {
        let n_ids = self.batch_size * self.sequence_length;
        assert_eq!((inputs.len(), targets.len()), (n_ids, n_ids), "inputs and targets of a batch");
        assert!(index < self.n_batches(), "batch {index} of {}", self.n_batches());
        let first = index * self.batch_size;
        let n_rows = self.batch_size.min(self.n_windows - first);
        let n_filled = n_rows * self.sequence_length;
        let start = first * self.sequence_length;
        self.tokens.copy_to(start, &mut inputs[..n_filled])?;
        self.tokens.copy_to(start + 1, &mut targets[..n_filled])?;
        inputs[n_filled..].fill(0);
        targets[n_filled..].fill(0);
        Ok(n_rows)
    }
}

/// Advice to use shorter windows, if some would fit.
pub(super) fn shorter_windows(len: usize) -> String {
    if len < 2 { String::new() } else { format!("set train.sequence_length to {} or less, ", len - 1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_id_is_predicted_once_and_the_rest_is_padding() {
        let tokens = Tokens::Owned((100..125).collect());
        let windows = Windows::new(&tokens, 4, 4, None).unwrap();
        assert_eq!((windows.count(), windows.n_batches(), windows.n_predicted()), (6, 2, 24));
        let mut predicted = Vec::new();
        for index in 0..windows.n_batches() {
            let (mut inputs, mut targets) = ([9; 16], [9; 16]);
            let n_rows = windows.fill(index, &mut inputs, &mut targets).unwrap();
            assert_eq!(n_rows, [4, 2][index]);
            assert!(inputs[..4 * n_rows].iter().zip(&targets[..4 * n_rows]).all(|(id, next)| *next == id + 1));
            assert!(inputs[4 * n_rows..].iter().chain(&targets[4 * n_rows..]).all(|id| *id == 0));
            predicted.extend_from_slice(&targets[..4 * n_rows]);
        }
        assert_eq!(predicted, (101..125).collect::<Vec<_>>());
    }

    #[test]
    fn a_limit_counts_predicted_ids() {
        let tokens = Tokens::Owned((0..100).collect());
        let count = |limit| Windows::new(&tokens, 2, 10, limit).unwrap().count();
        assert_eq!((count(None), count(Some(1000)), count(Some(39)), count(Some(40)), count(Some(3))), (9, 9, 3, 4, 1));
    }

    #[test]
    fn too_short_a_text_is_an_error() {
        let tokens = Tokens::Owned(vec![0; 8]);
        let error = Windows::new(&tokens, 1, 8, None).unwrap_err().to_string();
        assert!(error.starts_with("the held-out text has 8 tokens, but one window takes 9: set"), "{error}");
        assert_eq!(Windows::new(&tokens, 1, 7, None).unwrap().count(), 1);
        // No window is short enough for an empty text.
        let error = Windows::new(&Tokens::Owned(Vec::new()), 1, 8, None).unwrap_err().to_string();
        assert!(error.contains("one window takes 9: raise data.validation_fraction"), "{error}");
    }
}
