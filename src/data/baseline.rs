//! The loss of a bigram table: a model that learns anything beyond the last token must beat it.

use std::collections::HashMap;

use super::tokens::Tokens;
use crate::Result;

/// The mean loss, in nats per token, of a bigram table with add-one smoothing, `p(b|a) = (n(a,b) + 1) / (n(a) + V)`.
///
/// Counted on all of `train` and evaluated on the first `max_validation_tokens` predictions in `validation`. With
/// [`super::windows::Windows::n_predicted`] these are the same ids that an evaluation predicts. NaN if there are no
/// predictions.
///
/// # Errors
/// See [`Tokens::copy_to`].
///
/// # Panics
/// If an id is not below `vocab_size`.
pub fn bigram_loss(
    train: &Tokens,
    validation: &Tokens,
    vocab_size: usize,
    max_validation_tokens: Option<usize>,
) -> Result<f64> {
    let n_predicted = validation.len().saturating_sub(1).min(max_validation_tokens.unwrap_or(usize::MAX));
    let predicted = validation.slice(0..validation.len().min(n_predicted + 1));
    let mut counts = Counts::of_none(vocab_size);
    for_each_pair(&predicted, |pair| {
        counts.pairs.insert(pair, 0);
    })?;
    counts.count(train)?;
    let mut total = 0.0;
    for_each_pair(&predicted, |pair| total -= counts.log_probability(pair))?;
    Ok(total / n_predicted as f64)
}

struct Counts {
    vocab_size: usize,
    first: Vec<u64>,
    /// Only the pairs needed for evaluation: a full table of 50 000 entries would take 20 GB.
    pairs: HashMap<(u32, u32), u32>,
}

impl Counts {
    fn of_none(vocab_size: usize) -> Self {
        Self { vocab_size, first: vec![0; vocab_size], pairs: HashMap::new() }
    }

    fn count(&mut self, tokens: &Tokens) -> Result<()> {
        for_each_pair(tokens, |pair| {
            self.first[pair.0 as usize] += 1;
            if let Some(count) = self.pairs.get_mut(&pair) {
                *count += 1;
            }
        })
    }

    fn log_probability(&self, pair: (u32, u32)) -> f64 {
        let count = f64::from(self.pairs.get(&pair).copied().unwrap_or(0));
        ((count + 1.0) / (self.first[pair.0 as usize] + self.vocab_size as u64) as f64).ln()
    }
}

fn for_each_pair(tokens: &Tokens, mut visit: impl FnMut((u32, u32))) -> Result<()> {
    let mut previous = None;
    tokens.for_each(|id| {
        if let Some(previous) = previous.replace(id) {
            visit((previous, id));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(ids: &[u32]) -> Tokens {
        Tokens::Owned(ids.to_vec())
    }

    #[test]
    fn by_hand() {
        // Pairs 01 twice, 10 once, 12 once: p(1|0) = 3/5, p(2|1) = 2/5, p(0|2) = 1/3.
        let loss = bigram_loss(&owned(&[0, 1, 0, 1, 2]), &owned(&[0, 1, 2, 0]), 3, None).unwrap();
        let expected = -((3.0f64 / 5.0).ln() + (2.0f64 / 5.0).ln() + (1.0f64 / 3.0).ln()) / 3.0;
        assert!((loss - expected).abs() < 1e-12, "{loss} {expected}");
        let first = bigram_loss(&owned(&[0, 1, 0, 1, 2]), &owned(&[0, 1, 2, 0]), 3, Some(1)).unwrap();
        assert!((first + (3.0f64 / 5.0).ln()).abs() < 1e-12, "{first}");
    }

    #[test]
    fn knowing_nothing_costs_the_logarithm_of_the_vocabulary() {
        let loss = bigram_loss(&owned(&[]), &owned(&[0, 4, 2, 2]), 50, None).unwrap();
        assert!((loss - 50f64.ln()).abs() < 1e-12, "{loss}");
        assert!(bigram_loss(&owned(&[0]), &owned(&[0]), 50, None).unwrap().is_nan());
    }
}
