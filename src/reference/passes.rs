//! X ← P(X): the normalizations that optimizers are built from (arXiv 2502.06742); `newton_schulz` has the spectral
//! one.
//!
//! Without zero rows and columns every pass except `max` ends at ‖X‖_F = √(m·n), that is, at entries with root mean
//! square 1, whatever the scale of the gradient. Zeros stay zero and are never divided by. There is no epsilon: squares
//! in f64 neither overflow nor underflow for any gradient that f32 can represent.

/// Scales every row of x to L2 norm √n: x and the result are m×n.
pub fn row(x: &[f64], m: usize, n: usize) -> Vec<f64> {
    let factors: Vec<f64> = row_norms(x, m, n).iter().map(|norm| factor((n as f64).sqrt(), *norm)).collect();
    (0..m * n).map(|at| x[at] * factors[at / n]).collect()
}

/// Scales every column of x to L2 norm √m: x and the result are m×n.
pub fn column(x: &[f64], m: usize, n: usize) -> Vec<f64> {
    let factors: Vec<f64> = column_norms(x, m, n).iter().map(|norm| factor((m as f64).sqrt(), *norm)).collect();
    (0..m * n).map(|at| x[at] * factors[at % n]).collect()
}

/// A row whose standard deviation is at most this fraction of its largest magnitude counts as constant.
///
/// f32 cannot distinguish such a row from one with equal elements; after subtracting the mean only rounding is left.
pub const CONSTANT_ROW: f64 = 1.0 / (1u64 << 20) as f64;

/// Subtracts each row's mean and divides by its (population) standard deviation; a constant row becomes zero.
///
/// SWAN's GradNorm (arXiv 2412.13148): x and the result are m×n.
pub fn standardize(x: &[f64], m: usize, n: usize) -> Vec<f64> {
    assert_eq!(x.len(), m * n, "standardize: x wants m·n = {m}·{n}");
    let standardized = |row: &[f64]| -> Vec<f64> {
        let largest = row.iter().fold(0.0_f64, |max, x| max.max(x.abs()));
        let mean = row.iter().sum::<f64>() / n as f64;
        let deviation = (row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n as f64).sqrt();
        let factor = if deviation <= CONSTANT_ROW * largest { 0.0 } else { 1.0 / deviation };
        row.iter().map(|x| (x - mean) * factor).collect()
    };
    x.chunks_exact(n).flat_map(standardized).collect()
}

/// Replaces every element by its sign; 0 stays 0.
pub fn sign(x: &[f64]) -> Vec<f64> {
    x.iter().map(|&x| if x == 0.0 { 0.0 } else { x.signum() }).collect()
}

/// Scales all of x to ‖X‖_F = √(its length).
pub fn frobenius(x: &[f64]) -> Vec<f64> {
    let norm = x.iter().map(|x| x * x).sum::<f64>().sqrt();
    let factor = factor((x.len() as f64).sqrt(), norm);
    x.iter().map(|x| x * factor).collect()
}

/// Scales all of x to max|X| = 1.
pub fn max(x: &[f64]) -> Vec<f64> {
    let factor = factor(1.0, x.iter().fold(0.0_f64, |max, x| max.max(x.abs())));
    x.iter().map(|x| x * factor).collect()
}

/// Sets rows to zero whose L2 norm is at most `threshold` times the mean row norm (arXiv 2609.19969, algorithm 1).
pub fn drop_rows(x: &[f64], m: usize, n: usize, threshold: f64) -> Vec<f64> {
    let norms = row_norms(x, m, n);
    let least = threshold * norms.iter().sum::<f64>() / m as f64;
    (0..m * n).map(|at| if norms[at / n] <= least { 0.0 } else { x[at] }).collect()
}

/// The L2 norm of every row of x (m×n): `[m]`.
pub fn row_norms(x: &[f64], m: usize, n: usize) -> Vec<f64> {
    assert_eq!(x.len(), m * n, "row_norms: x wants m·n = {m}·{n}");
    x.chunks_exact(n).map(|row| row.iter().map(|x| x * x).sum::<f64>().sqrt()).collect()
}

