//! What determines how fast row and column passes converge: the balanced squares and their second singular value.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::{Distribution, StandardNormal};

use super::limit::{CONVERGED, Limit, Part, dot};
use super::singular::{largest_singular_triple, orient};
use crate::settings::Pass;

/// Maximum number of Lanczos steps; each improves the value.
const MOST_STEPS: usize = 200;
/// The singular value is accepted when it changes by no more than this, relatively, within [`CHECK_EVERY`] steps.
const SETTLED: f64 = 1e-7;
/// The vectors u and v are accepted at this ‖Aᵀu − σv‖/σ.
const RESIDUAL: f64 = 1e-5;
const CHECK_EVERY: usize = 8;
/// Up to this value, a second singular value is float32's rounding of the entries, and its vectors are noise.
const RANK_ONE: f64 = 1e-6;

/// Where row and column passes lead from a matrix X (m×n), and what decides how fast.
///
/// P is X⊙X with rows and columns scaled so that all rows have the same sum, all columns have the same sum, and the
/// mean of its entries is 1, over the m′ rows and n′ columns of X that are not zero. Let A = P/√(m′·n′). Its largest
/// singular value is 1, with constant vectors. The second is σ₂: near the limit one round of `row, column` leaves the
/// share σ₂² of the error (Knight 2008, "The Sinkhorn–Knopp algorithm: convergence and applications", SIAM J.
/// Matrix Anal. Appl. 30, section 4).
///
/// Rows and columns may fall into parts with no entries in common, like the blocks of a block-diagonal matrix. Each
/// part is balanced for itself, and its own constant vectors have the singular value 1. All of these are left out: σ₂
/// is the largest of the other singular values, and the rate is that of the slowest part.
#[derive(Clone, Debug, PartialEq)]
pub struct Balance {
    /// [m, n].
    pub shape: [usize; 2],
    /// P, row after row.
    pub squares: Vec<f32>,
    /// Σp²/(m′·n′): the mean fourth power of the balanced entries over the square of their mean square.
    ///
    /// 1 for signs, 3 for normal entries of a large matrix, min(m′, n′) at most. It is also the sum of the squares of
    /// all singular values of A, the first of which is 1. So σ₂² lies between (heaviness − 1)/(min(m′, n′) − 1) and
    /// heaviness − 1 if the matrix is of one part.
    pub heaviness: f64,
    /// σ₂, to about seven digits; 0 for one row or column.
    pub sigma_2: f64,
    /// σ₂²: the share of a small deviation that a round of `row, column` leaves.
    pub rate: f64,
    /// The left singular vector of σ₂, `[m]`, of length 1 and 0 at zero rows: the pattern in the logarithms of row
    /// lengths that dies out slowest, because a round only multiplies it by σ₂². Empty for rank one, where one round
    /// removes all deviations.
    ///
    /// If σ₃ is close to σ₂, it is a mixture of the vectors of both.
    pub rows: Vec<f64>,
    /// The right one, `[n]`, the same for columns. Its entry of the largest magnitude is positive.
    pub columns: Vec<f64>,
}

impl Balance {
    /// The balance of x `[m, n]`; `None` for a zero matrix, for one with a NaN or an infinity, and if a block of zeros
    /// is too large for a limit to exist.
    ///
    /// Usually takes a few hundred times m·n operations; the limit of a large matrix that converges slowly takes about
    /// 10⁹.
    ///
    /// # Panics
    /// If the matrix is empty, or the length is not m·n.
    pub fn of(x: &[f32], shape: [usize; 2]) -> Option<Self> {
        Limit::within(CONVERGED, x, shape).map(|limit| Self::of_limit(&limit, shape))
    }

    fn of_limit(limit: &Limit, shape: [usize; 2]) -> Self {
        let Second { sigma, rows, columns } = Second::of(limit, shape);
        let squares = limit.entries().map(|p| p as f32).collect();
        let heaviness = limit.heaviness();
        Self { shape, squares, heaviness, sigma_2: sigma, rate: sigma * sigma, rows, columns }
    }

    /// The fraction of a small deviation that a round of `passes` leaves: σ₂ to the power of how often the repeated
    /// list switches between rows and columns. `None` for a list with other passes, and for one without both.
    pub fn rate_of(&self, passes: &[Pass]) -> Option<f64> {
        turns(passes).map(|turns| self.sigma_2.powi(turns))
    }
}

