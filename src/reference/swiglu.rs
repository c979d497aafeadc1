//! act = silu(gate) ⊙ up with silu(z) = z·σ(z) (Shazeer 2020, arXiv 2002.05202, equation 6).

/// act = gate·σ(gate)·up, elementwise: gate, up and act are `[N, F]`.
pub fn forward(gate: &[f64], up: &[f64]) -> Vec<f64> {
    assert_eq!(gate.len(), up.len(), "swiglu: gate and up");
    gate.iter().zip(up).map(|(gate, up)| gate * sigmoid(*gate) * up).collect()
}

/// dgate = dact·up·σ·(1 + gate·(1 − σ)), dup = dact·gate·σ, with σ = σ(gate): all `[N, F]`. Returns (dgate, dup).
pub fn backward(gate: &[f64], up: &[f64], dact: &[f64]) -> (Vec<f64>, Vec<f64>) {
    assert_eq!(gate.len(), up.len(), "swiglu: gate and up");
    assert_eq!(gate.len(), dact.len(), "swiglu: gate and dact");
    (0..gate.len())
        .map(|i| {
            let s = sigmoid(gate[i]);
            (dact[i] * up[i] * s * (1.0 + gate[i] * (1.0 - s)), dact[i] * gate[i] * s)
        })
        .unzip()
}

fn sigmoid(z: f64) -> f64 {
    1.0 / (1.0 + (-z).exp())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_close, assert_gradient, dot, random};
    use super::*;

    #[test]
    fn worked_values() {
        // σ(ln 3) = 3/4; for large negative inputs silu is 0, not NaN.
        let log3 = 3f64.ln();
        let act = forward(&[0.0, log3, -log3, -1e4], &[5.0, 4.0, 4.0, 1.0]);
        assert_close("act", &act, &[0.0, 3.0 * log3, -log3, 0.0], 1e-15);
    }

    #[test]
    fn gradients_equal_central_differences() {
        let gate: Vec<f64> = random(9, 1).iter().map(|x| 4.0 * x).collect();
        let (up, dact) = (random(9, 2), random(9, 3));
        let (dgate, dup) = backward(&gate, &up, &dact);
        assert_gradient("dgate", &dgate, &gate, |gate| dot(&forward(gate, &up), &dact));
        assert_gradient("dup", &dup, &up, |up| dot(&forward(&gate, up), &dact));
    }
}
