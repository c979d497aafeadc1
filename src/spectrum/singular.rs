//! Singular values, and quantities derived from them.

use faer::MatRef;

/// The min(m, n) singular values of x (m×n, row after row), descending.
///
/// Exact to about 1e-13 of the largest; smaller ones have no correct digit.
///
/// # Panics
/// If x has a NaN or an infinity, or its length is not m·n.
pub fn singular_values(x: &[f64], m: usize, n: usize) -> Vec<f64> {
    assert_eq!(x.len(), m * n, "singular_values: x wants m·n = {m}·{n}");
    MatRef::from_row_major_slice(x, m, n).singular_values().expect("the singular values of finite numbers converge")
}

/// U·diag(f(σ))·Vᵀ for x = U·diag(σ)·Vᵀ, m×n, row after row.
///
/// # Panics
/// See [`singular_values`].
pub fn map_singular_values(x: &[f64], m: usize, n: usize, f: impl Fn(f64) -> f64) -> Vec<f64> {
    assert_eq!(x.len(), m * n, "map_singular_values: x wants m·n = {m}·{n}");
    let svd = MatRef::from_row_major_slice(x, m, n).thin_svd().expect("the decomposition of finite numbers converges");
    let (mut u, values) = (svd.U().to_owned(), svd.S().column_vector());
    for (at, column) in u.col_iter_mut().enumerate() {
        let factor = f(values[at]);
        column.iter_mut().for_each(|u| *u *= factor);
    }
    let y = u * svd.V().transpose();
    (0..m * n).map(|at| y[(at / n, at % n)]).collect()
}

/// The largest singular value of x (m×n, row after row) with its left `[m]` and its right vector `[n]`.
///
/// # Panics
/// See [`singular_values`]; also if the matrix is empty.
pub(super) fn largest_singular_triple(x: &[f64], m: usize, n: usize) -> (f64, Vec<f64>, Vec<f64>) {
    assert_eq!(x.len(), m * n, "largest_singular_triple: x wants m·n = {m}·{n}");
    let svd = MatRef::from_row_major_slice(x, m, n).thin_svd().expect("the decomposition of finite numbers converges");
    let first = |vectors: MatRef<'_, f64>| vectors.col(0).iter().copied().collect();
    (svd.S().column_vector()[0], first(svd.U()), first(svd.V()))
}

/// Singular value `index` of x (m×n, row-major), from 0 for the largest, with its left `[m]` and right `[n]` vector;
/// the entry of largest magnitude of the right one is positive. `None` if `index` is min(m, n) or more.
///
/// # Panics
/// See [`singular_values`].
pub fn singular_direction(x: &[f64], m: usize, n: usize, index: usize) -> Option<(f64, Vec<f64>, Vec<f64>)> {
    assert_eq!(x.len(), m * n, "singular_direction: x wants m·n = {m}·{n}");
    if index >= m.min(n) {
        return None;
    }
    let svd = MatRef::from_row_major_slice(x, m, n).thin_svd().expect("the decomposition of finite numbers converges");
    let column = |of: MatRef<'_, f64>| -> Vec<f64> { of.col(index).iter().copied().collect() };
    let (mut left, mut right) = (column(svd.U()), column(svd.V()));
    orient(&mut left, &mut right);
    Some((svd.S().column_vector()[index], left, right))
}

/// Chooses between a pair of singular vectors and its negative: makes the entry of largest magnitude of the right
/// vector positive.
pub(super) fn orient(left: &mut [f64], right: &mut [f64]) {
    let largest = right.iter().fold(0.0_f64, |largest, x| if x.abs() > largest.abs() { *x } else { largest });
    if largest < 0.0 {
        left.iter_mut().chain(right).for_each(|x| *x = -*x);
    }
}

/// exp(H) for the entropy H of the singular values over their sum: from 1 for rank one to min(m, n) for a flat
/// spectrum, and 0 for a zero matrix.
///
/// Roy & Vetterli 2007, "The effective rank: a measure of effective dimensionality", EUSIPCO, definition 1.
pub fn effective_rank(singular_values: &[f64]) -> f64 {
    let sum: f64 = singular_values.iter().sum();
    if sum == 0.0 {
        return 0.0;
    }
    let shares = singular_values.iter().map(|sigma| sigma / sum).filter(|share| *share > 0.0);
    (-shares.map(|share| share * share.ln()).sum::<f64>()).exp()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::matmul;

    /// I − 2vvᵀ/‖v‖²: orthogonal.
    fn reflection(n: usize, step: usize) -> Vec<f64> {
        let v: Vec<f64> = (0..n).map(|i| ((i + 1) * step % 61) as f64 / 30.0 - 1.01).collect();
        let square: f64 = v.iter().map(|v| v * v).sum();
        (0..n * n).map(|at| f64::from(u8::from(at / n == at % n)) - 2.0 * v[at / n] * v[at % n] / square).collect()
    }

    /// U·diag(σ)·V of m×n.
    fn with_singular_values(sigma: &[f64], m: usize, n: usize) -> Vec<f64> {
        let mut diagonal = vec![0.0; m * n];
        sigma.iter().enumerate().for_each(|(i, sigma)| diagonal[i * n + i] = *sigma);
        let left = matmul::nn(&reflection(m, 17), &diagonal, [m, n, m]);
        matmul::nn(&left, &reflection(n, 23), [m, n, n])
    }

    #[test]
    fn known_spectra_come_back() {
        for [m, n] in [[1, 1], [1, 7], [7, 1], [5, 5], [5, 9], [33, 20], [70, 131]] {
            for scale in [1e-12, 1.0, 1e12] {
                let descending = |i: usize| scale * 10f64.powf(-4.0 * i as f64 / m.min(n) as f64);
                let mut sigma: Vec<f64> = (0..m.min(n)).map(descending).collect();
                // The last of several is zero: not of full rank.
                sigma[1..].iter_mut().next_back().into_iter().for_each(|last| *last = 0.0);
                let got = singular_values(&with_singular_values(&sigma, m, n), m, n);
                assert_eq!(got.len(), sigma.len());
                for (got, want) in got.iter().zip(&sigma) {
                    assert!((got - want).abs() < 1e-13 * sigma[0], "{m}x{n}: {got}, not {want}");
                }
            }
        }
        // (3 0; 4 5) has singular values √45 and √5.
        let got = singular_values(&[3.0, 0.0, 4.0, 5.0], 2, 2);
        assert!((got[0] - 45f64.sqrt()).abs() < 1e-14 && (got[1] - 5f64.sqrt()).abs() < 1e-14, "{got:?}");
        assert_eq!(singular_values(&[0.0; 6], 2, 3), [0.0, 0.0]);
    }

    #[test]
    fn the_effective_rank_counts_equal_values() {
        assert!((effective_rank(&[2.0; 7]) - 7.0).abs() < 1e-14);
        assert_eq!(effective_rank(&[3.0, 0.0, 0.0]), 1.0);
        assert_eq!(effective_rank(&[0.0; 3]), 0.0);
        // Shares 3/4 and 1/4: 4/3^(3/4).
        assert!((effective_rank(&[3.0, 1.0]) - 4.0 / 3f64.powf(0.75)).abs() < 1e-14);
    }
}
