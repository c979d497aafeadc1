//! X ← aX + bXXᵀX + c(XXᵀ)²X: Newton–Schulz iterations towards (XXᵀ)^(-1/2)X, the nearest matrix with orthonormal rows
//! (or columns, if there are more rows).
//!
//! Each step applies the odd polynomial p(σ) = aσ + bσ³ + cσ⁵ to every singular value and leaves the singular vectors.
//! X starts at X/‖X‖_F, so that no singular value is above 1. A singular value of 0 stays 0.
//!
//! The limits: `cubic` converges to 1, by a factor of 1.5 per step while σ is small; Muon's quintic not to 1 but into
//! [0.68, 1.13], by a factor of 3.44 per step; Polar Express (8 steps) to 1 for σ above about 1e-3; Muon's quintic with
//! the two refining steps to 1.

/// A polynomial sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sequence {
    /// (3σ − σ³)/2 (Björck & Bowie 1971; SWAN's GradWhitening, arXiv 2412.13148, with β = 1/2).
    Cubic,
    /// Jordan et al. 2024, github.com/KellerJordan/Muon.
    Muon,
    /// Amsel et al. 2025, arXiv 2505.16932, degree 5, ℓ = 1e-3.
    PolarExpress,
    /// Muon's quintic, except for the last two steps (DeepSeek-V4).
    MuonRefined,
}

const MUON: [f64; 3] = [3.4445, -4.7750, 2.0315];
const REFINE: [f64; 3] = [2.0, -1.5, 0.5];
const POLAR_EXPRESS: [[f64; 3]; 7] = [
    [8.28721201814563, -23.595886519098837, 17.300387312530933],
    [4.107059111542203, -2.9478499167379106, 0.5448431082926601],
    [3.9486908534822946, -2.908902115962949, 0.5518191394370137],
    [3.3184196573706015, -2.488488024314874, 0.51004894012372],
    [2.300652019954817, -1.6689039845747493, 0.4188073119525673],
    [1.891301407787398, -1.2679958271945868, 0.37680408948524835],
    [1.8750014808534479, -1.2500016453999487, 0.375000],
];
const POLAR_EXPRESS_LAST: [f64; 3] = [1.875, -1.25, 0.375];

impl Sequence {
    /// (a, b, c) of step `step` of `steps`, counted from 0.
    pub fn coefficients(self, step: usize, steps: usize) -> [f64; 3] {
        match self {
            Self::Cubic => [1.5, -0.5, 0.0],
            Self::Muon => MUON,
            Self::PolarExpress => POLAR_EXPRESS.get(step).copied().unwrap_or(POLAR_EXPRESS_LAST),
            Self::MuonRefined if step + 2 < steps => MUON,
            Self::MuonRefined => REFINE,
        }
    }
}

impl Sequence {
    /// The result of `steps` steps on one singular value of at most 1.
    pub fn of_value(self, sigma: f64, steps: usize) -> f64 {
        (0..steps).fold(sigma, |sigma, step| {
            let [a, b, c] = self.coefficients(step, steps);
            a * sigma + b * sigma.powi(3) + c * sigma.powi(5)
        })
    }
}

/// The spectral pass: x and the result are m×n, the result's singular values near √max(m, n).
pub fn spectral(x: &[f64], m: usize, n: usize, sequence: Sequence, steps: usize) -> Vec<f64> {
    assert_eq!(x.len(), m * n, "spectral: x wants m·n = {m}·{n}");
    if m > n {
        return transposed(&spectral(&transposed(x, m, n), n, m, sequence, steps), n, m);
    }
    let norm = x.iter().map(|x| x * x).sum::<f64>().sqrt();
    if norm == 0.0 {
        return x.to_vec();
    }
    let mut x: Vec<f64> = x.iter().map(|x| x / norm).collect();
    for step in 0..steps {
        x = polynomial(&x, m, n, sequence.coefficients(step, steps));
    }
    let scale = (n as f64).sqrt();
    x.iter().map(|x| scale * x).collect()
}

