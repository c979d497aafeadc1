//! X ← √n·Q⁻¹X and X ← √m·XR⁻¹: the two projections of which SinkGD is made (arXiv 2502.06742, Algorithm 3).
//!
//! Q and R are the diagonals of the row and the column L2 norms. Without zero rows and columns either pass ends
//! on ‖X‖_F = √(m·n), that is, with entries of root mean square 1, whatever the scale of the gradient.
//! A zero row or column stays zero and is never divided by. There is no epsilon: squares in f64 neither overflow nor
//! vanish for any gradient that f32 can hold.

/// Every row of x to L2 norm √n: x and the result are m×n.
pub fn row(x: &[f64], m: usize, n: usize) -> Vec<f64> {
    let factors: Vec<f64> = row_norms(x, m, n).iter().map(|norm| factor((n as f64).sqrt(), *norm)).collect();
    (0..m * n).map(|at| x[at] * factors[at / n]).collect()
}

/// Every column of x to L2 norm √m: x and the result are m×n.
pub fn column(x: &[f64], m: usize, n: usize) -> Vec<f64> {
    let factors: Vec<f64> = column_norms(x, m, n).iter().map(|norm| factor((m as f64).sqrt(), *norm)).collect();
    (0..m * n).map(|at| x[at] * factors[at % n]).collect()
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

/// target/norm, or 0 for a norm of 0; a NaN stays one.
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
    fn zero_rows_and_columns_stay_zero() {
        let x = [0.0, 0.0, 0.0, 1.0, 0.0, -2.0, 0.5, 0.0, 4.0]; // row 0 and column 1
        for y in [row(&x, 3, 3), column(&x, 3, 3)] {
            for (x, y) in x.iter().zip(y) {
                assert_eq!(*x == 0.0, y == 0.0, "{x} became {y}");
                assert!(y.is_finite(), "{x} became {y}");
            }
        }
    }
}
