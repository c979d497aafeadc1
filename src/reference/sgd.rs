//! b ← μ·b + g; w ← w − lr·b: SGD with momentum, as in PyTorch's `torch.optim.SGD` with dampening 0 (Sutskever et al.
//! 2013 for the Nesterov form, rewritten there so that it needs no look-ahead).

/// Hyperparameters, constant over a run.
#[derive(Clone, Copy, Debug)]
pub struct Sgd {
    /// μ; 0 keeps no buffer.
    pub momentum: f64,
    /// λ of the L2 penalty: λ·w is added to the gradient, before the momentum.
    pub weight_decay: f64,
    /// Step along g + μ·b instead of b.
    pub nesterov: bool,
}

/// The state for one weight.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// b, as long as the weight; `None` before the first step, which starts it at g, and without momentum.
    pub momentum_buffer: Option<Vec<f64>>,
}

/// g ← g + λw; b ← μb + g (at first b ← g); w ← w − lr·b, or with Nesterov w − lr·(g + μb).
pub fn step(hyper: &Sgd, state: &mut State, w: &mut [f64], g: &[f64], lr: f64) {
    assert_eq!(w.len(), g.len(), "sgd: w and g");
    let mut update: Vec<f64> = w.iter().zip(g).map(|(w, g)| g + hyper.weight_decay * w).collect();
    if hyper.momentum != 0.0 {
        // From b = 0 the rule μ·b + g gives g: PyTorch's first step.
        let buffer = state.momentum_buffer.get_or_insert_with(|| vec![0.0; w.len()]);
        assert_eq!(w.len(), buffer.len(), "sgd: w and momentum_buffer");
        for (b, update) in buffer.iter_mut().zip(&mut update) {
            *b = hyper.momentum * *b + *update;
            *update = if hyper.nesterov { *update + hyper.momentum * *b } else { *b };
        }
    }
    for (w, update) in w.iter_mut().zip(update) {
        *w -= lr * update;
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::assert_close;
    use super::*;

    #[test]
    fn three_steps_are_those_of_pytorch() {
        // torch.optim.SGD in float64, torch 1.13.
        let cases = [
            (0.0, false, [0.742064, -1.845628, 0.95633649903]),
            (0.9, false, [0.684824, -1.686148, 0.91799649813]),
            (0.9, true, [0.463567676, -1.576050352, 1.3354310008983]),
        ];
        for (momentum, nesterov, expected) in cases {
            let hyper = Sgd { momentum, weight_decay: 0.3, nesterov };
            let mut w = [1.0, -2.0, 0.5];
            let mut state = State::default();
            for g in [[0.1, -0.2, 0.0], [-0.4, 0.3, 1e-8], [2.0, 0.1, -5.0]] {
                step(&hyper, &mut state, &mut w, &g, 0.1);
            }
            assert_close(&format!("momentum {momentum}, nesterov {nesterov}"), &w, &expected, 1e-14);
            assert_eq!(state.momentum_buffer.is_some(), momentum != 0.0);
        }
    }
}
