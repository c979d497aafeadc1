//! The rate of matrices without structure, by their shape and the heaviness of their entries.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::{Distribution, StandardNormal};
use serde::{Deserialize, Serialize};

use super::balance::Second;
use super::limit::{CONVERGED, Limit};

/// σ₂² of the balanced squares of a large matrix of independent entries whose [`Balance::heaviness`](super::Balance) is
/// `heaviness`: (heaviness − 1)·(1/√m + 1/√n)², and 1 at most.
///
/// P is then 1 plus noise of variance heaviness − 1. The largest singular value of such noise is √variance·(√m + √n) if
/// its fourth moment, the eighth of X, is finite (Bai & Yin 1993, "Limit of the smallest eigenvalue of a large
/// dimensional sample covariance matrix", Annals of Probability 21). A few entries that stand out from the noise raise
/// it: a single entry p of P makes it at least (p − 1)²/(m·n).
pub fn rate_of_independent([m, n]: [usize; 2], heaviness: f64) -> f64 {
    let edge = (m as f64).sqrt().recip() + (n as f64).sqrt().recip();
    ((heaviness - 1.0) * edge.powi(2)).min(1.0)
}

/// σ₂² of the balanced squares of a large matrix Y·Zᵀ whose factors have `rank` columns and independent normal entries:
/// 4/(rank + 2)², whatever its size, and 0 for rank one. Its heaviness is 3·rank/(rank + 2).
///
/// Balanced, P is rank·cos² of the angle between a row of Y and a row of Z. Without its mean that is a traceless
/// quadratic form in either row. Such forms span a space of (rank − 1)·(rank + 2)/2 dimensions, and rotations single
/// none of them out: as many singular values are equal, and their squares sum to heaviness − 1 = 2·(rank − 1)/(rank +
/// 2).
pub fn rate_of_rank(rank: usize) -> f64 {
    if rank <= 1 { 0.0 } else { 4.0 / (rank as f64 + 2.0).powi(2) }
}

/// A matrix `[m, n]` of independent entries ±exp(s·z), z normal and the sign random, with s = √(ln `kappa`)/2.
///
/// E x² = exp(2s²) and E x⁴ = exp(8s²), so the kurtosis E x⁴/(E x²)² = exp(4s²) is `kappa`: 1 for signs alone. A finite
/// matrix does not show a large `kappa`, which comes from entries so rare that there are none among m·n, and balancing
/// lowers its heaviness further. [`with_heaviness`] goes by what the matrix shows.
///
/// The draws depend on `seed` alone: the same seed with another `kappa` gives the same z and the same signs.
///
/// # Panics
/// For a `kappa` below 1.
pub fn synthetic(shape: [usize; 2], kappa: f64, seed: u64) -> Vec<f32> {
    assert!(kappa >= 1.0, "a kurtosis is at least 1, not {kappa}");
    Draws::of(shape, seed).entries(kappa.ln().sqrt() / 2.0)
}

/// A matrix as [`synthetic`] makes it, whose balanced entries have a given heaviness.
#[derive(Clone, Debug, PartialEq)]
pub struct Synthetic {
    /// X, `[m, n]`.
    pub x: Vec<f32>,
    /// The kurtosis that [`synthetic`] draws it with.
    pub kappa: f64,
}

/// The matrix of a seed whose [`Balance::heaviness`](super::Balance) is `heaviness` to within 0.5 %. A real matrix
/// shows only that, not the kappa from which it was drawn.
///
/// `None` if no kappa reaches it: heaviness is at most min(m, n), and beyond a third of that a matrix of this kind is
/// so sparse that little more than one entry per row or column counts.
///
/// Takes about as long as ten limits of m·n entries.
pub fn with_heaviness(shape: [usize; 2], heaviness: f64, seed: u64) -> Option<Synthetic> {
    let draws = Draws::of(shape, seed);
    let s = draws.spread_for(heaviness)?;
    Some(Synthetic { x: draws.entries(s), kappa: (4.0 * s * s).exp() })
}

/// The largest s that is tried: there kappa is 7·10¹⁰, and the passes converge slowly enough for any picture.
const MOST_SPREAD: f64 = 2.5;
/// Tolerance of the logarithm of a heaviness.
const NEAR: f64 = 2e-3;
/// The row deviation at which the heaviness of a limit is known accurately enough for that.
const ROUGHLY: f64 = 1e-4;

/// z and a sign for every entry.
struct Draws {
    shape: [usize; 2],
    z: Vec<f64>,
    signs: Vec<f64>,
}

