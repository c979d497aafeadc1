//! ‖x‖² and the factor that clips it: the global gradient norm.

/// Σ x². The global norm of several gradients is the square root of the sum of theirs.
pub fn squared(x: &[f64]) -> f64 {
    x.iter().map(|x| x * x).sum()
}

/// ‖x‖.
pub fn frobenius(x: &[f64]) -> f64 {
    squared(x).sqrt()
}

/// ‖x‖/√len: the root mean square.
pub fn rms(x: &[f64]) -> f64 {
    (squared(x) / x.len() as f64).sqrt()
}

/// min(1, max_norm / (total_norm + 1e-6)): the factor that PyTorch's `clip_grad_norm_` applies to every gradient.
pub fn clip_factor(total_norm: f64, max_norm: f64) -> f64 {
    (max_norm / (total_norm + 1e-6)).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worked_values() {
        assert_eq!(squared(&[3.0, -4.0]), 25.0);
        assert_eq!((frobenius(&[3.0, -4.0]), rms(&[3.0, -3.0, 3.0])), (5.0, 3.0));
        assert_eq!(clip_factor(0.5, 1.0), 1.0);
        assert_eq!(clip_factor(0.0, 1.0), 1.0);
        // The 1e-6 matters at norm 1: a factor of 1 would be wrong.
        assert_eq!(clip_factor(1.0, 1.0), 1.0 / 1.000001);
        assert_eq!(clip_factor(4.0, 2.0), 2.0 / 4.000001);
    }
}
