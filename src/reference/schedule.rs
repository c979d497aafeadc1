//! lr(step)/lr_peak: a linear warm-up, then half a cosine (Loshchilov & Hutter 2017, arXiv 1608.03983, equation 5).

use std::f64::consts::PI;

/// (step+1)/warmup_steps, then r + (1−r)·(1 + cos(π·progress))/2 with r = `min_lr_ratio`.
///
/// `step` counts from 0. The warm-up ends at 1 at step `warmup_steps` − 1. The cosine starts at 1 at the next step,
/// reaches `min_lr_ratio` at the last, `steps` − 1, and stays there. A cosine of a single step stays at 1.
pub fn cosine_with_warmup(step: usize, steps: usize, warmup_steps: usize, min_lr_ratio: f64) -> f64 {
    if step < warmup_steps {
        return (step + 1) as f64 / warmup_steps as f64;
    }
    let last = steps.saturating_sub(1 + warmup_steps).max(1);
    let progress = ((step - warmup_steps) as f64 / last as f64).min(1.0);
    min_lr_ratio + (1.0 - min_lr_ratio) * (1.0 + (PI * progress).cos()) / 2.0
}

#[cfg(test)]
mod tests {
    use super::super::testing::assert_close;
    use super::*;

    #[test]
    fn rises_to_one_and_falls_to_the_minimum_at_the_last_step() {
        let multipliers: Vec<f64> = (0..10).map(|step| cosine_with_warmup(step, 9, 4, 0.2)).collect();
        let quarter = 0.2 + 0.8 * (1.0 + 0.5f64.sqrt()) / 2.0; // cos(π/4) = √½
        let three = 0.2 + 0.8 * (1.0 - 0.5f64.sqrt()) / 2.0;
        assert_close("multipliers", &multipliers, &[0.25, 0.5, 0.75, 1.0, 1.0, quarter, 0.6, three, 0.2, 0.2], 1e-15);
    }

    #[test]
    fn the_edges_are_finite() {
        assert_eq!(cosine_with_warmup(0, 1, 0, 0.1), 1.0);
        assert_eq!(cosine_with_warmup(0, 5, 0, 0.1), 1.0);
        assert_eq!(cosine_with_warmup(4, 5, 5, 0.1), 1.0);
        assert_eq!(cosine_with_warmup(1, 5, 10, 0.1), 0.2);
    }
}