/// The L2 norm of every column of x (m×n): `[n]`.
pub fn column_norms(x: &[f64], m: usize, n: usize) -> Vec<f64> {
    assert_eq!(x.len(), m * n, "column_norms: x wants m·n = {m}·{n}");
    let mut squares = vec![0.0; n];
    for row in x.chunks_exact(n) {
        for (square, x) in squares.iter_mut().zip(row) {
            *square += x * x;
        }
    }
    squares.into_iter().map(f64::sqrt).collect()
}

/// target/norm, or 0 for a norm of 0; a NaN stays NaN.
fn factor(target: f64, norm: f64) -> f64 {
    if norm == 0.0 { 0.0 } else { target / norm }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_close, random};
    use super::*;

    #[test]
    fn worked_values() {
        // 2×2: rows of norm 5 and 13 go to √2; columns of norm 5 and 5 go to √2.
        let root2 = 2f64.sqrt();
        let y = row(&[3.0, -4.0, 5.0, 12.0], 2, 2);
        assert_close("row", &y, &[0.6 * root2, -0.8 * root2, 5.0 / 13.0 * root2, 12.0 / 13.0 * root2], 1e-15);
        let y = column(&[3.0, 0.0, -4.0, 5.0], 2, 2);
        assert_close("column", &y, &[0.6 * root2, 0.0, -0.8 * root2, root2], 1e-15);
    }

    #[test]
    fn norms_are_exact_at_every_scale_of_an_f32_gradient() {
        let [m, n] = [5, 7];
        for scale in [1e-45, 1e-7, 1.0, 1e38] {
            let x: Vec<f64> = random(m * n, 1).iter().map(|x| scale * x).collect();
            let (by_row, by_column) = (row(&x, m, n), column(&x, m, n));
            assert_close("row norms", &row_norms(&by_row, m, n), &[7f64.sqrt(); 5], 1e-14);
            assert_close("column norms", &column_norms(&by_column, m, n), &[5f64.sqrt(); 7], 1e-14);
        }
    }

    #[test]
    fn every_full_pass_ends_on_one_sphere() {
        let [m, n] = [5, 7];
        let x: Vec<f64> = random(m * n, 2).iter().map(|x| (4.0 * x).exp() * x).collect();
        for (name, y) in [
            ("standardize", standardize(&x, m, n)),
            ("sign", sign(&x)),
            ("frobenius", frobenius(&x)),
            ("row", row(&x, m, n)),
            ("column", column(&x, m, n)),
        ] {
            let rms = (y.iter().map(|y| y * y).sum::<f64>() / (m * n) as f64).sqrt();
            assert_close(name, &[rms], &[1.0], 1e-14);
        }
        assert_eq!(max(&x).iter().fold(0.0_f64, |max, y| max.max(y.abs())), 1.0);
    }

    #[test]
    fn standardized_rows_have_mean_0_and_deviation_1() {
        // (1, 3): mean 2, deviation 1. A constant row becomes zero, whatever its rounding.
        let y = standardize(&[1.0, 3.0, 0.1 + 0.2, 0.3, -5.0, -5.0], 3, 2);
        assert_close("rows", &y, &[-1.0, 1.0, 0.0, 0.0, 0.0, 0.0], 1e-15);
        assert_eq!(standardize(&[3.0, -2.0], 2, 1), [0.0, 0.0], "one column");
    }

    #[test]
    fn rows_below_the_threshold_are_dropped() {
        // Norms 5, 0, 0.5, 10.5: mean 4.
        let x = [3.0, 4.0, 0.0, 0.0, 0.3, 0.4, 6.3, 8.4];
        assert_eq!(drop_rows(&x, 4, 2, 0.125), [3.0, 4.0, 0.0, 0.0, 0.0, 0.0, 6.3, 8.4]);
        assert_eq!(drop_rows(&x, 4, 2, 0.124), x);
    }

    #[test]
    fn zero_rows_and_columns_stay_zero() {
        let x = [0.0, 0.0, 0.0, 1.0, 0.0, -2.0, 0.5, 0.0, 4.0]; // row 0 and column 1
        for y in [row(&x, 3, 3), column(&x, 3, 3), sign(&x), frobenius(&x), max(&x), drop_rows(&x, 3, 3, 0.01)] {
            for (x, y) in x.iter().zip(y) {
                assert_eq!(*x == 0.0, y == 0.0, "{x} became {y}");
                assert!(y.is_finite(), "{x} became {y}");
            }
        }
    }
}
