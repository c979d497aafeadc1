//! X⊙X with every row and every column brought to the same sum: where row and column passes lead.
//!
//! X⊙X is after each pass exactly the Sinkhorn–Knopp iterate of G⊙G, so that the limit is D₁·(X⊙X)·D₂ for any X on the
//! way there, with positive diagonal D₁ and D₂ (Sinkhorn & Knopp 1967).

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::{Distribution, StandardNormal};

use super::singular::singular_values;

/// The row deviation at which the iteration ends.
const CONVERGED: f64 = 1e-12;
/// The row deviation that is near enough to a limit to speak of one, where the iteration is cut short.
const NEAR: f64 = 1e-3;
/// Iterations at most: a matrix that has support but not total support comes near its limit like 1/k.
const MOST_ITERATIONS: usize = 10_000;
/// Elements visited at most, for large matrices: some seconds.
const MOST_VISITS: usize = 2_000_000_000;
/// Steps of the Lanczos process at most; every one finds the value more closely.
const MOST_STEPS: usize = 200;
/// A relative change of the singular value within [`CHECK_EVERY`] steps that counts as none.
const SETTLED: f64 = 1e-7;
const CHECK_EVERY: usize = 8;

/// P = diag(u)·(X⊙X)·diag(v) with rows that sum to n′ and columns that sum to m′, over the m′ rows and n′ columns that are
/// not zero; u and v are 0 at the others.
pub struct Balanced {
    /// X⊙X, m×n.
    squares: Vec<f64>,
    /// `[m]`.
    u: Vec<f64>,
    /// `[n]`.
    v: Vec<f64>,
}

impl Balanced {
    /// The limit from x `[m, n]`; none for a zero matrix, and where there is no limit, since a zero block is too large.
    pub fn from(x: &[f32], [m, n]: [usize; 2]) -> Option<Self> {
        let squares: Vec<f64> = x.iter().map(|&x| f64::from(x).powi(2)).collect();
        let mut limit = Self { squares, u: vec![1.0; m], v: vec![1.0; n] };
        let live = |sums: &[f64]| sums.iter().filter(|sum| **sum > 0.0).count() as f64;
        let mut sums = limit.times(&limit.v);
        let [n_rows, n_columns] = [live(&sums), live(&limit.transposed_times(&limit.u))];
        if n_rows == 0.0 {
            return None;
        }
        let scalings = |target: f64, sums: Vec<f64>| -> Vec<f64> {
            sums.into_iter().map(|sum| if sum > 0.0 { target / sum } else { 0.0 }).collect()
        };
        let mut deviation = f64::INFINITY;
        for _ in 0..MOST_ITERATIONS.min((MOST_VISITS / x.len()).max(100)) {
            limit.u = scalings(n_columns, sums);
            limit.v = scalings(n_rows, limit.transposed_times(&limit.u));
            sums = limit.times(&limit.v);
            deviation = row_deviation(&limit.u, &sums, n_columns);
            if deviation < CONVERGED {
                break;
            }
        }
        (deviation < NEAR).then_some(limit)
    }