/// (aI + bA + cA²)·X with A = XXᵀ, for m ≤ n.
fn polynomial(x: &[f64], m: usize, n: usize, [a, b, c]: [f64; 3]) -> Vec<f64> {
    let gram = super::matmul::nt(x, x, [m, m, n]);
    let square = super::matmul::nt(&gram, &gram, [m, m, m]);
    let factor: Vec<f64> =
        (0..m * m).map(|at| b * gram[at] + c * square[at] + if at / m == at % m { a } else { 0.0 }).collect();
    super::matmul::nn(&factor, x, [m, n, m])
}

fn transposed(x: &[f64], m: usize, n: usize) -> Vec<f64> {
    (0..m * n).map(|at| x[at % m * n + at / m]).collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_close, random};
    use super::*;

    const SEQUENCES: [(Sequence, usize); 4] =
        [(Sequence::Cubic, 10), (Sequence::Muon, 5), (Sequence::PolarExpress, 8), (Sequence::MuonRefined, 10)];

    /// H = I − 2vvᵀ/‖v‖²: orthogonal, symmetric.
    fn reflection(n: usize, seed: u64) -> Vec<f64> {
        let v = random(n, seed);
        let square: f64 = v.iter().map(|v| v * v).sum();
        (0..n * n).map(|at| f64::from(u8::from(at / n == at % n)) - 2.0 * v[at / n] * v[at % n] / square).collect()
    }

    /// U·diag(σ)·V for m×n.
    fn with_singular_values(sigma: &[f64], m: usize, n: usize) -> Vec<f64> {
        let mut diagonal = vec![0.0; m * n];
        sigma.iter().enumerate().for_each(|(i, sigma)| diagonal[i * n + i] = *sigma);
        let left = super::super::matmul::nn(&reflection(m, 1), &diagonal, [m, n, m]);
        super::super::matmul::nn(&left, &reflection(n, 2), [m, n, n])
    }

    #[test]
    fn singular_values_move_by_the_polynomial_and_vectors_stay() {
        for [m, n] in [[1, 1], [3, 3], [3, 7], [7, 3], [1, 5], [5, 1]] {
            let sigma: Vec<f64> = [3.0, 0.5, 0.0][..m.min(n).min(3)].to_vec();
            let norm = sigma.iter().map(|s| s * s).sum::<f64>().sqrt();
            for scale in [1e-12, 1.0, 1e12] {
                let x: Vec<f64> = with_singular_values(&sigma, m, n).iter().map(|x| scale * x).collect();
                for (sequence, steps) in SEQUENCES {
                    let root = (m.max(n) as f64).sqrt();
                    let moved: Vec<f64> = sigma.iter().map(|s| root * sequence.of_value(s / norm, steps)).collect();
                    let want = with_singular_values(&moved, m, n);
                    assert_close(&format!("{sequence:?} {m}x{n}"), &spectral(&x, m, n, sequence, steps), &want, 1e-9);
                }
            }
        }
    }

    #[test]
    fn each_sequence_comes_to_where_its_source_says() {
        for sigma in [0.01, 0.05, 0.3, 0.9, 1.0] {
            let muon = Sequence::Muon.of_value(sigma, 5);
            assert!((0.68..1.21).contains(&muon), "muon: {sigma} to {muon}");
            assert_close("polar express", &[Sequence::PolarExpress.of_value(sigma, 8)], &[1.0], 3e-3);
            assert_close("refined", &[Sequence::MuonRefined.of_value(sigma, 10)], &[1.0], 6e-3);
            assert_close("cubic", &[Sequence::Cubic.of_value(sigma, 20)], &[1.0], 1e-3);
        }
    }

    #[test]
    fn zero_stays_zero() {
        for (sequence, steps) in SEQUENCES {
            assert_eq!(spectral(&[0.0; 6], 2, 3, sequence, steps), [0.0; 6]);
        }
    }
}
