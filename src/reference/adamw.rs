//! w ← w·(1 − lr·λ) − lr·m̂/(√v̂ + eps): AdamW (Loshchilov & Hutter 2019, arXiv 1711.05101, Algorithm 2), as in
//! PyTorch's `torch.optim.AdamW`: the decay comes first, and v's bias correction is applied outside the root, before
//! eps is added.

/// Hyperparameters, constant over a run.
#[derive(Clone, Copy, Debug)]
pub struct AdamW {
    /// β₁, the decay of the mean of the gradient; PyTorch's default is 0.9.
    pub beta1: f64,
    /// β₂, the decay of the mean of its square; PyTorch's default is 0.999.
    pub beta2: f64,
    /// Added to √v̂; PyTorch's default is 1e-8.
    pub eps: f64,
    /// λ, decoupled: it shrinks the weight and never enters the moments.
    pub weight_decay: f64,
}

/// The state for one weight.
#[derive(Clone, Debug)]
pub struct State {
    /// m, the running mean of the gradient, as long as the weight.
    pub exp_avg: Vec<f64>,
    /// v, the running mean of its square, as long as the weight.
    pub exp_avg_sq: Vec<f64>,
    /// Number of steps taken.
    pub step: u32,
}

impl State {
    /// The state before the first step of a weight with `len` entries.
    pub fn new(len: usize) -> Self {
        Self { exp_avg: vec![0.0; len], exp_avg_sq: vec![0.0; len], step: 0 }
    }
}

/// m ← β₁m + (1−β₁)g; v ← β₂v + (1−β₂)g²; w ← w·(1 − lr·λ) − lr/(1−β₁ᵗ) · m / (√v/√(1−β₂ᵗ) + eps).
pub fn step(hyper: &AdamW, state: &mut State, w: &mut [f64], g: &[f64], lr: f64) {
    assert_eq!(w.len(), g.len(), "adamw: w and g");
    assert_eq!(w.len(), state.exp_avg.len(), "adamw: w and exp_avg");
    assert_eq!(w.len(), state.exp_avg_sq.len(), "adamw: w and exp_avg_sq");
    state.step += 1;
    let correction1 = 1.0 - hyper.beta1.powf(state.step.into());
    let correction2 = 1.0 - hyper.beta2.powf(state.step.into());
    for i in 0..w.len() {
        let (m, v) = (&mut state.exp_avg[i], &mut state.exp_avg_sq[i]);
        *m = hyper.beta1 * *m + (1.0 - hyper.beta1) * g[i];
        *v = hyper.beta2 * *v + (1.0 - hyper.beta2) * g[i] * g[i];
        let denom = v.sqrt() / correction2.sqrt() + hyper.eps;
        w[i] = w[i] * (1.0 - lr * hyper.weight_decay) - lr / correction1 * *m / denom;
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::assert_close;
    use super::*;

    #[test]
    fn three_steps_are_those_of_pytorch() {
        // torch.optim.AdamW in float64, torch 1.13. eps is large: at 1e-8 a wrong position would not show.
        let hyper = AdamW { beta1: 0.8, beta2: 0.9, eps: 0.01, weight_decay: 0.3 };
        let mut w = [1.0, -2.0, 0.5];
        let mut state = State::new(3);
        for g in [[0.1, -0.2, 0.0], [-0.4, 0.3, 1e-8], [2.0, 0.1, -5.0]] {
            step(&hyper, &mut state, &mut w, &g, 0.1);
        }
        assert_close("w", &w, &[0.8258001140494746, -1.80283212346601, 0.5235825750874741], 1e-15);
        assert_eq!(state.step, 3);
    }
}
