//! H-Fac (Nguyen, Chen, Liu & Liu 2024, arXiv 2406.09958): momentum and second moment as rows and columns.

use super::norm::rms;

/// Hyperparameters, constant over a run.
#[derive(Clone, Copy, Debug)]
pub struct HFac {
    /// β₁.
    pub beta1: f64,
    /// β₂.
    pub beta2: f64,
    /// ε, added to every square.
    pub eps: f64,
    /// d.
    pub clip_threshold: f64,
    /// λ, decoupled.
    pub weight_decay: f64,
}

/// Averages of an m×n weight.
#[derive(Clone, Debug)]
pub struct State {
    /// u, averaged row means of the gradient, `[m]`.
    pub row_mean: Vec<f64>,
    /// v, averaged column means, `[n]`.
    pub col_mean: Vec<f64>,
    /// r, averaged row means of its square, `[m]`. The paper keeps sums; they differ from the means by a factor of n,
    /// by which it divides again wherever it uses them.
    pub row_sq: Vec<f64>,
    /// s, averaged column means of its square, `[n]`.
    pub col_sq: Vec<f64>,
    /// Number of steps taken.
    pub step: u32,
}

impl State {
    /// The state before the first step.
    pub fn new(m: usize, n: usize) -> Self {
        let [row_mean, row_sq] = [(); 2].map(|()| vec![0.0; m]);
        let [col_mean, col_sq] = [(); 2].map(|()| vec![0.0; n]);
        Self { row_mean, col_mean, row_sq, col_sq, step: 0 }
    }
}

/// β̂ₜ = β·(1 − βᵗ⁻¹)/(1 − βᵗ): with this decay the average needs no correction; 0 in the first step.
pub fn corrected(beta: f64, t: f64) -> f64 {
    if beta == 0.0 { 0.0 } else { beta * (1.0 - beta.powf(t - 1.0)) / (1.0 - beta.powf(t)) }
}

/// With ḡ for row and column means of G:
/// u ← β̂₁u + (1−β̂₁)ḡ, v alike; r ← β̂₂r + (1−β̂₂)·mean(G²+ε), s alike; V̂ = r·sᵀ/mean(r);
/// φ = β̂₁(u − ḡ)/√r, ψ = β̂₁(v − ḡ)/√s; W ← W − lr·(½(φ1ᵀ + 1ψᵀ) + clip(G/√V̂) + λW).
pub fn step(hyper: &HFac, state: &mut State, w: &mut [f64], g: &[f64], lr: f64) {
    let (m, n) = (state.row_mean.len(), state.col_mean.len());
    assert_eq!((w.len(), g.len()), (m * n, m * n), "h-fac: w and g");
    state.step += 1;
    let [beta1, beta2] = [hyper.beta1, hyper.beta2].map(|beta| corrected(beta, state.step.into()));
    let row = |i: usize, of: &dyn Fn(f64) -> f64| (0..n).map(|j| of(g[i * n + j])).sum::<f64>() / n as f64;
    let col = |j: usize, of: &dyn Fn(f64) -> f64| (0..m).map(|i| of(g[i * n + j])).sum::<f64>() / m as f64;
    let square = |g: f64| g * g + hyper.eps;
    // Averages the mean of a row or column and of its squares; returns its part of the momentum term.
    let lookahead = |mean: f64, mean_sq: f64, average: &mut f64, average_sq: &mut f64| {
        *average = beta1 * *average + (1.0 - beta1) * mean;
        *average_sq = beta2 * *average_sq + (1.0 - beta2) * mean_sq;
        beta1 * (*average - mean) / average_sq.sqrt()
    };
    let rows = state.row_mean.iter_mut().zip(&mut state.row_sq).enumerate();
    let phi: Vec<f64> = rows.map(|(i, (u, r))| lookahead(row(i, &|g| g), row(i, &square), u, r)).collect();
    let cols = state.col_mean.iter_mut().zip(&mut state.col_sq).enumerate();
    let psi: Vec<f64> = cols.map(|(j, (v, s))| lookahead(col(j, &|g| g), col(j, &square), v, s)).collect();
    let mean = state.row_sq.iter().sum::<f64>() / m as f64;
    let u: Vec<f64> =
        (0..m * n).map(|at| g[at] / (state.row_sq[at / n] * state.col_sq[at % n] / mean).sqrt()).collect();
    let clip = (rms(&u) / hyper.clip_threshold).max(1.0);
    for (at, w) in w.iter_mut().enumerate() {
        *w -= lr * (0.5 * (phi[at / n] + psi[at % n]) + u[at] / clip + hyper.weight_decay * *w);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_corrected_decay_makes_plain_means_at_first() {
        // With β near 1 the first averages are the means of all gradients so far.
        let mut average = 0.0;
        for (t, new) in (1..).zip([3.0, 5.0, 10.0]) {
            let beta = corrected(1.0 - 1e-9, f64::from(t));
            average = beta * average + (1.0 - beta) * new;
        }
        assert!((average - 6.0).abs() < 1e-5, "{average}");
        assert_eq!(corrected(0.9, 1.0), 0.0);
    }
}
