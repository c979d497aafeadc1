//! Adafactor (Shazeer & Stern 2018, arXiv 1804.04235): the second moment as a product of row and column averages.

use super::norm::rms;

/// Hyperparameters, constant over a run.
#[derive(Clone, Copy, Debug)]
pub struct Adafactor {
    /// β̂₂ₜ = 1 − t^−decay_rate (section 7.2); the paper's is 0.8.
    pub decay_rate: f64,
    /// ε₁, added to every square.
    pub eps1: f64,
    /// ε₂, the minimum root mean square of a weight.
    pub eps2: f64,
    /// d of algorithm 5.
    pub clip_threshold: f64,
    /// ρₜ = min(lr, 1/√t) instead of lr.
    pub relative_step: bool,
    /// αₜ = max(ε₂, RMS(W))·ρₜ instead of ρₜ.
    pub scale_parameter: bool,
    /// Decoupled weight decay, scaled by the rate.
    pub weight_decay: f64,
}

/// Averages of an m×n weight; a vector has only columns.
#[derive(Clone, Debug)]
pub struct State {
    /// Rₜ, `[m]`; empty for a vector.
    pub row: Vec<f64>,
    /// Cₜ, `[n]`.
    pub col: Vec<f64>,
    /// Number of steps taken.
    pub step: u32,
}

impl State {
    /// The state before the first step; m is 0 for a vector.
    pub fn new(m: usize, n: usize) -> Self {
        Self { row: vec![0.0; m], col: vec![0.0; n], step: 0 }
    }
}

/// R ← β̂₂R + (1−β̂₂)·mean over columns of (G²+ε₁); C alike over rows; V̂ = R·C/mean(R); U = G/√V̂;
/// U ← U/max(1, RMS(U)/d); W ← W − schedule·αₜ·(U + λW) with αₜ from `lr` (algorithms 4 and 5).
pub fn step(hyper: &Adafactor, state: &mut State, w: &mut [f64], g: &[f64], lr: f64, schedule: f64) {
    let n = state.col.len();
    let m = g.len() / n;
    assert_eq!(w.len(), m * n, "adafactor: w and g");
    state.step += 1;
    let t = f64::from(state.step);
    let beta2 = 1.0 - t.powf(-hyper.decay_rate);
    let square = |i: usize, j: usize| g[i * n + j].powi(2) + hyper.eps1;
    for (i, r) in state.row.iter_mut().enumerate() {
        *r = beta2 * *r + (1.0 - beta2) * (0..n).map(|j| square(i, j)).sum::<f64>() / n as f64;
    }
    for (j, c) in state.col.iter_mut().enumerate() {
        *c = beta2 * *c + (1.0 - beta2) * (0..m).map(|i| square(i, j)).sum::<f64>() / m as f64;
    }
    let mean = state.row.iter().sum::<f64>() / state.row.len().max(1) as f64;
    let row = |i: usize| if state.row.is_empty() { 1.0 } else { state.row[i] / mean };
    let u: Vec<f64> = (0..m * n).map(|at| g[at] / (row(at / n) * state.col[at % n]).sqrt()).collect();
    let clip = (rms(&u) / hyper.clip_threshold).max(1.0);
    let mut alpha = if hyper.relative_step { lr.min(t.sqrt().recip()) } else { lr };
    if hyper.scale_parameter {
        alpha *= rms(w).max(hyper.eps2);
    }
    for (w, u) in w.iter_mut().zip(u) {
        *w -= schedule * alpha * (u / clip + hyper.weight_decay * *w);
    }
}
