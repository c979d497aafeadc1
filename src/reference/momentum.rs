//! M ← βM + (1 − β)X: the averaged matrix, before or after the passes of an optimizer.

/// Averages x into the buffer of the same length, and returns the result to continue with: M, or with Nesterov's
/// look-ahead βM + (1 − β)X (Jordan et al. 2024; arXiv 2609.19969, algorithm 1).
pub fn average(buffer: &mut [f64], x: &[f64], beta: f64, nesterov: bool) -> Vec<f64> {
    assert_eq!(buffer.len(), x.len(), "momentum: buffer and x");
    for (buffer, x) in buffer.iter_mut().zip(x) {
        *buffer = beta * *buffer + (1.0 - beta) * x;
    }
    if !nesterov {
        return buffer.to_vec();
    }
    buffer.iter().zip(x).map(|(buffer, x)| beta * buffer + (1.0 - beta) * x).collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing::assert_close;
    use super::*;

    #[test]
    fn two_steps_by_hand() {
        let mut buffer = [0.0];
        assert_close("first", &average(&mut buffer, &[2.0], 0.75, false), &[0.5], 1e-15);
        // M = 0.375 + 1 = 1.375; ahead: 1.03125 + 1.
        assert_close("second", &average(&mut buffer, &[4.0], 0.75, true), &[2.03125], 1e-15);
        assert_close("buffer", &buffer, &[1.375], 1e-15);
    }
}