/// How often a repeated list switches between rows and columns; `None` for a list with other passes or without both.
pub(super) fn turns(passes: &[Pass]) -> Option<i32> {
    let next = passes.iter().cycle().skip(1);
    let turns = passes.iter().zip(next).filter(|(pass, next)| pass != next).count() as i32;
    (turns > 0 && passes.iter().all(|pass| matches!(pass, Pass::Row | Pass::Column))).then_some(turns)
}

/// The largest singular value of A that does not belong to the constant vectors of a part, with its vectors.
#[derive(Default)]
pub(super) struct Second {
    /// 0 if there are no more live rows, or no more live columns, than parts.
    pub sigma: f64,
    /// `[m]`; empty if σ is only rounding.
    pub rows: Vec<f64>,
    /// `[n]`; empty likewise.
    pub columns: Vec<f64>,
}

impl Second {
    /// Golub–Kahan–Lanczos bidiagonalization with full reorthogonalization, in the space orthogonal to the constant
    /// vectors of the parts (Golub & Van Loan, "Matrix Computations", 4th edition, section 10.4).
    pub fn of(limit: &Limit, [m, n]: [usize; 2]) -> Self {
        let parts = limit.parts();
        let [n_rows, n_columns] = limit.n_live();
        let scale = ((n_rows * n_columns) as f64).sqrt().recip();
        let scaled = |mut x: Vec<f64>| -> Vec<f64> {
            x.iter_mut().for_each(|x| *x *= scale);
            x
        };
        let (mut lefts, mut rights): (Vec<Vec<f64>>, Vec<Vec<f64>>) = (Vec::new(), Vec::new());
        let (mut diagonal, mut above) = (Vec::new(), Vec::new());
        let mut right = random_on_live(&parts, n);
        let mut sigma = 0.0;
        for step in 0..MOST_STEPS {
            // After at most min(m′, n′) steps one side has no direction left: what remains of a vector is rounding.
            let Some(beta) = orthonormalize(&mut right, &rights, &parts, |part| &part.columns) else { break };
            if step > 0 {
                above.push(beta);
            }
            if step > 0 && step % CHECK_EVERY == 0 {
                let (value, left, _) = largest_of_bidiagonal(&diagonal, &above);
                let before = std::mem::replace(&mut sigma, value);
                let residual = beta * left.last().map_or(0.0, |last| last.abs());
                if sigma - before <= SETTLED * sigma && residual <= RESIDUAL * sigma {
                    break;
                }
            }
            let mut left = scaled(limit.times(&right));
            rights.push(right);
            let alpha = orthonormalize(&mut left, &lefts, &parts, |part| &part.rows);
            diagonal.push(alpha.unwrap_or(0.0));
            if alpha.is_none() {
                break;
            }
            right = scaled(limit.transposed_times(&left));
            lefts.push(left);
        }
        let (sigma, left, right) = largest_of_bidiagonal(&diagonal, &above);
        if sigma <= RANK_ONE {
            return Self { sigma, ..Self::default() };
        }
        let (mut rows, mut columns) = (combination(&left, &lefts, m), combination(&right, &rights, n));
        orient(&mut rows, &mut columns);
        Self { sigma, rows, columns }
    }
}

/// Makes x orthogonal to the constants of all parts and to `basis`, and scales it to length 1. Returns its length
/// before the scaling; `None` if only rounding was left.
fn orthonormalize(
    x: &mut [f64],
    basis: &[Vec<f64>],
    parts: &[Part],
    side: impl Fn(&Part) -> &Vec<usize>,
) -> Option<f64> {
    let before = norm(x);
    // Twice is enough (Kahan; Parlett, "The Symmetric Eigenvalue Problem", section 6.9).
    for _ in 0..2 {
        for of in parts.iter().map(&side) {
            let mean = of.iter().map(|&at| x[at]).sum::<f64>() / of.len() as f64;
            of.iter().for_each(|&at| x[at] -= mean);
        }
        for other in basis {
            let along = dot(x, other);
            x.iter_mut().zip(other).for_each(|(x, other)| *x -= along * other);
        }
    }
    let length = norm(x);
    // A has norm 1 and unit vectors go in, so a length of this size is rounding.
    if length <= 1e-14 * before.max(1.0) {
        return None;
    }
    x.iter_mut().for_each(|x| *x /= length);
    Some(length)
}

