//! APOLLO (Zhu et al. 2024, arXiv 2412.05270, algorithm 1): Adam determines only the length of each channel's step, in
//! a random projection of the gradient.

use super::norm::frobenius;
use super::racs::limited;
use super::random::normal;

/// Hyperparameters, constant over a run.
#[derive(Clone, Copy, Debug)]
pub struct Apollo {
    /// r.
    pub rank: usize,
    /// T.
    pub update_interval: u32,
    /// The update is multiplied by its square root.
    pub scale: f64,
    /// One factor for the whole matrix (APOLLO-Mini) instead of one per channel.
    pub whole: bool,
    /// γ.
    pub growth_limit: f64,
    /// β₁.
    pub beta1: f64,
    /// β₂.
    pub beta2: f64,
    /// Added to √v.
    pub eps: f64,
    /// Decoupled weight decay, scaled by the learning rate.
    pub weight_decay: f64,
}

/// Adam's moments of the projected gradient, one row per channel.
#[derive(Clone, Debug)]
pub struct State {
    /// `[channels, r]`.
    pub exp_avg: Vec<f64>,
    /// `[channels, r]`.
    pub exp_avg_sq: Vec<f64>,
    /// The norm of the last update.
    pub norm: f64,
    /// Number of steps taken.
    pub step: u32,
}

impl State {
    /// The state before the first step of an m×n weight.
    pub fn new(m: usize, n: usize, rank: usize) -> Self {
        let len = m.max(n) * rank;
        Self { exp_avg: vec![0.0; len], exp_avg_sq: vec![0.0; len], norm: 0.0, step: 0 }
    }
}

/// The projection of step t (from 1), `[smaller side, r]`, of variance 1/r; row-major.
pub fn projection(hyper: &Apollo, small: usize, t: u32, stream: u32, seed: u32) -> Vec<f64> {
    let epoch = (t - 1) / hyper.update_interval;
    let scale = (hyper.rank as f64).sqrt().recip();
    (0..small * hyper.rank).map(|at| scale * normal(at as u32, stream, epoch, seed)).collect()
}

/// R = G projected along its smaller side; R̃ = m/(√v + ε) of Adam's moments of R; factors ‖R̃‖/‖R‖ for each channel
/// along the larger side, or one for all; the update is G·factor, limited to grow by at most γ per step, times √scale.
///
/// As in apollo-torch, Adam's bias corrections are part of the learning rate, and 1e-8 is added to the norms in
/// denominators.
pub fn step(
    hyper: &Apollo,
    state: &mut State,
    w: &mut [f64],
    g: &[f64],
    [m, n]: [usize; 2],
    lr: f64,
    [stream, seed]: [u32; 2],
) {
    state.step += 1;
    let rank = hyper.rank;
    let (channels, small) = (m.max(n), m.min(n));
    let p = projection(hyper, small, state.step, stream, seed);
    // A channel is a row of G if there are at least as many rows as columns, else a column.
    let element = |channel: usize, at: usize| if m >= n { g[channel * n + at] } else { g[at * n + channel] };
    let mut norms = vec![[0.0; 2]; channels];
    for (channel, norms) in norms.iter_mut().enumerate() {
        for k in 0..rank {
            let r = (0..small).map(|at| element(channel, at) * p[at * rank + k]).sum::<f64>();
            let (m, v) = (&mut state.exp_avg[channel * rank + k], &mut state.exp_avg_sq[channel * rank + k]);
            *m = hyper.beta1 * *m + (1.0 - hyper.beta1) * r;
            *v = hyper.beta2 * *v + (1.0 - hyper.beta2) * r * r;
            norms[0] += (*m / (v.sqrt() + hyper.eps)).powi(2);
            norms[1] += r * r;
        }
    }
    let ratio = |[scaled, raw]: [f64; 2]| scaled.sqrt() / (raw.sqrt() + 1e-8);
    let all = norms.iter().fold([0.0; 2], |[a, b], [c, d]| [a + c, b + d]);
    let factor = |channel: usize| if hyper.whole { ratio(all) } else { ratio(norms[channel]) };
    let update: Vec<f64> = (0..m * n).map(|at| g[at] * factor(if m >= n { at / n } else { at % n })).collect();
    let share = limited(frobenius(&update), &mut state.norm, hyper.growth_limit, 1e-8);
    let t = f64::from(state.step);
    let correction = (1.0 - hyper.beta2.powf(t)).sqrt() / (1.0 - hyper.beta1.powf(t));
    for (w, x) in w.iter_mut().zip(update) {
        *w -= lr * (correction * hyper.scale.sqrt() * share * x + hyper.weight_decay * *w);
    }
}
