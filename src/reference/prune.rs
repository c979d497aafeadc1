//! Pruning by policy gradient (arXiv 2406.10576, as its authors' code computes it), in f64.

use super::random::pcg4d;

/// Whether each unit is kept: a uniform number of 24 bits per unit, stream, step (from 1) and seed, below its score.
pub fn draw_mask(scores: &[f64], stream: u32, step: u32, seed: u32) -> Vec<f64> {
    let unit = 2f64.powi(-24);
    let drawn = |at: usize| f64::from(pcg4d([at as u32, stream, step - 1, seed])[0] >> 8) * unit;
    scores.iter().enumerate().map(|(at, score)| f64::from(u8::from(drawn(at) < *score))).collect()
}

/// The moving mean of losses over about `window` steps; `None` before the first step. Losses that are not finite are
/// left out.
pub fn baseline(before: Option<f64>, losses: &[f64], window: f64) -> Option<f64> {
    let finite: Vec<f64> = losses.iter().copied().filter(|loss| loss.is_finite()).collect();
    if finite.is_empty() {
        return before;
    }
    let mean = finite.iter().sum::<f64>() / finite.len() as f64;
    let before = before.unwrap_or(mean);
    Some(before + (mean - before) / window)
}

/// The scores after a step of `lr` against 1/(K − 1) · Σⱼ (Lⱼ − δ)(mⱼ − s)/√((s + ε)(1 − s + ε)), ε = 1e-7, for K masks
/// and their losses.
pub fn score_step(scores: &[f64], masks: &[Vec<f64>], losses: &[f64], baseline: f64, lr: f64) -> Vec<f64> {
    let step = |(at, s): (usize, &f64)| {
        let spread = ((s + 1e-7) * (1.0 - s + 1e-7)).sqrt();
        let trials = masks.iter().zip(losses).filter(|(_, loss)| loss.is_finite());
        let sum: f64 = trials.map(|(mask, loss)| (loss - baseline) * (mask[at] - s) / spread).sum();
        s - lr * sum / (masks.len() - 1) as f64
    };
    scores.iter().enumerate().map(step).collect()
}

/// clamp(s − v, 0, 1) with v = 0 if Σ clamp(s, 0, 1) ≤ `budget`, else v from at most 21 bisections of [0, max s], until
/// the sum is within 1e-3 of the budget.
pub fn project(scores: &[f64], budget: f64) -> Vec<f64> {
    let less = |shift: f64| scores.iter().map(move |s| (s - shift).clamp(0.0, 1.0));
    let excess = |shift: f64| less(shift).sum::<f64>() - budget;
    if excess(0.0) <= 0.0 {
        return less(0.0).collect();
    }
    let (mut low, mut high) = (0.0, scores.iter().copied().fold(0.0, f64::max));
    let mut shift = 0.0;
    for _ in 0..21 {
        shift = 0.5 * (low + high);
        let excess = excess(shift);
        if excess.abs() < 1e-3 {
            break;
        }
        if excess > 0.0 { low = shift } else { high = shift }
    }
    less(shift).collect()
}

/// Which units to keep: those with a score of at least the ⌊N(1 − keep)⌋-th smallest.
pub fn kept(scores: &[f64], keep: f64) -> Vec<bool> {
    let mut sorted = scores.to_vec();
    sorted.sort_by(f64::total_cmp);
    let threshold = sorted[((scores.len() as f64 * (1.0 - keep)) as usize).min(scores.len() - 1)];
    scores.iter().map(|s| *s >= threshold).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_projection_meets_the_budget_and_leaves_what_is_within_it() {
        let scores = [0.9, -0.3, 1.7, 0.2, 0.5, 0.05];
        assert_eq!(project(&scores, 3.0), [0.9, 0.0, 1.0, 0.2, 0.5, 0.05], "clamped alone");
        let projected = project(&scores, 2.0);
        assert!((projected.iter().sum::<f64>() - 2.0).abs() < 1e-3, "{projected:?}");
        // The same shift for all that are not at a bound.
        let shift = 0.9 - projected[0];
        for (before, after) in scores.iter().zip(&projected) {
            assert!((after - (before - shift).clamp(0.0, 1.0)).abs() < 1e-12, "{projected:?}");
        }
    }

    #[test]
    fn units_whose_presence_lowers_the_loss_gain() {
        // Unit 0 is in the mask with the lower loss, unit 1 in the other.
        let masks = [vec![1.0, 0.0], vec![0.0, 1.0]];
        let losses = [2.0, 4.0];
        let baseline = baseline(None, &losses, 5.0).unwrap();
        assert_eq!(baseline, 3.0);
        let after = score_step(&[0.5, 0.5], &masks, &losses, baseline, 0.1);
        assert!((after[0] - 0.7).abs() < 1e-6 && (after[1] - 0.3).abs() < 1e-6, "{after:?}");
        // A loss that is not finite takes no part.
        let alone = score_step(&[0.5, 0.5], &masks, &[2.0, f64::NAN], 3.0, 0.1);
        assert!((alone[0] - 0.6).abs() < 1e-6 && (alone[1] - 0.4).abs() < 1e-6, "{alone:?}");
    }

    #[test]
    fn masks_are_drawn_with_the_probability_of_their_scores() {
        let scores: Vec<f64> = (0..30_000).map(|at| [0.0, 0.3, 1.0][at % 3]).collect();
        let mask = draw_mask(&scores, 1, 1, 7);
        let share = |of: usize| mask.iter().skip(of).step_by(3).sum::<f64>() / 10_000.0;
        assert_eq!((share(0), share(2)), (0.0, 1.0));
        assert!((share(1) - 0.3).abs() < 0.02, "{}", share(1));
        assert_ne!(draw_mask(&scores, 1, 2, 7), mask);
    }

    #[test]
    fn the_lowest_scores_go() {
        assert_eq!(kept(&[0.1, 0.9, 0.4, 0.6], 0.5), [false, true, false, true]);
        assert_eq!(kept(&[0.1, 0.9, 0.4, 0.6], 1.0), [true; 4]);
    }
}
