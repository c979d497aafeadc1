//! SubZero (Yu et al. 2024, arXiv 2410.08989, algorithm 1): MeZO's directions, with low rank for every matrix.

use super::gram_schmidt::orthonormalize;
use super::random::normal;

/// The subspaces of an m×n matrix.
#[derive(Clone, Debug)]
pub struct Subspaces {
    /// `[r, m]`, orthonormal rows: Uᵀ.
    pub left: Vec<f64>,
    /// `[r, n]`, orthonormal rows: Vᵀ.
    pub right: Vec<f64>,
}

impl Subspaces {
    /// The subspaces for step t (from 1): the Q factors of random matrices, new ones every `interval` steps.
    pub fn at([m, n]: [usize; 2], rank: usize, interval: u32, t: u32, streams: [u32; 2], seed: u32) -> Self {
        let epoch = (t - 1) / interval;
        let basis = |len: usize, stream: u32| {
            let mut rows: Vec<f64> = (0..rank * len).map(|at| normal(at as u32, stream, epoch, seed)).collect();
            orthonormalize(&mut rows, len);
            rows
        };
        Self { left: basis(m, streams[0]), right: basis(n, streams[1]) }
    }

    /// Z = √(mn)/r · U·Z₀·Vᵀ for the core Z₀ `[r, r]`: of mean square 1 for a core of standard normal numbers.
    ///
    /// The factor is from the authors' code, and makes a direction as long as one of full rank.
    pub fn direction(&self, core: &[f64], [m, n]: [usize; 2]) -> Vec<f64> {
        let rank = self.left.len() / m;
        assert_eq!(core.len(), rank * rank, "core of rank {rank}");
        let scale = ((m * n) as f64).sqrt() / rank as f64;
        let mut z = vec![0.0; m * n];
        for (k, row) in core.chunks(rank).enumerate() {
            for (l, core) in row.iter().enumerate() {
                for (i, z) in z.chunks_mut(n).enumerate() {
                    let left = scale * self.left[k * m + i] * core;
                    z.iter_mut().zip(&self.right[l * n..]).for_each(|(z, right)| *z += left * right);
                }
            }
        }
        z
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directions_are_of_low_rank_and_of_mean_square_1() {
        let shape @ [m, n] = [6, 40];
        let spaces = Subspaces::at(shape, 3, 10, 1, [1, 2], 9);
        for rows in [(&spaces.left, m), (&spaces.right, n)] {
            for (a, b) in (0..3).flat_map(|a| (0..3).map(move |b| (a, b))) {
                let dot: f64 = (0..rows.1).map(|at| rows.0[a * rows.1 + at] * rows.0[b * rows.1 + at]).sum();
                assert!((dot - f64::from(u8::from(a == b))).abs() < 1e-12, "{a} {b} {dot}");
            }
        }
        let mut square = 0.0;
        for seed in 0..400 {
            let core: Vec<f64> = (0..9).map(|at| normal(at, 4, 0, seed)).collect();
            let z = spaces.direction(&core, shape);
            square += z.iter().map(|z| z * z).sum::<f64>() / (400 * m * n) as f64;
            // Anything orthogonal to the subspace on the right maps to zero.
            let row = &z[..n];
            let inside: f64 =
                (0..3).map(|k| (0..n).map(|at| row[at] * spaces.right[k * n + at]).sum::<f64>().powi(2)).sum();
            assert!((inside - row.iter().map(|z| z * z).sum::<f64>()).abs() < 1e-9);
        }
        assert!((square - 1.0).abs() < 0.1, "{square}");
        let other = |t: u32| Subspaces::at(shape, 3, 10, t, [1, 2], 9).left;
        assert!(other(10) == spaces.left && other(11) != spaces.left);
    }
}
