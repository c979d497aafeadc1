//! w ← w·(1 − lr·λ) − lr·sign(β₁m + (1−β₁)g); m ← β₂m + (1−β₂)g: Lion (Chen et al. 2023, arXiv 2302.06675, Algorithm 2).

/// Hyperparameters, constant over a run.
#[derive(Clone, Copy, Debug)]
pub struct Lion {
    /// β₁, the weight of the momentum in the update; the paper's default is 0.9.
    pub beta1: f64,
    /// β₂, the decay of the momentum; the paper's default is 0.99.
    pub beta2: f64,
    /// λ, decoupled.
    pub weight_decay: f64,
}

/// One step of a weight; `exp_avg` is m, zero before the first step. All three have the same length.
pub fn step(hyper: &Lion, exp_avg: &mut [f64], w: &mut [f64], g: &[f64], lr: f64) {
    assert_eq!([w.len(), exp_avg.len()], [g.len(); 2], "lion: w, exp_avg and g");
    for ((w, m), g) in w.iter_mut().zip(exp_avg).zip(g) {
        let mixed = hyper.beta1 * *m + (1.0 - hyper.beta1) * g;
        let sign = if mixed == 0.0 { 0.0 } else { mixed.signum() };
        *w = *w * (1.0 - lr * hyper.weight_decay) - lr * sign;
        *m = hyper.beta2 * *m + (1.0 - hyper.beta2) * g;
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::assert_close;
    use super::*;

    #[test]
    fn two_steps_by_hand() {
        let hyper = Lion { beta1: 0.5, beta2: 0.75, weight_decay: 0.5 };
        let (mut m, mut w) = ([0.0, 0.0], [1.0, -2.0]);
        step(&hyper, &mut m, &mut w, &[4.0, 0.0], 0.2);
        // w: 0.9 − 0.2, −1.8; m: 1, 0.
        assert_close("w", &w, &[0.7, -1.8], 1e-15);
        step(&hyper, &mut m, &mut w, &[-0.5, -1.0], 0.2);
        // The momentum outweighs the gradient: 0.5·1 − 0.25 > 0.
        assert_close("w", &w, &[0.63 - 0.2, -1.62 + 0.2], 1e-15);
        assert_close("m", &m, &[0.75 - 0.125, -0.25], 1e-15);
    }
}
