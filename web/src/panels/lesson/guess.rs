//! The learner's prediction, made before the passes run.

use crate::chart::short;

/// Rounds to guess.
pub const ROUNDS: usize = 5;
/// The range of a guess.
const RANGE: [f64; 2] = [1e-6, 1.0];

/// The expected distance from balance after each round.
pub struct Guess {
    values: [f64; ROUNDS],
    touched: bool,
}

impl Default for Guess {
    fn default() -> Self {
        Self { values: [0.5; ROUNDS], touched: false }
    }
}

impl Guess {
    /// Passes and distance for each round, from round 1.
    pub fn points(&self) -> Vec<[f64; 2]> {
        self.values.iter().enumerate().map(|(at, value)| [2.0 * (at + 1) as f64, *value]).collect()
    }

    /// Sets the guess nearest to `passes` to a distance.
    pub fn put(&mut self, passes: f64, distance: f64) {
        let round = (passes / 2.0).round().clamp(1.0, ROUNDS as f64) as usize;
        self.values[round - 1] = distance.clamp(RANGE[0], RANGE[1]);
        self.touched = true;
    }

    /// Whether the learner has guessed.
    pub fn is_made(&self) -> bool {
        self.touched
    }

    /// How good the guess was. `deviations` holds the distances of rows and columns, first of the matrix itself, then
    /// after each pass; the larger of the two counts.
    pub fn score(&self, deviations: &[[f64; 2]]) -> Option<String> {
        let actual = |round: usize| deviations.get(2 * round).map(|of| of[0].max(of[1]).max(RANGE[0]));
        let off: Option<Vec<f64>> =
            (1..=ROUNDS).map(|round| Some((self.values[round - 1] / actual(round)?).ln().abs())).collect();
        let factor = (off?.iter().sum::<f64>() / ROUNDS as f64).exp();
        let verdict = match factor {
            factor if factor < 1.5 => "spot on",
            factor if factor < 3.0 => "close",
            _ => "try again with other numbers",
        };
        Some(format!("Your line was off by a factor of {} on average: {verdict}.", short(factor)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guess_is_scored_by_the_factor_that_it_is_off() {
        let mut guess = Guess::default();
        let deviations: Vec<[f64; 2]> = (0..11).map(|pass| [0.0, 0.1f64.powi(pass / 2)]).collect();
        assert!(!guess.is_made());
        for round in 1..=ROUNDS {
            guess.put(2.0 * round as f64 + 0.3, 0.1f64.powi(round as i32));
        }
        assert!(guess.is_made() && guess.score(&deviations).unwrap().contains("factor of 1 on"));
        (1..=ROUNDS).for_each(|round| guess.put(2.0 * round as f64, 2.0 * 0.1f64.powi(round as i32)));
        assert!(guess.score(&deviations).unwrap().contains("factor of 2 on average: close"));
        assert_eq!(guess.score(&deviations[..7]), None, "not all rounds were made");
        guess.put(900.0, 7.0);
        assert_eq!(guess.points()[4], [10.0, 1.0]);
    }
}
