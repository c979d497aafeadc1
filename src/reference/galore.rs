//! GaLore (Zhao et al. 2024, arXiv 2403.03507, algorithm 2) and Fira (Chen et al. 2024, arXiv 2410.01623, algorithm 1).

use super::norm::frobenius;
use super::racs::limited;

/// Hyperparameters, constant over a run.
#[derive(Clone, Copy, Debug)]
pub struct Galore {
    /// r.
    pub rank: usize,
    /// T.
    pub update_interval: u32,
    /// α.
    pub scale: f64,
    /// γ of Fira's limiter; `None` for GaLore, which drops the rest of the gradient.
    pub growth_limit: Option<f64>,
    /// β₁.
    pub beta1: f64,
    /// β₂.
    pub beta2: f64,
    /// Added to √v.
    pub eps: f64,
    /// Decoupled weight decay, scaled by the learning rate.
    pub weight_decay: f64,
}

/// A basis, and Adam's moments in its coordinates, one row per channel.
#[derive(Clone, Debug)]
pub struct State {
    /// `[smaller side, r]`.
    pub basis: Vec<f64>,
    /// `[channels, r]`.
    pub exp_avg: Vec<f64>,
    /// `[channels, r]`.
    pub exp_avg_sq: Vec<f64>,
    /// The norm of the last residual.
    pub norm: f64,
    /// Number of steps taken.
    pub step: u32,
}

impl State {
    /// The state before the first step of an m×n weight.
    pub fn new(m: usize, n: usize, rank: usize) -> Self {
        let moments = vec![0.0; m.max(n) * rank];
        Self { basis: vec![0.0; m.min(n) * rank], exp_avg: moments.clone(), exp_avg_sq: moments, norm: 0.0, step: 0 }
    }
}

/// The r leading singular vectors of A (rows × columns, at most as many rows as columns) along its rows, as columns of
/// `[rows, r]` in order, each with its largest element positive. By one-sided Jacobi (Hestenes 1958).
pub fn leading_vectors(a: &[f64], rows: usize, cols: usize, rank: usize) -> Vec<f64> {
    let mut b: Vec<Vec<f64>> = a.chunks(cols).map(<[f64]>::to_vec).collect();
    let unit = |i: usize| (0..rows).map(|j| f64::from(u8::from(i == j))).collect();
    let mut y: Vec<Vec<f64>> = (0..rows).map(unit).collect();
    let dot = |x: &[f64], z: &[f64]| x.iter().zip(z).map(|(x, z)| x * z).sum::<f64>();
    for _ in 0..60 {
        let mut turned = false;
        for i in 0..rows {
            for j in i + 1..rows {
                let (of_i, of_j, product) = (dot(&b[i], &b[i]), dot(&b[j], &b[j]), dot(&b[i], &b[j]));
                if product.abs() <= 1e-15 * (of_i * of_j).sqrt() {
                    continue;
                }
                turned = true;
                let zeta = (of_j - of_i) / (2.0 * product);
                let tangent = zeta.signum() / (zeta.abs() + (1.0 + zeta * zeta).sqrt());
                let cosine = (1.0 + tangent * tangent).sqrt().recip();
                let sine = cosine * tangent;
                for matrix in [&mut b, &mut y] {
                    let (left, right) = matrix.split_at_mut(j);
                    for (x, z) in left[i].iter_mut().zip(&mut right[0]) {
                        (*x, *z) = (cosine * *x - sine * *z, sine * *x + cosine * *z);
                    }
                }
            }
        }
        if !turned {
            break;
        }
    }
    let mut order: Vec<usize> = (0..rows).collect();
    order.sort_by(|&i, &j| dot(&b[j], &b[j]).total_cmp(&dot(&b[i], &b[i])));
    let mut basis = vec![0.0; rows * rank];
    for (place, &row) in order.iter().take(rank).enumerate() {
        let largest = y[row].iter().fold(0.0_f64, |largest, x| if x.abs() > largest.abs() { *x } else { largest });
        for (at, x) in y[row].iter().enumerate() {
            basis[at * rank + place] = x * largest.signum();
        }
    }
    basis
}

