//! RACS (Gong, Scetbon, Ma & Meeds 2025, arXiv 2502.07752, algorithm 1): rows and columns scaled by the principal
//! singular vectors of the squared gradient. Unlike Sinkhorn's iteration, it does not equalize the norms of rows or
//! columns.

use super::norm::frobenius;

/// Hyperparameters, constant over a run.
#[derive(Clone, Copy, Debug)]
pub struct Racs {
    /// Power-iteration steps.
    pub iterations: u32,
    /// Decay of the averaged scalings.
    pub beta: f64,
    /// α.
    pub scale: f64,
    /// γ.
    pub growth_limit: f64,
    /// Decoupled weight decay, scaled by the learning rate.
    pub weight_decay: f64,
}

/// Averages of an m×n weight.
#[derive(Clone, Debug)]
pub struct State {
    /// q, `[m]`.
    pub row: Vec<f64>,
    /// s, `[n]`.
    pub col: Vec<f64>,
    /// φ, the norm of the last update; 0 before the first.
    pub norm: f64,
}

impl State {
    /// The state before the first step.
    pub fn new(m: usize, n: usize) -> Self {
        Self { row: vec![0.0; m], col: vec![0.0; n], norm: 0.0 }
    }
}

/// (q, s) after `iterations` of s = Pᵀq/‖q‖², q = P·s/‖s‖² with P = G⊙G, from q = 1 (the paper's proposition 3).
pub fn scalings(g: &[f64], m: usize, n: usize, iterations: u32) -> [Vec<f64>; 2] {
    let p: Vec<f64> = g.iter().map(|g| g * g).collect();
    let [mut q, mut s] = [vec![1.0; m], vec![0.0; n]];
    let over = |sum: f64, v: &[f64]| {
        let square = v.iter().map(|x| x * x).sum::<f64>();
        if square > 0.0 { sum / square } else { 0.0 }
    };
    for _ in 0..iterations {
        s = (0..n).map(|j| over((0..m).map(|i| p[i * n + j] * q[i]).sum(), &q)).collect();
        q = (0..m).map(|i| over((0..n).map(|j| p[i * n + j] * s[j]).sum(), &s)).collect();
    }
    [q, s]
}

/// The fraction of an update to apply: γ/max(‖X‖/φ, γ), all of the first; φ becomes the norm of what was applied.
pub fn limited(norm: f64, before: &mut f64, growth_limit: f64, eps: f64) -> f64 {
    let share = if *before > 0.0 { growth_limit / (norm / (*before + eps)).max(growth_limit) } else { 1.0 };
    *before = share * norm;
    share
}

/// Averages q and s; G̃ = Diag(q)^−½·G·Diag(s)^−½; W ← W − lr·(η·α·G̃ + λ·W) with η of [`limited`].
pub fn step(hyper: &Racs, state: &mut State, w: &mut [f64], g: &[f64], lr: f64) {
    let (m, n) = (state.row.len(), state.col.len());
    let [q, s] = scalings(g, m, n, hyper.iterations);
    for (average, new) in [(&mut state.row, q), (&mut state.col, s)] {
        for (average, new) in average.iter_mut().zip(new) {
            *average = hyper.beta * *average + (1.0 - hyper.beta) * new;
        }
    }
    let root = |x: f64| if x > 0.0 { x.sqrt().recip() } else { 0.0 };
    let scaled: Vec<f64> = (0..m * n).map(|at| root(state.row[at / n]) * g[at] * root(state.col[at % n])).collect();
    let share = limited(frobenius(&scaled), &mut state.norm, hyper.growth_limit, 0.0);
    for (w, x) in w.iter_mut().zip(scaled) {
        *w -= lr * (share * hyper.scale * x + hyper.weight_decay * *w);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scalings_are_the_principal_singular_vectors_of_the_squares() {
        let g = [1.0, -2.0, 0.5, 3.0, 0.1, -1.0];
        let [q, s] = scalings(&g, 2, 3, 60);
        let p: Vec<f64> = g.iter().map(|g| g * g).collect();
        // P·s = σ²·q and Pᵀ·q = σ²·s up to their lengths: another half-step does not change their directions.
        let again: Vec<f64> = (0..2).map(|i| (0..3).map(|j| p[3 * i + j] * s[j]).sum::<f64>()).collect();
        assert!((again[0] / again[1] - q[0] / q[1]).abs() < 1e-9, "{again:?} {q:?}");
        // s·q is the best rank-one approximation of P.
        let residual = (0..6).map(|at| (p[at] - q[at / 3] * s[at % 3]).powi(2)).sum::<f64>();
        for factor in [0.99, 1.01] {
            let other = (0..6).map(|at| (p[at] - factor * q[at / 3] * s[at % 3]).powi(2)).sum::<f64>();
            assert!(other > residual, "{factor}: {other}, not above {residual}");
        }
    }

    #[test]
    fn an_update_grows_by_the_limit_at_most() {
        let mut norm = 0.0;
        assert_eq!(limited(2.0, &mut norm, 1.01, 0.0), 1.0);
        assert!((limited(20.0, &mut norm, 1.01, 0.0) - 2.02 / 20.0).abs() < 1e-15);
        assert!((norm - 2.02).abs() < 1e-12);
        assert_eq!(limited(1.0, &mut norm, 1.01, 0.0), 1.0);
    }
}
