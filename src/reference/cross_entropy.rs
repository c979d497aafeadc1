//! `loss = mean over tokens of (lse − logits[target])`, `lse = ln Σ exp(logits)`: the mean cross-entropy, in nats.

/// `loss = mean(lse[n] − logits[n, targets[n]])`: logits is `[N, V]`, targets and lse are `[N]`. Returns (loss, lse).
pub fn forward(logits: &[f64], targets: &[u32], vocab: usize) -> (f64, Vec<f64>) {
    check(logits, targets, vocab);
    let lse: Vec<f64> = logits.chunks_exact(vocab).map(log_sum_exp).collect();
    let total: f64 = (0..targets.len()).map(|n| lse[n] - logits[n * vocab + targets[n] as usize]).sum();
    (total / targets.len() as f64, lse)
}

/// dlogits = (softmax(logits) − onehot(targets)) / N, the gradient of the *mean*: logits and dlogits are `[N, V]`.
pub fn backward(logits: &[f64], targets: &[u32], vocab: usize) -> Vec<f64> {
    check(logits, targets, vocab);
    let tokens = targets.len() as f64;
    let mut dlogits = Vec::with_capacity(logits.len());
    for (row, &target) in logits.chunks_exact(vocab).zip(targets) {
        let lse = log_sum_exp(row);
        let start = dlogits.len();
        dlogits.extend(row.iter().map(|logit| (logit - lse).exp() / tokens));
        dlogits[start + target as usize] -= 1.0 / tokens;
    }
    dlogits
}

/// ln Σ exp(row), with the largest logit subtracted first so that no exponential overflows.
fn log_sum_exp(row: &[f64]) -> f64 {
    let max = row.iter().fold(f64::NEG_INFINITY, |max, logit| max.max(*logit));
    max + row.iter().map(|logit| (logit - max).exp()).sum::<f64>().ln()
}

fn check(logits: &[f64], targets: &[u32], vocab: usize) {
    assert_eq!(logits.len(), targets.len() * vocab, "cross_entropy: logits wants N·V = {}·{vocab}", targets.len());
    if let Some(target) = targets.iter().find(|&&target| target as usize >= vocab) {
        panic!("cross_entropy: target {target} in a vocabulary of {vocab}");
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_close, assert_gradient, random};
    use super::*;

    #[test]
    fn worked_values() {
        // Odds 1:3 and, shifted by 1000, 3:1; a naive exponential would overflow there.
        let log3 = 3f64.ln();
        let (loss, lse) = forward(&[0.0, log3, 1000.0 + log3, 1000.0], &[0, 0], 2);
        assert_close("lse", &lse, &[4f64.ln(), 1000.0 + 4f64.ln()], 1e-15);
        assert_close("loss", &[loss], &[(4f64.ln() + (4.0f64 / 3.0).ln()) / 2.0], 1e-12);
    }

    #[test]
    fn gradient_equals_central_differences() {
        let [tokens, vocab] = [4, 7];
        let targets = [6, 0, 3, 3];
        let logits: Vec<f64> = random(tokens * vocab, 1).iter().map(|x| 3.0 * x).collect();
        let dlogits = backward(&logits, &targets, vocab);
        assert_gradient("dlogits", &dlogits, &logits, |logits| forward(logits, &targets, vocab).0);
    }

    #[test]
    #[should_panic(expected = "target 2 in a vocabulary of 2")]
    fn a_target_beyond_the_vocabulary_panics() {
        forward(&[0.0; 2], &[2], 2);
    }
}