impl Draws {
    fn of(shape: [usize; 2], seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let draw = |_| -> (f64, f64) { (StandardNormal.sample(&mut rng), StandardNormal.sample(&mut rng)) };
        let (z, signs) = (0..shape[0] * shape[1]).map(draw).unzip();
        Self { shape, z, signs }
    }

    fn entries(&self, s: f64) -> Vec<f32> {
        self.z.iter().zip(&self.signs).map(|(z, sign)| (s * z).exp().copysign(*sign) as f32).collect()
    }

    /// The s for a heaviness; `None` beyond [`MOST_SPREAD`].
    fn spread_for(&self, heaviness: f64) -> Option<f64> {
        let off = |s: f64| -> Option<f64> {
            Some(Limit::within(ROUGHLY, &self.entries(s), self.shape)?.heaviness().ln() - heaviness.ln())
        };
        if heaviness <= 1.0 {
            return (heaviness == 1.0).then_some(0.0);
        }
        // A kappa of that heaviness. Balancing lowers heaviness, so this is usually below the root and close to it.
        let [mut low, mut high] = [0.0, (heaviness.ln().sqrt() / 2.0).min(MOST_SPREAD)];
        let [mut off_low, mut off_high] = [-heaviness.ln(), off(high)?];
        while off_high < -NEAR {
            if high == MOST_SPREAD {
                return None;
            }
            [low, off_low] = [high, off_high];
            high = (1.3 * high).min(MOST_SPREAD);
            off_high = off(high)?;
        }
        // Regula falsi (Illinois variant): an end counts half when the other end has moved twice in a row.
        let mut at = high;
        let mut off_at = off_high;
        let mut last = 0.0;
        while off_at.abs() > NEAR {
            at = (low * off_high - high * off_low) / (off_high - off_low);
            off_at = off(at)?;
            if off_at < 0.0 {
                [low, off_low] = [at, off_at];
                off_high *= if last < 0.0 { 0.5 } else { 1.0 };
            } else {
                [high, off_high] = [at, off_at];
                off_low *= if last > 0.0 { 0.5 } else { 1.0 };
            }
            last = off_at;
        }
        Some(at)
    }
}

/// Rates by aspect ratio and heaviness, at a fixed number of entries: a grid whose cells are computed one by one.
///
/// Heaviness is that of the balanced entries. A real matrix has one as well, so its shape and its
/// [`Balance`](super::Balance) give its place on the map. If its rate differs from the map's, it has structure that
/// heaviness does not capture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Map {
    /// About how many entries a matrix has: its sides are rounded.
    pub n_entries: usize,
    /// Number of matrices averaged for a cell's rate.
    pub n_seeds: u64,
}

/// A cell of the map.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    /// [m, n].
    pub shape: [usize; 2],
    /// That of the balanced entries, to within 0.5 %.
    pub heaviness: f64,
    /// The mean of σ₂² over the matrices; `None` if no matrix is so heavy.
    pub rate: Option<f64>,
}

impl Cell {
    /// The cell of the transposed matrices.
    pub fn transposed(&self) -> Self {
        let [m, n] = self.shape;
        Self { shape: [n, m], ..*self }
    }
}

impl Default for Map {
    /// Of 64×64 entries.
    fn default() -> Self {
        Self::new(4096)
    }
}

impl Map {
    /// Aspect ratios n/m from 2⁻⁴ to 2⁴ in steps of √2.
    pub const N_ASPECTS: usize = 17;
    /// Heaviness from 1 to 16 in steps of ⁵√2.
    pub const N_HEAVINESS: usize = 21;

    /// A map for matrices with about `n_entries` entries.
    pub fn new(n_entries: usize) -> Self {
        Self { n_entries, n_seeds: 3 }
    }

    /// The column of the map with the transposed shape.
    pub fn mirrored(aspect: usize) -> usize {
        Self::N_ASPECTS - 1 - aspect
    }

    /// log₂(n/m) of a column of the map.
    pub fn log2_aspect(aspect: usize) -> f64 {
        (aspect as f64 - (Self::N_ASPECTS / 2) as f64) / 2.0
    }

    const ROWS_PER_OCTAVE: f64 = 5.0;

    /// The heaviness of a row of the map, counted from 0; rows may be fractions.
    pub fn heaviness(row: f64) -> f64 {
        2f64.powf(row / Self::ROWS_PER_OCTAVE)
    }

    /// The row of a heaviness of at least 1: the inverse of [`Map::heaviness`].
    pub fn row(heaviness: f64) -> f64 {
        Self::ROWS_PER_OCTAVE * heaviness.max(1.0).log2()
    }