/// R = G in the coordinates of the basis, one row per channel along the larger side; the basis is renewed in steps
/// 1, 1 + T, …, without changing Adam's moments of R; W ← W − lr·√(1−β₂ᵗ)/(1−β₁ᵗ)·(α·back(m/(√v + ε)) + rest) − lr·λ·W.
/// Fira's rest is (G − α·back(R)) times ‖m/(√v + ε)‖/‖R‖ of each channel, limited to grow by at most γ.
pub fn step(hyper: &Galore, state: &mut State, w: &mut [f64], g: &[f64], [m, n]: [usize; 2], lr: f64) {
    let (rank, small, channels) = (hyper.rank, m.min(n), m.max(n));
    // A channel is a row of G if there are at least as many rows as columns, else a column.
    let place = |channel: usize, at: usize| if m >= n { channel * n + at } else { at * n + channel };
    if state.step.is_multiple_of(hyper.update_interval) {
        let along: Vec<f64> = (0..small * channels).map(|k| g[place(k % channels, k / channels)]).collect();
        state.basis = leading_vectors(&along, small, channels, rank);
    }
    state.step += 1;
    let back = |coordinates: &[f64]| {
        let mut whole = vec![0.0; m * n];
        for channel in 0..channels {
            for at in 0..small {
                whole[place(channel, at)] =
                    (0..rank).map(|k| coordinates[channel * rank + k] * state.basis[at * rank + k]).sum();
            }
        }
        whole
    };
    let [mut projected, mut direction] = [(); 2].map(|()| vec![0.0; channels * rank]);
    for at in 0..channels * rank {
        let (channel, k) = (at / rank, at % rank);
        let r: f64 = (0..small).map(|i| g[place(channel, i)] * state.basis[i * rank + k]).sum();
        let (m, v) = (&mut state.exp_avg[at], &mut state.exp_avg_sq[at]);
        *m = hyper.beta1 * *m + (1.0 - hyper.beta1) * r;
        *v = hyper.beta2 * *v + (1.0 - hyper.beta2) * r * r;
        (projected[at], direction[at]) = (r, *m / (v.sqrt() + hyper.eps));
    }
    let mut update: Vec<f64> = back(&direction).iter().map(|x| hyper.scale * x).collect();
    if let Some(growth_limit) = hyper.growth_limit {
        let held = back(&projected);
        let mut rest: Vec<f64> = g.iter().zip(held).map(|(g, held)| g - hyper.scale * held).collect();
        for channel in 0..channels {
            let of = |v: &[f64]| frobenius(&v[channel * rank..(channel + 1) * rank]);
            let factor = of(&direction) / (of(&projected) + 1e-8);
            (0..small).for_each(|at| rest[place(channel, at)] *= factor);
        }
        let share = limited(frobenius(&rest), &mut state.norm, growth_limit, 1e-8);
        update.iter_mut().zip(rest).for_each(|(update, rest)| *update += share * rest);
    }
    let t = f64::from(state.step);
    let correction = (1.0 - hyper.beta2.powf(t)).sqrt() / (1.0 - hyper.beta1.powf(t));
    for (w, x) in w.iter_mut().zip(update) {
        *w -= lr * (correction * x + hyper.weight_decay * *w);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_leading_vectors_are_those_of_a_known_decomposition() {
        // A = 3·u₁v₁ᵀ + 1·u₂v₂ᵀ with u₁ = (0.6, 0.8).
        let (u, v) = ([[0.6, 0.8], [0.8, -0.6]], [[1.0, 0.0, 0.0], [0.0, 0.6, 0.8]]);
        let a: Vec<f64> = (0..6).map(|at| 3.0 * u[0][at / 3] * v[0][at % 3] + u[1][at / 3] * v[1][at % 3]).collect();
        let basis = leading_vectors(&a, 2, 3, 2);
        for (got, want) in basis.iter().zip([0.6, 0.8, 0.8, -0.6]) {
            assert!((got - want).abs() < 1e-12, "{basis:?}");
        }
    }
}
