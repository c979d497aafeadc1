//! The largest size that fits an adapter when a run or an evaluation does not.

use multinorm::config::{ModelConfig, RunConfig};
use multinorm::gpu::{Memory, Profile};
use multinorm::train::{Evaluator, record_training};
use multinorm::{Error, Result};

/// The memory of a run. Rejects a run that exceeds the adapter's limits, whatever its memory, and suggests the largest
/// size that fits.
pub fn check_run(config: &RunConfig, profile: &Profile) -> Result<Memory> {
    let recorder = record_training(config, profile)?.recorder;
    let Err(error) = recorder.check_limits() else { return Ok(recorder.memory()) };
    let check = |config: &RunConfig| record_training(config, profile)?.recorder.check_limits();
    let evaluating = |windows: usize| {
        let mut config = config.clone();
        config.eval.batch_size = windows;
        config
    };
    let training = |sequences: usize| {
        let mut config = evaluating(1);
        (config.train.micro_batch_size, config.train.batch_size) = (sequences, sequences);
        config
    };
    // Check the evaluation first: otherwise the micro-batch would be blamed for an evaluation that is too large.
    if let Some(windows) = largest(config.eval.batch_size, |windows| check(&evaluating(windows))) {
        return Err(with_advice(error, format!("the largest that fits is eval.batch_size={windows}")));
    }
    let Some(sequences) = largest(config.train.micro_batch_size, |sequences| check(&training(sequences))) else {
        return Err(error);
    };
    let micro = (1..=sequences).rev().find(|micro| config.train.batch_size.is_multiple_of(*micro)).unwrap_or(1);
    let windows = largest(config.eval.batch_size + 1, |windows| check(&evaluating(windows)));
    let also = match windows {
        Some(windows) if windows < config.eval.batch_size => format!(" with eval.batch_size={windows}"),
        _ => String::new(),
    };
    Err(with_advice(error, format!("the largest that fits is train.micro_batch_size={micro}{also}")))
}

/// Rejects an evaluation with more windows per batch than the adapter can run, and suggests how many it can.
pub fn check_evaluation(profile: &Profile, config: &ModelConfig, windows: usize, sequence_length: usize) -> Result<()> {
    let check = |windows| Evaluator::check(profile, config, windows, sequence_length);
    let Err(error) = check(windows) else { return Ok(()) };
    Err(match largest(windows, check) {
        Some(windows) => with_advice(error, format!("the largest that fits is --batch-size {windows}")),
        None => error,
    })
}

/// The largest number below `refused` that passes `check`; `None` if 1 fails.
fn largest(refused: usize, check: impl Fn(usize) -> Result<()>) -> Option<usize> {
    if refused < 2 || check(1).is_err() {
        return None;
    }
    let (mut fits, mut refused) = (1, refused);
    while refused - fits > 1 {
        let middle = fits + (refused - fits) / 2;
        if check(middle).is_ok() { fits = middle } else { refused = middle }
    }
    Some(fits)
}

fn with_advice(error: Error, advice: String) -> Error {
    match error {
        Error::TooLarge(message) => Error::TooLarge(format!("{message}; {advice}")),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_below_what_was_refused() {
        let up_to = |most: usize| move |n: usize| if n <= most { Ok(()) } else { Err(Error::TooLarge("large".into())) };
        assert_eq!(largest(1_000_000, up_to(777)), Some(777));
        assert_eq!(largest(778, up_to(777)), Some(777));
        assert_eq!(largest(2, up_to(1)), Some(1));
        assert_eq!(largest(9, up_to(0)), None);
        assert_eq!(largest(1, up_to(0)), None);
    }
}
