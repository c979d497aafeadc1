//! Norms, deviations and angles of a matrix on its way through passes.

use serde::{Deserialize, Serialize};

use super::singular::{effective_rank, singular_values};

/// The quantities reported for a matrix X (m×n) after a half-step, that is, after one pass.
///
/// The keys of `multinorm normalize --json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quantities {
    /// ‖X‖_F/√(m·n), the root mean square of X: 1 after every pass except `max` if no row or column is zero.
    pub frobenius: f64,
    /// The largest |‖row‖/√n − 1|; a zero row counts as 1.
    pub row_deviation_max: f64,
    /// The root mean square of the same.
    pub row_deviation_rms: f64,
    /// The largest |‖column‖/√m − 1|; a zero column counts as 1.
    pub column_deviation_max: f64,
    /// The root mean square of the same.
    pub column_deviation_rms: f64,
    /// cos(X, the matrix before the pass); `None` for the gradient itself, and if one of the two is zero.
    ///
    /// After a row pass it is the mean of ‖row‖/√n before the pass, if those had a root mean square of 1.
    pub cosine_to_previous: Option<f64>,
    /// cos(X, G); `None` if one of the two is zero.
    pub cosine_to_gradient: Option<f64>,
    /// The singular values, if requested.
    #[serde(flatten)]
    pub spectrum: Option<Spectrum>,
    /// See [`Quantities::row_spread`].
    #[serde(skip)]
    spreads: [f64; 2],
}

/// The singular values of X, and quantities derived from them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spectrum {
    /// All min(m, n), descending.
    pub singular_values: Vec<f64>,
    /// The largest.
    pub operator_norm: f64,
    /// See [`effective_rank`].
    pub effective_rank: f64,
}

impl Quantities {
    /// The quantities of x after a pass on `previous`, where the passes started from `gradient`: all `[m, n]` in
    /// row-major order.
    ///
    /// # Panics
    /// If lengths differ, or the matrix is empty.
    pub fn of(x: &[f32], [m, n]: [usize; 2], previous: Option<&[f32]>, gradient: &[f32]) -> Self {
        assert!(!x.is_empty() && x.len() == m * n, "{} elements of {m}×{n}", x.len());
        let [rows, columns] = [row_squares(x, n), column_squares(x, n)];
        let [row_deviations, column_deviations] =
            [deviations(&rows, n as f64), deviations(&columns, m as f64)].map(|all| [largest(&all), root_mean(&all)]);
        Self {
            frobenius: rms(x),
            row_deviation_max: row_deviations[0],
            row_deviation_rms: row_deviations[1],
            column_deviation_max: column_deviations[0],
            column_deviation_rms: column_deviations[1],
            cosine_to_previous: previous.and_then(|previous| cosine(x, previous)),
            cosine_to_gradient: cosine(x, gradient),
            spectrum: None,
            spreads: [spread(&rows), spread(&columns)],
        }
    }

    /// The root mean square of |‖row‖/ρ − 1| over the nonzero rows, ρ the root mean square of their norms.
    ///
    /// After a column pass on a matrix without zero rows and columns ρ is √n, and this is `row_deviation_rms`. With
    /// zero rows `row_deviation_rms` approaches a constant, and only this shows how far the other rows are from
    /// balance.
    pub fn row_spread(&self) -> f64 {
        self.spreads[0]
    }

    /// The same for columns.
    pub fn column_spread(&self) -> f64 {
        self.spreads[1]
    }
}

impl Spectrum {
    /// The spectrum of x `[m, n]`; takes O(m·n·min(m, n)) operations.
    pub fn of(x: &[f32], [m, n]: [usize; 2]) -> Self {
        let wide: Vec<f64> = x.iter().map(|&x| x.into()).collect();
        let singular_values = singular_values(&wide, m, n);
        Self { operator_norm: singular_values[0], effective_rank: effective_rank(&singular_values), singular_values }
    }
}

/// The root mean square of x.
pub fn rms(x: &[f32]) -> f64 {
    (dot(x, x) / x.len() as f64).sqrt()
}