/// The largest singular value of the bidiagonal matrix with this diagonal and `above` it, with its left and right
/// vector; 0 for an empty one.
fn largest_of_bidiagonal(diagonal: &[f64], above: &[f64]) -> (f64, Vec<f64>, Vec<f64>) {
    let k = diagonal.len();
    if k == 0 {
        return Default::default();
    }
    let mut dense = vec![0.0; k * k];
    diagonal.iter().enumerate().for_each(|(i, x)| dense[i * k + i] = *x);
    above.iter().enumerate().filter(|(i, _)| i + 1 < k).for_each(|(i, x)| dense[i * k + i + 1] = *x);
    largest_singular_triple(&dense, k, k)
}

/// The linear combination of the vectors with these coefficients.
fn combination(coefficients: &[f64], vectors: &[Vec<f64>], len: usize) -> Vec<f64> {
    let mut sum = vec![0.0; len];
    for (coefficient, vector) in coefficients.iter().zip(vectors) {
        sum.iter_mut().zip(vector).for_each(|(sum, x)| *sum += coefficient * x);
    }
    sum
}

/// Normal numbers at columns that are not zero: a vector `[n]` with a component along every singular vector.
fn random_on_live(parts: &[Part], n: usize) -> Vec<f64> {
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let mut x = vec![0.0; n];
    parts.iter().flat_map(|part| &part.columns).for_each(|&at| x[at] = StandardNormal.sample(&mut rng));
    x
}

