//! Effective throughput: how soon a run reached the reference's final loss.

use serde::Serialize;

use super::record::RunRecord;
use super::statistics::Spread;

/// How soon the reference's final validation loss was reached, with each seed against the reference with the same seed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ToReference {
    /// The mean over the seeds; `None` unless all of them reached that loss.
    pub mean: Option<Reached>,
    /// Every seed for which the reference has a final loss and this run has ended.
    pub seeds: Vec<SeedToReference>,
}

/// The result for one seed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct SeedToReference {
    /// The seed of both runs.
    pub seed: u64,
    /// `None` if the run diverged, or ended without reaching that loss.
    pub reached: Option<Reached>,
}

/// When a validation loss was first reached: see [`RunRecord::reaches`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Reached {
    /// Steps.
    pub steps: f64,
    /// Seconds of training, without evaluations and checkpoints.
    pub secs: f64,
    /// Effective throughput: all tokens of the reference's run over these seconds (arXiv 2502.07752, table 2).
    pub effective_tokens_per_sec: f64,
}

impl ToReference {
    /// Compares an optimizer's runs with the reference's, which read `tokens` each; `None` before both have ended with
    /// the same seed.
    pub(super) fn of(runs: &[&RunRecord], references: &[&RunRecord], tokens: f64) -> Option<Self> {
        let of_seed = |run: &&RunRecord| {
            let reference = references.iter().find(|other| other.id.seed == run.id.seed)?;
            let loss = reference.final_eval_loss()?;
            let reached = run.reaches(loss).filter(|_| run.is_finished());
            let reached = reached.map(|(steps, secs)| Reached { steps, secs, effective_tokens_per_sec: tokens / secs });
            Some(SeedToReference { seed: run.id.seed, reached })
        };
        let seeds: Vec<SeedToReference> = runs.iter().filter_map(of_seed).collect();
        let reached: Option<Vec<Reached>> = seeds.iter().map(|of_seed| of_seed.reached).collect();
        let mean = reached.and_then(|reached| {
            let mean = |of: fn(&Reached) -> f64| Some(Spread::of(&reached.iter().map(of).collect::<Vec<_>>())?.mean);
            Some(Reached {
                steps: mean(|of_seed| of_seed.steps)?,
                secs: mean(|of_seed| of_seed.secs)?,
                effective_tokens_per_sec: mean(|of_seed| of_seed.effective_tokens_per_sec)?,
            })
        });
        (!seeds.is_empty()).then_some(Self { mean, seeds })
    }

    /// The seeds that never reached the loss.
    pub fn never(&self) -> impl Iterator<Item = u64> + '_ {
        self.seeds.iter().filter(|of_seed| of_seed.reached.is_none()).map(|of_seed| of_seed.seed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::{Curve, LrFactors, Outcome, RunId};

    /// Evaluations at steps 10, 20 … and seconds 2, 4 …
    fn run(seed: u64, losses: &[f64]) -> RunRecord {
        let evaluations = 1..=losses.len() as u64;
        let validation = Curve {
            step: evaluations.clone().map(|at| 10 * at).collect(),
            loss: losses.to_vec(),
            secs: evaluations.map(|at| 2.0 * at as f64).collect(),
        };
        RunRecord {
            id: RunId { optimizer: "sgd".into(), factors: LrFactors::OWN, seed },
            outcome: Outcome::Finished { baseline_bigram_loss: 1.0, peak_bytes: 1 },
            training: Curve::default(),
            validation,
        }
    }

    fn diverged(seed: u64, losses: &[f64]) -> RunRecord {
        RunRecord { outcome: Outcome::Diverged { message: "step 21".into() }, ..run(seed, losses) }
    }

    fn reached(steps: f64, secs: f64) -> Option<Reached> {
        Some(Reached { steps, secs, effective_tokens_per_sec: 600.0 / secs })
    }

    fn of(runs: &[RunRecord], references: &[RunRecord]) -> Option<ToReference> {
        let [runs, references] = [runs, references].map(|list| list.iter().collect::<Vec<_>>());
        ToReference::of(&runs, &references, 600.0)
    }

    #[test]
    fn tokens_of_the_reference_over_the_seconds_to_its_final_loss() {
        let reference = run(0, &[6.0, 5.0, 4.0]);
        for (losses, expected) in [
            // At an evaluation: 600 tokens in 4 s.
            (&[5.0, 4.0, 3.0][..], reached(20.0, 4.0)),
            // A quarter of the way between the first two.
            (&[4.5, 2.5, 2.0], reached(12.5, 2.5)),
            // Not at the end, where it is lower still, nor after it has risen again.
            (&[5.0, 3.0, 4.5, 3.5], reached(15.0, 3.0)),
            // At the first evaluation: the time before it is not known.
            (&[3.0, 2.0, 1.0], reached(10.0, 2.0)),
            (&[6.0, 5.0, 4.001], None),
        ] {
            let found = of(&[run(0, losses)], std::slice::from_ref(&reference)).unwrap();
            assert_eq!((found.mean, found.seeds[0].reached), (expected, expected), "{losses:?}");
        }
        // The reference reaches its final loss at its end: its effective throughput is its own.
        let itself = of(std::slice::from_ref(&reference), std::slice::from_ref(&reference)).unwrap();
        assert_eq!(itself.mean, reached(30.0, 6.0));
    }

    #[test]
    fn each_seed_is_held_against_the_reference_at_that_seed() {
        let references = [run(0, &[6.0, 4.0]), run(1, &[6.0, 5.0])];
        let found = of(&[run(0, &[4.0, 3.0]), run(1, &[6.0, 4.0])], &references).unwrap();
        assert_eq!(
            found.seeds.iter().map(|of_seed| of_seed.reached).collect::<Vec<_>>(),
            [reached(10.0, 2.0), reached(15.0, 3.0)]
        );
        // The mean of 600/2 and 600/3, not 600 over the mean time.
        let mean = Reached { steps: 12.5, secs: 2.5, effective_tokens_per_sec: 250.0 };
        assert_eq!((found.mean, found.never().count()), (Some(mean), 0));
    }

    #[test]
    fn one_seed_that_never_arrives_leaves_no_mean() {
        let references = [run(0, &[6.0, 4.0]), run(1, &[6.0, 4.0]), run(2, &[6.0, 4.0])];
        let found = of(&[run(0, &[4.0, 3.0]), run(1, &[6.0, 4.5]), diverged(2, &[3.0])], &references).unwrap();
        assert_eq!((found.mean, found.never().collect::<Vec<_>>()), (None, vec![1, 2]));
        assert_eq!(found.seeds[0].reached, reached(10.0, 2.0));
    }

    #[test]
    fn without_a_final_loss_of_the_reference_there_is_nothing_to_reach() {
        let own = [run(0, &[4.0, 3.0]), run(1, &[4.0, 3.0])];
        assert_eq!(of(&own, &[]), None);
        assert_eq!(of(&own, &[diverged(0, &[4.0])]), None);
        // With the one seed available.
        let found = of(&own, &[diverged(0, &[4.0]), run(1, &[5.0, 4.0])]).unwrap();
        assert_eq!((found.seeds.len(), found.mean), (1, reached(10.0, 2.0)));
    }
}
