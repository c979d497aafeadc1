//! Extrapolated SGD (Lin, Kong, Stich & Jaggi 2020, arXiv 2006.05720) with the last gradient as the extrapolation.

/// w½ = w − γ̂·g, the point at which to take the gradient of the step; g is that of the previous step, zero at first.
pub fn lookahead(w: &[f64], previous: &[f64], rate: f64) -> Vec<f64> {
    w.iter().zip(previous).map(|(w, g)| w - rate * g).collect()
}

/// w ← w − lr·(g + λw) with the gradient g at w½.
pub fn step(w: &mut [f64], g: &[f64], lr: f64, weight_decay: f64) {
    for (w, g) in w.iter_mut().zip(g) {
        *w -= lr * (g + weight_decay * *w);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rotation_that_plain_descent_leaves_is_held() {
        // The field (y, −x) of a saddle: plain descent spirals out, extrapolation spirals in.
        let field = |w: &[f64]| [w[1], -w[0]];
        let norm = |w: &[f64]| w.iter().map(|w| w * w).sum::<f64>().sqrt();
        let run = |extrapolation: f64| {
            let (mut w, mut previous) = (vec![1.0, 0.0], [0.0, 0.0]);
            for _ in 0..200 {
                let g = field(&lookahead(&w, &previous, extrapolation * 0.1));
                step(&mut w, &g, 0.1, 0.0);
                previous = g;
            }
            norm(&w)
        };
        assert!(run(0.0) > 2.0 && run(1.0) < 0.5, "{} {}", run(0.0), run(1.0));
    }
}
