//! What would fit an adapter where something does not.

use multinorm::config::{ModelConfig, RunConfig};
use multinorm::gpu::{Memory, Profile};
use multinorm::train::{Evaluator, record_training};
use multinorm::{Error, Result};

/// The memory of a run; refuses one that an adapter cannot run, whatever memory it has, and says which size would fit.
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
    // An evaluation that is too large is named first: a run without it would be refused for nothing.
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

/// Refuses an evaluation of so many windows at once that an adapter cannot run, and says how many it can.
pub fn check_evaluation(profile: &Profile, config: &ModelConfig, windows: usize, sequence_length: usize) -> Result<()> {
    let check = |windows| Evaluator::check(profile, config, windows, sequence_length);
    let Err(error) = check(windows) else { return Ok(()) };
    Err(match largest(windows, check) {
        Some(windows) => with_advice(error, format!("the largest that fits is --batch-size {windows}")),
        None => error,
    })
}

/// The largest number below `refused` that is not refused; nothing where 1 is.
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
