//! y = x + b for every row of x, and the gradient of b.

/// x `[N, C]` with b `[C]` added to every row.
pub fn forward(x: &[f64], bias: &[f64]) -> Vec<f64> {
    x.iter().zip(bias.iter().cycle()).map(|(x, b)| x + b).collect()
}

/// db `[C]` from dy `[N, C]`: the sum of its rows.
pub fn backward(dy: &[f64], cols: usize) -> Vec<f64> {
    let mut sums = vec![0.0; cols];
    for row in dy.chunks_exact(cols) {
        sums.iter_mut().zip(row).for_each(|(sum, dy)| *sum += dy);
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_gradient, dot, random};
    use super::*;

    #[test]
    fn gradient_equals_central_differences() {
        let (x, bias, dy) = (random(15, 1), random(5, 2), random(15, 3));
        assert_gradient("db", &backward(&dy, 5), &bias, |bias| dot(&forward(&x, bias), &dy));
    }
}