    /// The second singular value of P/√(m′·n′), whose first is 1 with singular vectors that are constant; 0 for rank one.
    ///
    /// Golub–Kahan–Lanczos bidiagonalization with full reorthogonalization, on what is orthogonal to the first pair
    /// (Golub & Van Loan, "Matrix Computations", 4th edition, section 10.4).
    pub fn second_singular_value(&self) -> f64 {
        let [constant_left, constant_right] = [&self.u, &self.v].map(|scaling| constant_on_live(scaling));
        let [n_rows, n_columns] = [&self.u, &self.v].map(|scaling| scaling.iter().filter(|x| **x > 0.0).count());
        let scale = ((n_rows * n_columns) as f64).sqrt().recip();
        let (mut lefts, mut rights) = (vec![constant_left], vec![constant_right]);
        let (mut diagonal, mut above, mut sigma) = (Vec::new(), Vec::new(), 0.0);
        let mut right = random_on_live(&self.v);
        for step in 1..=MOST_STEPS {
            // One side has no room left after min(m′, n′) steps at most: what is then left of a vector is rounding.
            let Some(beta) = orthonormalize(&mut right, &rights) else { break };
            if step > 1 {
                above.push(beta);
            }
            let mut left: Vec<f64> = self.apply(&right).iter().map(|x| scale * x).collect();
            rights.push(right);
            let alpha = orthonormalize(&mut left, &lefts);
            diagonal.push(alpha.unwrap_or(0.0));
            if alpha.is_none() {
                break;
            }
            right = self.apply_transposed(&left).iter().map(|x| scale * x).collect();
            lefts.push(left);
            if step % CHECK_EVERY == 0 {
                let before = std::mem::replace(&mut sigma, largest_of_bidiagonal(&diagonal, &above));
                if sigma - before <= SETTLED * sigma {
                    return sigma;
                }
            }
        }
        largest_of_bidiagonal(&diagonal, &above)
    }

    /// P·x.
    fn apply(&self, x: &[f64]) -> Vec<f64> {
        product(&self.u, &self.times(&product(&self.v, x)))
    }

    /// Pᵀ·y.
    fn apply_transposed(&self, y: &[f64]) -> Vec<f64> {
        product(&self.v, &self.transposed_times(&product(&self.u, y)))
    }

    /// (X⊙X)·x.
    fn times(&self, x: &[f64]) -> Vec<f64> {
        self.squares.chunks_exact(self.v.len()).map(|row| dot(row, x)).collect()
    }

    /// (X⊙X)ᵀ·y.
    fn transposed_times(&self, y: &[f64]) -> Vec<f64> {
        let mut sums = vec![0.0; self.v.len()];
        for (row, y) in self.squares.chunks_exact(self.v.len()).zip(y) {
            sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += y * x);
        }
        sums
    }
}

/// The largest |‖row‖/√target − 1| of √P, whose rows sum to u ∘ `sums`.
fn row_deviation(u: &[f64], sums: &[f64], target: f64) -> f64 {
    let live = sums.iter().zip(u).filter(|(sum, _)| **sum != 0.0);
    let deviations = live.map(|(sum, u)| ((u * sum / target).sqrt() - 1.0).abs());
    // A NaN, from scalings that ran out of range for want of a limit, is as far from one as can be.
    deviations.fold(0.0, |largest, deviation| if deviation <= largest { largest } else { deviation })
}

/// x minus its parts along `basis`, to length 1: its length before that; none if nothing but rounding was left.
fn orthonormalize(x: &mut [f64], basis: &[Vec<f64>]) -> Option<f64> {
    let before = norm(x);
    // Twice is enough (Kahan; Parlett, "The Symmetric Eigenvalue Problem", section 6.9).
    for _ in 0..2 {
        for other in basis {
            let along = dot(x, other);
            x.iter_mut().zip(other).for_each(|(x, other)| *x -= along * other);
        }
    }
    let length = norm(x);
    // P/√(m′n′) has norm 1 and unit vectors go in, so a length of this size is rounding.
    if length <= 1e-14 * before.max(1.0) {
        return None;
    }
    x.iter_mut().for_each(|x| *x /= length);
    Some(length)
}

/// The largest singular value of the matrix with this diagonal, and this above it; 0 for an empty one.
fn largest_of_bidiagonal(diagonal: &[f64], above: &[f64]) -> f64 {
    let k = diagonal.len();
    let mut dense = vec![0.0; k * k];
    diagonal.iter().enumerate().for_each(|(i, x)| dense[i * k + i] = *x);
    above.iter().enumerate().filter(|(i, _)| i + 1 < k).for_each(|(i, x)| dense[i * k + i + 1] = *x);
    singular_values(&dense, k, k).first().copied().unwrap_or(0.0)
}

/// The unit vector that is constant where `scaling` is not 0.
fn constant_on_live(scaling: &[f64]) -> Vec<f64> {
    let count = scaling.iter().filter(|x| **x > 0.0).count() as f64;
    scaling.iter().map(|x| if *x > 0.0 { count.sqrt().recip() } else { 0.0 }).collect()
}