fn norm(x: &[f64]) -> f64 {
    dot(x, x).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::passes::{column, row, row_norms};
    use faer::MatRef;

    fn list(words: &str) -> Vec<Pass> {
        Pass::parse_list(&[words.into()]).unwrap()
    }

    fn normal(len: usize, seed: u64) -> Vec<f32> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        (0..len).map(|_| StandardNormal.sample(&mut rng)).collect()
    }

    /// Computes A by passes in f64, until rows and columns are exact.
    fn dense(x: &[f32], [m, n]: [usize; 2]) -> Vec<f64> {
        let mut x: Vec<f64> = x.iter().map(|&x| x.into()).collect();
        (0..400).for_each(|_| x = column(&row(&x, m, n), m, n));
        let sum: f64 = x.iter().map(|x| x * x).sum();
        let live = |len: usize, at: &dyn Fn(usize, usize) -> usize, other: usize| {
            (0..len).filter(|i| (0..other).any(|j| x[at(*i, j)] != 0.0)).count() as f64
        };
        let count = live(m, &|i, j| i * n + j, n) * live(n, &|j, i| i * n + j, m);
        x.iter().map(|x| x * x / sum * count.sqrt()).collect()
    }

    fn assert_same_direction(name: &str, got: &[f64], want: &[f64], within: f64) {
        let along = dot(got, want);
        let off = got.iter().zip(want).map(|(x, y)| (x - along.signum() * y).powi(2)).sum::<f64>().sqrt();
        assert!((norm(got) - 1.0).abs() < 1e-12 && off < within, "{name}: off by {off:.1e}");
    }

    #[test]
    fn the_second_pair_is_that_of_the_whole_decomposition() {
        for shape @ [m, n] in [[2, 2], [2, 9], [9, 2], [3, 5], [40, 40], [64, 172], [172, 64], [130, 300]] {
            let mut x = normal(m * n, 3);
            if m > 30 {
                x[5 * n..7 * n].fill(0.0); // zero rows, and a zero column
                (0..m).for_each(|i| x[i * n + 11] = 0.0);
            }
            let of = Balance::of(&x, shape).unwrap();
            let a = dense(&x, shape);
            let svd = MatRef::from_row_major_slice(&a, m, n).thin_svd().unwrap();
            let sigma: Vec<f64> = svd.S().column_vector().iter().copied().collect();
            assert!((sigma[0] - 1.0).abs() < 1e-10, "{m}x{n}: the first is {}", sigma[0]);
            assert!((of.sigma_2 - sigma[1]).abs() < 1e-6 * sigma[1], "{m}x{n}: {}, not {}", of.sigma_2, sigma[1]);
            assert_eq!(of.rate, of.sigma_2 * of.sigma_2);
            let gap = (sigma[1] - sigma.get(2).unwrap_or(&0.0)) / sigma[1];
            let vector = |of: MatRef<'_, f64>| -> Vec<f64> { of.col(1).iter().copied().collect() };
            assert_same_direction("rows", &of.rows, &vector(svd.U()), 2.0 * RESIDUAL / gap);
            assert_same_direction("columns", &of.columns, &vector(svd.V()), 2.0 * RESIDUAL / gap);
            let largest = of.columns.iter().fold(0.0_f64, |largest, x| largest.max(x.abs()));
            assert!(of.columns.contains(&largest), "{m}x{n}: the largest is negative");
            // The signs match: rows = A·columns/σ.
            let other: f64 = (0..m).map(|i| of.rows[i] * dot(&a[i * n..][..n], &of.columns)).sum();
            assert!((other / sigma[1] - 1.0).abs() < 1e-6, "{m}x{n}: {other}");
            let count = (a.iter().sum::<f64>()).powi(2); // √(m′n′), because the mean of P is 1
            let scale = a.iter().sum::<f64>();
            for (at, (p, a)) in of.squares.iter().zip(&a).enumerate() {
                assert!((f64::from(*p) - a * scale).abs() <= 1e-5 * a * scale, "{m}x{n}, {at}: {p}, not {}", a * scale);
            }
            let heaviness: f64 = a.iter().map(|a| (a * scale).powi(2)).sum::<f64>() / count;
            assert!((of.heaviness / heaviness - 1.0).abs() < 1e-9, "{m}x{n}: {}, not {heaviness}", of.heaviness);
            let squares: f64 = sigma.iter().map(|sigma| sigma * sigma).sum();
            assert!((of.heaviness / squares - 1.0).abs() < 1e-9, "{m}x{n}: {squares}");
            if m > 30 {
                assert_eq!([of.rows[5], of.rows[6], of.columns[11]], [0.0; 3]);
                assert!(of.squares[5 * n..7 * n].iter().all(|p| *p == 0.0));
            }
        }
    }

    #[test]
    fn rank_one_has_no_second_value_and_neither_has_a_vector() {
        let [u, v] = [normal(9, 1), normal(14, 2)];
        let x: Vec<f32> = u.iter().flat_map(|u| v.iter().map(move |v| u * v)).collect();
        let of = Balance::of(&x, [9, 14]).unwrap();
        // Only f32's rounding of the products remains.
        assert!(of.sigma_2 < 1e-6 && of.rows.is_empty() && of.columns.is_empty(), "{of:?}");
        assert!((of.heaviness - 1.0).abs() < 1e-6, "{}", of.heaviness);
        assert_eq!(Balance::of(&[1.0, 2.0, -3.0], [1, 3]).unwrap().sigma_2, 0.0);
        assert_eq!(Balance::of(&[2.0], [1, 1]).unwrap().squares, [1.0]);
    }

    #[test]
    fn parts_that_share_nothing_are_balanced_each_for_itself() {
        let [small, large] = [normal(4 * 6, 1), normal(8 * 12, 2)];
        let block = |x: &[f32], n: usize, at: [usize; 2]| {
            let mut whole = vec![0.0; 12 * 18];
            x.iter().enumerate().for_each(|(i, x)| whole[(i / n + at[0]) * 18 + i % n + at[1]] = *x);
            whole
        };
        let whole: Vec<f32> =
            block(&small, 6, [0, 0]).iter().zip(block(&large, 12, [4, 6])).map(|(x, y)| x + y).collect();
        let [of, small, large] =
            [(&whole, [12, 18]), (&small, [4, 6]), (&large, [8, 12])].map(|(x, shape)| Balance::of(x, shape).unwrap());
        let slower = small.sigma_2.max(large.sigma_2);
        assert!((of.sigma_2 / slower - 1.0).abs() < 1e-6, "{}, not {slower}", of.sigma_2);
        let diagonal: Vec<f32> = (0..49).map(|at| if at % 8 == 0 { 3.0 + at as f32 } else { 0.0 }).collect();
        let of = Balance::of(&diagonal, [7, 7]).unwrap();
        assert_eq!((of.rate, of.rows.len()), (0.0, 0), "balanced after one pass");
        assert!((of.heaviness - 7.0).abs() < 1e-9, "{}", of.heaviness);
    }

    #[test]
    fn what_blocks_share_bounds_the_rate() {
        let shape @ [m, n] = [24, 40];
        let of = |entry: &dyn Fn(usize) -> f32| {
            let inside = |at: usize| (at / n < m / 2) == (at % n < n / 2);
            let x: Vec<f32> = (0..m * n).map(|at| entry(at) * if inside(at) { 1.0 } else { 0.1 }).collect();
            let of = Balance::of(&x, shape).unwrap();
            let outside = (0..m * n).filter(|at| !inside(*at)).map(|at| f64::from(of.squares[at])).sum::<f64>();
            (of.rate, (1.0 - 2.0 * outside / (m * n) as f64).powi(2))
        };
        let (rate, bound) = of(&|_| 1.0);
        assert!((rate - bound).abs() < 1e-6, "of one magnitude in each block: {rate}, not {bound}");
        let entries = normal(m * n, 10);
        let (rate, bound) = of(&|at| entries[at]);
        assert!((0.9..rate).contains(&bound), "{rate}, at least {bound}");
    }

    #[test]
    fn heaviness_bounds_the_rate() {
        let shape @ [m, n] = [12, 30];
        for power in [0.2, 1.0, 2.0, 4.0] {
            let x: Vec<f32> = normal(m * n, 8).iter().map(|x| x.abs().powf(power)).collect();
            let Balance { heaviness, rate, .. } = Balance::of(&x, shape).unwrap();
            let range = (heaviness - 1.0) / 11.0..heaviness - 1.0;
            assert!(range.contains(&rate), "{power}: {rate} is not in {range:?}");
        }
    }

    /// As derived in docs/fixed_point.md: a small scaling of rows along the second vector shrinks by σ₂² per round and
    /// keeps its direction; 1 − σ₂² of it is visible in the row lengths.
    #[test]
    fn the_slowest_pattern_decays_by_the_rate() {
        const SMALL: f64 = 1e-6;
        for (shape @ [m, n], power) in [([24, 40], 1.0), ([40, 17], 2.0), ([31, 31], 0.5)] {
            let x: Vec<f32> = normal(m * n, 9).iter().map(|x| x.abs().powf(power)).collect();
            let Balance { rows, rate, .. } = Balance::of(&x, shape).unwrap();
            let mut balanced: Vec<f64> = x.iter().map(|&x| x.into()).collect();
            (0..400).for_each(|_| balanced = column(&row(&balanced, m, n), m, n));
            let mut x: Vec<f64> = (0..m * n).map(|at| balanced[at] * (SMALL * rows[at / n]).exp()).collect();
            for round in 1..=3 {
                let after_columns = column(&x, m, n);
                let left = rate.powi(round - 1) * SMALL;
                for (norm, along) in row_norms(&after_columns, m, n).iter().zip(&rows) {
                    let (off, want) = ((norm / (n as f64).sqrt()).ln(), (1.0 - rate) * left * along);
                    assert!((off - want).abs() < 1e-4 * left, "{shape:?}, round {round}: {off}, not {want}");
                }
                x = row(&after_columns, m, n);
                for (i, along) in rows.iter().enumerate() {
                    // Columns are scaled along their own vector, whose mean is 0.
                    let logs = (i * n..(i + 1) * n).map(|at| (x[at] / balanced[at]).ln());
                    let (scaling, want) = (logs.sum::<f64>() / n as f64, rate * left * along);
                    assert!((scaling - want).abs() < 1e-4 * left, "{shape:?}, round {round}: {scaling}, not {want}");
                }
            }
        }
    }

    #[test]
    fn turns_are_counted_round_the_list() {
        let cases = [
            ("row,column", Some(2)),
            ("column,row", Some(2)),
            ("row,column,row", Some(2)),
            ("row,row,column,column", Some(2)),
            ("row,column,row,column", Some(4)),
            ("row", None),
            ("row,row", None),
            ("row,column,frobenius", None),
            ("sign", None),
        ];
        for (words, expected) in cases {
            assert_eq!(turns(&list(words)), expected, "{words}");
        }
    }
}
