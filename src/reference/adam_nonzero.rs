//! Adam whose second moment does not start at 0 (Abuduweili & Liu 2024, arXiv 2412.02153), as in the authors' code.

use super::random::normal;

/// Hyperparameters, constant over a run.
#[derive(Clone, Copy, Debug)]
pub struct AdamNonzero {
    /// β₁.
    pub beta1: f64,
    /// β₂.
    pub beta2: f64,
    /// Added to √v.
    pub eps: f64,
    /// Decoupled weight decay, scaled by the learning rate.
    pub weight_decay: f64,
    /// σ.
    pub start_scale: f64,
    /// Number of batches for v₀; `None` for a random one.
    pub start_batches: Option<u32>,
    /// Whether v is divided by 1 − β₂ᵗ, as if it had started at 0.
    pub bias_correction: bool,
}

/// The state for one weight.
#[derive(Clone, Debug)]
pub struct State {
    /// m, as long as the weight.
    pub exp_avg: Vec<f64>,
    /// v, as long as the weight.
    pub exp_avg_sq: Vec<f64>,
    /// Number of steps taken, including those that initialize v.
    pub step: u32,
}

impl State {
    /// The state before the first step of a weight with `len` entries.
    pub fn new(len: usize) -> Self {
        Self { exp_avg: vec![0.0; len], exp_avg_sq: vec![0.0; len], step: 0 }
    }
}

/// Data: in the first N steps v ← v + σ·g²/N, and the weight does not change. Random: v₀ = 2σ/(m + n)·z² with a
/// standard normal z. Then m ← β₁m + (1−β₁)g; v ← β₂v + (1−β₂)g²; w ← w·(1 − lr·λ) − lr/(1−β₁ᵗ) · m/(√(v/(1−β₂ᵗ)) +
/// eps), with t counted from the first step that changes the weight.
pub fn step(
    hyper: &AdamNonzero,
    state: &mut State,
    w: &mut [f64],
    g: &[f64],
    [m, n]: [usize; 2],
    lr: f64,
    [stream, seed]: [u32; 2],
) {
    assert_eq!((w.len(), g.len()), (m * n, m * n), "adam-nonzero: w and g");
    state.step += 1;
    let batches = hyper.start_batches.unwrap_or(0);
    if state.step <= batches {
        for (v, g) in state.exp_avg_sq.iter_mut().zip(g) {
            *v += hyper.start_scale * g * g / f64::from(batches);
        }
        return;
    }
    let t = state.step - batches;
    if hyper.start_batches.is_none() && t == 1 {
        for (at, v) in (0..).zip(&mut state.exp_avg_sq) {
            *v = 2.0 * hyper.start_scale / (m + n) as f64 * normal(at, stream, 0, seed).powi(2);
        }
    }
    let correction = 1.0 - hyper.beta1.powf(t.into());
    let correction_sq = if hyper.bias_correction { 1.0 - hyper.beta2.powf(t.into()) } else { 1.0 };
    for i in 0..w.len() {
        let (m, v) = (&mut state.exp_avg[i], &mut state.exp_avg_sq[i]);
        *m = hyper.beta1 * *m + (1.0 - hyper.beta1) * g[i];
        *v = hyper.beta2 * *v + (1.0 - hyper.beta2) * g[i] * g[i];
        w[i] =
            w[i] * (1.0 - lr * hyper.weight_decay) - lr / correction * *m / ((*v / correction_sq).sqrt() + hyper.eps);
    }
}