    /// [m, n] in a column of the map.
    pub fn shape(&self, aspect: usize) -> [usize; 2] {
        let short = (self.n_entries as f64 / 2f64.powf(Self::log2_aspect(aspect).abs())).sqrt().round().max(1.0);
        let long = (self.n_entries as f64 / short).round();
        let [short, long] = [short as usize, long as usize];
        if aspect < Self::N_ASPECTS / 2 { [long, short] } else { [short, long] }
    }

    /// Computes a cell: some milliseconds for the default number of entries, and in proportion to that number.
    ///
    /// A matrix and its transpose have one rate: the cell of the [`Map::mirrored`] column is [`Cell::transposed`].
    ///
    /// # Panics
    /// Outside the map.
    pub fn cell(&self, aspect: usize, row: usize) -> Cell {
        assert!(aspect < Self::N_ASPECTS && row < Self::N_HEAVINESS, "no cell {aspect}, {row}");
        let (shape, heaviness) = (self.shape(aspect), Self::heaviness(row as f64));
        let mut wide = shape;
        wide.sort();
        let of_seed = |seed: u64| -> Option<f64> {
            let Synthetic { x, .. } = with_heaviness(wide, heaviness, seed)?;
            let limit = Limit::within(CONVERGED, &x, wide)?;
            Some(Second::of(&limit, wide).sigma.powi(2))
        };
        let sum: Option<f64> = (0..self.n_seeds).map(of_seed).sum();
        Cell { shape, heaviness, rate: sum.map(|sum| sum / self.n_seeds as f64) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Balance;
    use super::*;

    fn normal(len: usize, seed: u64) -> Vec<f64> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        (0..len).map(|_| StandardNormal.sample(&mut rng)).collect()
    }

    fn kurtosis(x: &[f32]) -> f64 {
        let mean = |power: i32| x.iter().map(|&x| f64::from(x).powi(power)).sum::<f64>() / x.len() as f64;
        mean(4) / mean(2).powi(2)
    }

    #[test]
    fn synthetic_entries_have_the_kurtosis_asked_for() {
        for kappa in [1.0, 1.5, 3.0] {
            let x = synthetic([600, 500], kappa, 4);
            let got = kurtosis(&x);
            // κ = 3 came to 3.01: the mean of x⁴ varies by √(κ⁴/300 000), 1.6 %.
            assert!((got / kappa - 1.0).abs() < 0.05, "{kappa}: {got}");
            let positive = x.iter().filter(|x| **x > 0.0).count() as f64 / 3e5;
            assert!((positive - 0.5).abs() < 0.01, "{kappa}: {positive}");
        }
        assert!(synthetic([8, 9], 1.0, 0).iter().all(|x| x.abs() == 1.0));
        assert_eq!(synthetic([8, 9], 20.0, 5), synthetic([8, 9], 20.0, 5));
        assert_ne!(synthetic([8, 9], 20.0, 5), synthetic([8, 9], 20.0, 6));
    }

    #[test]
    fn a_heaviness_is_found_as_far_as_there_is_one() {
        for shape in [[64, 64], [16, 256], [256, 16], [31, 45]] {
            for heaviness in [1.0, 1.01, 1.7, 3.0, 6.0] {
                let Synthetic { x, kappa } = with_heaviness(shape, heaviness, 2).unwrap();
                let got = Balance::of(&x, shape).unwrap().heaviness;
                assert!((got / heaviness - 1.0).abs() < 5e-3, "{shape:?}: {got}, not {heaviness}");
                assert_eq!(x, synthetic(shape, kappa, 2));
            }
            assert!(with_heaviness(shape, 64.0, 2).is_none());
        }
        assert!(with_heaviness([8, 8], 0.9, 0).is_none());
    }

    /// docs/fixed_point.md has such numbers, from examples/rates.rs.
    #[test]
    fn independent_entries_have_the_rate_of_their_heaviness() {
        let uniform = |z: f64| if z > 0.0 { 1.0 - (-z).exp() } else { z.exp() - 1.0 };
        let heavy = |z: f64| (10f64.ln().sqrt() / 2.0 * z).exp();
        type Entry<'a> = (&'a str, &'a dyn Fn(f64) -> f64, std::ops::Range<f64>);
        // Rates were 0.97 to 1.04 of the formula, and 1.2, 2.2 and 1.7 of it for the heavy entries.
        let entries: [Entry<'_>; 4] = [
            ("bounded", &uniform, 0.93..1.03),
            ("normal", &|z| z, 0.93..1.03),
            ("normal squared", &|z| z * z, 0.95..1.1),
            ("log-normal of kurtosis 10", &heavy, 1.1..2.5),
        ];
        for (name, of, range) in entries {
            for shape @ [m, n] in [[256, 256], [1024, 1024], [512, 2048]] {
                let x: Vec<f32> = normal(m * n, 5).into_iter().map(|z| of(z) as f32).collect();
                let balance = Balance::of(&x, shape).unwrap();
                let formula = rate_of_independent(shape, balance.heaviness);
                let largest = balance.squares.iter().fold(0.0_f32, |largest, p| largest.max(*p));
                let least = (f64::from(largest) - 1.0).powi(2) / (m * n) as f64;
                let rate = balance.rate;
                assert!(range.contains(&(rate / formula)), "{name} {shape:?}: {rate}, not {formula}");
                assert!(rate > least, "{name} {shape:?}: {rate}, at least {least}");
            }
        }
        assert_eq!(rate_of_independent([4, 4], 30.0), 1.0);
    }

    /// docs/fixed_point.md has such numbers, from examples/rates.rs.
    #[test]
    fn low_rank_has_the_rate_of_its_rank() {
        for rank in [1, 2, 3, 4, 8] {
            // Rates are above the formula, less so with more rows per direction: from 256 rows to 2048
            // the excess went from 0.06 to 0.03 for rank two, and from 0.79 to 0.29 for rank eight.
            for (shape @ [m, n], excess) in [([256, 1024], 0.85), ([512, 512], 0.7), ([2048, 2048], 0.35)] {
                let [y, z] = [normal(m * rank, 6), normal(n * rank, 7)];
                let dot = |i: usize, j: usize| (0..rank).map(|k| y[i * rank + k] * z[j * rank + k]).sum::<f64>();
                let x: Vec<f32> = (0..m * n).map(|at| dot(at / n, at % n) as f32).collect();
                let Balance { rate, heaviness, .. } = Balance::of(&x, shape).unwrap();
                let formula = rate_of_rank(rank);
                assert!((heaviness - 3.0 * rank as f64 / (rank + 2) as f64).abs() < 0.02, "{rank}: {heaviness}");
                let range = 0.99 * formula..=(1.0 + excess) * formula + 1e-12;
                assert!(range.contains(&rate), "{rank} {shape:?}: {rate}, not {formula}");
            }
        }
    }

    #[test]
    fn cells_lie_where_they_say() {
        let map = Map::new(1024);
        assert_eq!([map.shape(0), map.shape(8), map.shape(16)], [[128, 8], [32, 32], [8, 128]]);
        assert_eq!([Map::log2_aspect(0), Map::log2_aspect(8), Map::log2_aspect(16)], [-4.0, 0.0, 4.0]);
        assert_eq!([Map::heaviness(0.0), Map::heaviness(5.0), Map::heaviness(20.0)], [1.0, 2.0, 16.0]);
        for aspect in 0..Map::N_ASPECTS {
            let [m, n] = map.shape(aspect);
            assert!((m * n).abs_diff(1024) <= m.max(n) / 2, "{aspect}: {m}×{n}");
            let off = (n as f64 / m as f64).log2() - Map::log2_aspect(aspect);
            assert!(off.abs() < 0.15, "{aspect}: {m}×{n} is off by {off}");
        }
        let [tall, wide] = [map.cell(3, 7), map.cell(13, 7)];
        assert_eq!(Map::mirrored(3), 13);
        assert_eq!([wide.shape[1], wide.shape[0]], tall.shape);
        assert_eq!(wide, tall.transposed());
        let signs = map.cell(8, 0);
        assert!(signs.rate.unwrap() < 1e-12, "{signs:?}");
        assert_eq!(map.cell(16, 20).rate, None, "8 rows cannot be as heavy as 16");
        let mut column: Vec<f64> = (0..15).filter_map(|row| map.cell(8, row).rate).collect();
        assert!(column.is_sorted() && column.len() == 15, "{column:?}");
        column.dedup();
        assert_eq!(column.len(), 15);
    }

    #[test]
    fn a_cell_is_the_mean_of_its_matrices() {
        let map = Map { n_entries: 600, n_seeds: 2 };
        let cell = map.cell(11, 9);
        let rates = [0, 1].map(|seed| {
            let Synthetic { x, .. } = with_heaviness(cell.shape, cell.heaviness, seed).unwrap();
            Balance::of(&x, cell.shape).unwrap().rate
        });
        assert_eq!(cell.rate, Some((rates[0] + rates[1]) / 2.0));
        let json = serde_json::to_string(&cell).unwrap();
        assert_eq!(serde_json::from_str::<Cell>(&json).unwrap(), cell);
    }
}