fn dot(x: &[f32], y: &[f32]) -> f64 {
    assert_eq!(x.len(), y.len(), "dot");
    x.iter().zip(y).map(|(&x, &y)| f64::from(x) * f64::from(y)).sum()
}

fn cosine(x: &[f32], y: &[f32]) -> Option<f64> {
    let norms = dot(x, x).sqrt() * dot(y, y).sqrt();
    // Rounding must not exceed the range of a cosine.
    (norms > 0.0).then(|| (dot(x, y) / norms).clamp(-1.0, 1.0))
}

fn row_squares(x: &[f32], n: usize) -> Vec<f64> {
    x.chunks_exact(n).map(|row| dot(row, row)).collect()
}

fn column_squares(x: &[f32], n: usize) -> Vec<f64> {
    let mut squares = vec![0.0; n];
    for row in x.chunks_exact(n) {
        squares.iter_mut().zip(row).for_each(|(square, &x)| *square += f64::from(x).powi(2));
    }
    squares
}

fn deviations(squares: &[f64], target_square: f64) -> Vec<f64> {
    squares.iter().map(|square| ((square / target_square).sqrt() - 1.0).abs()).collect()
}

/// The root mean square of |length/ρ − 1|, from squared lengths: ρ is the root mean square of the lengths, and zeros
/// are skipped.
pub(crate) fn spread(squares: &[f64]) -> f64 {
    let live: Vec<f64> = squares.iter().copied().filter(|square| *square > 0.0).collect();
    if live.is_empty() {
        return 0.0;
    }
    root_mean(&deviations(&live, live.iter().sum::<f64>() / live.len() as f64))
}

fn largest(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |largest, value| largest.max(*value))
}

fn root_mean(values: &[f64]) -> f64 {
    (values.iter().map(|value| value * value).sum::<f64>() / values.len() as f64).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn close(got: f64, want: f64) {
        assert!((got - want).abs() < 1e-12, "{got}, not {want}");
    }

    #[test]
    fn every_quantity_of_a_matrix_worked_by_hand() {
        // Rows of norm 5 and 0, columns of norm 3, 4 and 0; targets √3 and √2.
        let x = [3.0, -4.0, 0.0, 0.0, 0.0, 0.0];
        let of = Quantities::of(&x, [2, 3], Some(&[1.0; 6]), &[0.0; 6]);
        close(of.frobenius, (25.0_f64 / 6.0).sqrt());
        let row = 5.0 / 3f64.sqrt() - 1.0;
        close(of.row_deviation_max, row);
        close(of.row_deviation_rms, ((row * row + 1.0) / 2.0).sqrt());
        let [first, second] = [3.0, 4.0].map(|norm| norm / 2f64.sqrt() - 1.0);
        close(of.column_deviation_max, second);
        close(of.column_deviation_rms, ((first * first + second * second + 1.0) / 3.0).sqrt());
        close(of.cosine_to_previous.unwrap(), -1.0 / (5.0 * 6f64.sqrt()));
        assert_eq!(of.cosine_to_gradient, None, "a zero gradient has no direction");
        close(of.row_spread(), 0.0);
        let [first, second] = [3.0, 4.0].map(|norm| norm / 12.5f64.sqrt() - 1.0);
        close(of.column_spread(), ((first * first + second * second) / 2.0_f64).sqrt());

        let of = Spectrum::of(&x, [2, 3]);
        close(of.operator_norm, 5.0);
        close(of.singular_values[1], 0.0);
        close(of.effective_rank, 1.0);
    }

    #[test]
    fn a_zero_matrix_deviates_by_1_and_has_no_angles() {
        let of = Quantities::of(&[0.0; 4], [2, 2], Some(&[0.0; 4]), &[0.0; 4]);
        let deviations = [of.row_deviation_max, of.row_deviation_rms, of.column_deviation_max, of.column_deviation_rms];
        assert_eq!((of.frobenius, deviations), (0.0, [1.0; 4]));
        assert_eq!((of.cosine_to_previous, of.cosine_to_gradient, of.row_spread()), (None, None, 0.0));
    }
}