/// Normal numbers where `scaling` is not 0: a vector with a part along every singular vector.
fn random_on_live(scaling: &[f64]) -> Vec<f64> {
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let mut draw = |x: &f64| -> f64 { if *x > 0.0 { StandardNormal.sample(&mut rng) } else { 0.0 } };
    scaling.iter().map(&mut draw).collect()
}

/// Eight sums at a time, or every addition would wait for the one before it.
fn dot(x: &[f64], y: &[f64]) -> f64 {
    let mut sums = [0.0; 8];
    let (x_chunks, x_rest) = x.as_chunks::<8>();
    let (y_chunks, y_rest) = y.as_chunks::<8>();
    for (x, y) in x_chunks.iter().zip(y_chunks) {
        sums.iter_mut().zip(x.iter().zip(y)).for_each(|(sum, (x, y))| *sum += x * y);
    }
    sums.iter().sum::<f64>() + x_rest.iter().zip(y_rest).map(|(x, y)| x * y).sum::<f64>()
}

fn norm(x: &[f64]) -> f64 {
    dot(x, x).sqrt()
}

fn product(x: &[f64], y: &[f64]) -> Vec<f64> {
    x.iter().zip(y).map(|(x, y)| x * y).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normal(len: usize, seed: u64) -> Vec<f32> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        (0..len).map(|_| StandardNormal.sample(&mut rng)).collect()
    }

    /// All of P/√(m′·n′).
    fn dense(limit: &Balanced) -> Vec<f64> {
        let [m, n] = [limit.u.len(), limit.v.len()];
        let live = |scaling: &[f64]| scaling.iter().filter(|x| **x > 0.0).count();
        let scale = ((live(&limit.u) * live(&limit.v)) as f64).sqrt().recip();
        (0..m * n).map(|at| scale * limit.u[at / n] * limit.squares[at] * limit.v[at % n]).collect()
    }

    #[test]
    fn the_second_value_is_that_of_the_whole_decomposition() {
        for [m, n] in [[2, 2], [2, 9], [9, 2], [3, 5], [40, 40], [64, 172], [172, 64], [130, 300]] {
            let mut x = normal(m * n, 3);
            if m > 30 {
                x[5 * n..7 * n].fill(0.0); // zero rows, and a zero column
                (0..m).for_each(|i| x[i * n + 11] = 0.0);
            }
            let limit = Balanced::from(&x, [m, n]).unwrap();
            let all = singular_values(&dense(&limit), m, n);
            assert!((all[0] - 1.0).abs() < 1e-10, "{m}x{n}: the first is {}", all[0]);
            let second = limit.second_singular_value();
            assert!((second - all[1]).abs() < 1e-6 * all[1], "{m}x{n}: {second}, not {}", all[1]);
        }
    }

    #[test]
    fn rank_one_has_no_second_value_and_neither_has_a_vector() {
        let [u, v] = [normal(9, 1), normal(14, 2)];
        let x: Vec<f32> = u.iter().flat_map(|u| v.iter().map(move |v| u * v)).collect();
        // f32's rounding of the products is what is left.
        assert!(Balanced::from(&x, [9, 14]).unwrap().second_singular_value() < 1e-6);
        assert_eq!(Balanced::from(&[1.0, 2.0, -3.0], [1, 3]).unwrap().second_singular_value(), 0.0);
        assert_eq!(Balanced::from(&[2.0], [1, 1]).unwrap().second_singular_value(), 0.0);
    }

    #[test]
    fn where_there_is_no_limit_there_is_none() {
        assert!(Balanced::from(&[0.0; 6], [2, 3]).is_none());
        // A 3×2 block of zeros in 4×4: too large to have support.
        let mut x = [1.0; 16];
        [0, 1, 4, 5, 8, 9].into_iter().for_each(|at| x[at] = 0.0);
        assert!(Balanced::from(&x, [4, 4]).is_none());
    }
}
