//! Singular values through the steps of Newton–Schulz, in the arithmetic of a device.

use half::{bf16, f16};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::{Distribution, StandardNormal};

use super::singular::singular_values;
use crate::reference::gram_schmidt::orthonormalize;
use crate::reference::matmul;
use crate::reference::newton_schulz::Sequence;

/// The format to which elements are rounded after every product; the sums inside a product are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arithmetic {
    /// Double precision: no visible rounding.
    F64,
    /// Single precision.
    F32,
    /// Half precision: 11 binary digits, 6e-5 to 65 504.
    F16,
    /// Brain float: 8 binary digits, the range of single precision.
    Bf16,
}

impl Arithmetic {
    /// The most precise first.
    pub const ALL: [Self; 4] = [Self::F64, Self::F32, Self::F16, Self::Bf16];

    /// The name of the type.
    pub fn name(self) -> &'static str {
        match self {
            Self::F64 => "f64",
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
        }
    }

    fn round(self, x: f64) -> f64 {
        match self {
            Self::F64 => x,
            Self::F32 => f64::from(x as f32),
            Self::F16 => f16::from_f64(x).into(),
            Self::Bf16 => bf16::from_f64(x).into(),
        }
    }
}

/// The singular values, descending, before the first step and after each, of a k×2k matrix with the singular values
/// `sigmas` (each at most 1: the matrix was divided by its norm) and random singular vectors.
///
/// The step is X ← aX + (bA + cA²)X with A = X·Xᵀ, every product rounded to `arithmetic`.
///
/// # Panics
/// If `sigmas` is empty.
pub fn newton_schulz_path(sigmas: &[f64], sequence: Sequence, steps: usize, arithmetic: Arithmetic) -> Vec<Vec<f64>> {
    assert!(!sigmas.is_empty(), "at least one singular value");
    let mut sorted = sigmas.to_vec();
    sorted.sort_by(|a, b| b.total_cmp(a));
    if arithmetic == Arithmetic::F64 {
        let after = |done: usize| -> Vec<f64> {
            let of = |&sigma: &f64| (0..done).fold(sigma, |x, step| apply(sequence.coefficients(step, steps), x));
            let mut values: Vec<f64> = sorted.iter().map(|sigma| of(sigma).abs()).collect();
            values.sort_by(|a, b| b.total_cmp(a));
            values
        };
        return (0..=steps).map(after).collect();
    }
    let (m, n) = (sorted.len(), 2 * sorted.len());
    let rounded = |x: Vec<f64>| -> Vec<f64> { x.into_iter().map(|x| arithmetic.round(x)).collect() };
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let (u, v) = (orthonormal_rows(m, m, &mut rng), orthonormal_rows(m, n, &mut rng));
    let scaled: Vec<f64> = u.iter().enumerate().map(|(at, u)| u * sorted[at % m]).collect();
    let mut x = rounded(matmul::nn(&scaled, &v, [m, n, m]));
    let mut path = vec![singular_values(&x, m, n)];
    for step in 0..steps {
        let [a, b, c] = sequence.coefficients(step, steps);
        let gram = rounded(matmul::nt(&x, &x, [m, m, n]));
        let squared = matmul::nn(&gram, &gram, [m, m, m]);
        let factor = rounded(gram.iter().zip(&squared).map(|(gram, squared)| b * gram + c * squared).collect());
        let product = matmul::nn(&factor, &x, [m, n, m]);
        x = rounded(x.iter().zip(&product).map(|(x, product)| a * x + product).collect());
        path.push(singular_values(&x, m, n));
    }
    path
}

fn apply([a, b, c]: [f64; 3], x: f64) -> f64 {
    let square = x * x;
    x * (a + square * (b + square * c))
}

/// m×n with orthonormal rows, m ≤ n.
fn orthonormal_rows(m: usize, n: usize, rng: &mut ChaCha8Rng) -> Vec<f64> {
    let mut rows: Vec<f64> = (0..m * n).map(|_| StandardNormal.sample(rng)).collect();
    orthonormalize(&mut rows, n);
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIGMAS: [f64; 6] = [0.9, 0.4, 0.1, 0.03, 0.01, 0.003];

    #[test]
    fn every_arithmetic_begins_and_the_exact_one_ends_where_the_polynomials_lead() {
        for sequence in [Sequence::Cubic, Sequence::Muon, Sequence::PolarExpress, Sequence::MuonRefined] {
            let exact = newton_schulz_path(&SIGMAS, sequence, 10, Arithmetic::F64);
            assert_eq!(exact.len(), 11);
            let mut last: Vec<f64> = SIGMAS.iter().map(|sigma| sequence.of_value(*sigma, 10)).collect();
            last.sort_by(|a, b| b.total_cmp(a));
            assert!(exact[10].iter().zip(&last).all(|(a, b)| (a - b).abs() < 1e-12), "{:?}, not {last:?}", exact[10]);
            // The matrix path is the scalar one where rounding is small.
            let single = newton_schulz_path(&SIGMAS, sequence, 10, Arithmetic::F32);
            for (step, (a, b)) in exact.iter().zip(&single).enumerate() {
                let error = a.iter().zip(b).fold(0.0_f64, |e, (a, b)| e.max((a - b).abs()));
                // 1e-7 from single precision, and Muon's polynomial drives apart values near its unstable fixed point.
                assert!(error < 1e-3, "{sequence:?} step {step}: {error}");
            }
        }
    }

    #[test]
    fn brain_floats_lose_small_directions_that_half_precision_keeps() {
        let path = |arithmetic| newton_schulz_path(&SIGMAS, Sequence::PolarExpress, 8, arithmetic);
        let error = |arithmetic| {
            let [exact, rounded] = [path(Arithmetic::F64), path(arithmetic)];
            exact[8].iter().zip(&rounded[8]).fold(0.0_f64, |e, (a, b)| e.max((a - b).abs()))
        };
        let [half, brain] = [error(Arithmetic::F16), error(Arithmetic::Bf16)];
        assert!(half < brain && brain > 1e-3, "f16 {half}, bf16 {brain}");
    }
}
