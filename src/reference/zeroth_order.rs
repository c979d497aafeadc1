//! MeZO (Malladi et al. 2023, arXiv 2305.17333, algorithm 1): descent along random directions, by the difference of two
//! losses.

use super::random::normal;

/// Hyperparameters, constant over a run.
#[derive(Clone, Copy, Debug)]
pub struct Mezo {
    /// ε.
    pub eps: f64,
    /// Added to the estimated gradient, multiplied by the weight.
    pub weight_decay: f64,
}

impl Mezo {
    /// The quantum of all changes: a power of two, at most a sixteenth of ε.
    fn quantum(&self) -> f64 {
        (self.eps.log2().floor() - 4.0).exp2()
    }

    /// The largest change: a power of two, at least 16 ε.
    fn reach(&self) -> f64 {
        (self.eps.log2().ceil() + 4.0).exp2()
    }

    /// d, the change of the weights for a direction z: ε·z, rounded so that w + d and w − d are exact in single
    /// precision.
    pub fn change(&self, z: &[f64]) -> Vec<f64> {
        let (quantum, reach) = (self.quantum(), self.reach());
        z.iter().map(|z| ((self.eps * z / quantum).round_ties_even() * quantum).clamp(-reach, reach)).collect()
    }

    /// The nearest weight for which that is true: a multiple of the spacing of single precision at |w| + reach.
    pub fn settled(&self, w: f64) -> f64 {
        let spacing = ((w.abs() + self.reach()).log2().floor() - 23.0).exp2();
        (w / spacing).round_ties_even() * spacing
    }
}

/// z of step t (from 1): one standard normal number per weight.
pub fn direction(len: usize, t: u32, [stream, seed]: [u32; 2]) -> Vec<f64> {
    (0..len).map(|at| normal(at as u32, stream, t - 1, seed)).collect()
}

/// The seed for the step's direction with this index, from 0: the first is the run's own.
pub fn seed_of_query(seed: u32, query: u32) -> u32 {
    seed.wrapping_add(query.wrapping_mul(0x9e37_79b9))
}

/// (L(w + d) − L(w − d))/2ε.
pub fn projected_gradient(plus: f64, minus: f64, eps: f64) -> f64 {
    (plus - minus) / (2.0 * eps)
}

/// w ← w − lr·(g·d/ε + λw) for a gradient g along the change d.
pub fn step(hyper: &Mezo, w: &mut [f64], change: &[f64], gradient: f64, lr: f64) {
    for (w, d) in w.iter_mut().zip(change) {
        *w = hyper.settled(*w - lr * (gradient * d / hyper.eps + hyper.weight_decay * *w));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYPER: Mezo = Mezo { eps: 1e-3, weight_decay: 0.0 };

    #[test]
    fn single_precision_goes_there_and_back_to_the_last_bit() {
        let exact = |x: f64| f64::from(x as f32) == x;
        let z = direction(20_000, 3, [5, 7]);
        let change = HYPER.change(&z);
        let near = |(d, z): (&f64, &f64)| (d - HYPER.eps * z).abs() <= HYPER.quantum() / 2.0;
        assert!(change.iter().zip(&z).all(near));
        for (at, d) in change.iter().enumerate() {
            // Weights of all magnitudes, from a billionth to a thousand.
            let w = HYPER
                .settled(z[(at + 1) % z.len()] * (-9.0 + 12.0 * at as f64 / z.len() as f64).exp2().powi(3).min(150.0));
            assert!(exact(w) && exact(w + d) && exact(w - d), "{w} {d}");
            assert_eq!(HYPER.settled(w), w);
        }
    }

    #[test]
    fn the_mean_over_directions_is_the_gradient() {
        // L = Σ aᵢ wᵢ + Σ wᵢ²/2, whose gradient is a + w.
        let (w, a) = ([0.3, -1.0, 0.2], [1.0, 2.0, -0.5]);
        let loss = |w: &[f64]| w.iter().zip(&a).map(|(w, a)| a * w + w * w / 2.0).sum::<f64>();
        let mut mean = [0.0; 3];
        const N: u32 = 40_000;
        for query in 0..N {
            let d = HYPER.change(&direction(3, 1, [2, seed_of_query(9, query)]));
            let at = |sign: f64| loss(&w.iter().zip(&d).map(|(w, d)| w + sign * d).collect::<Vec<_>>());
            let g = projected_gradient(at(1.0), at(-1.0), HYPER.eps);
            mean.iter_mut().zip(&d).for_each(|(mean, d)| *mean += g * d / HYPER.eps / f64::from(N));
        }
        for ((mean, a), w) in mean.iter().zip(&a).zip(&w) {
            assert!((mean - (a + w)).abs() < 0.05, "{mean} {}", a + w);
        }
    }

    #[test]
    fn it_descends() {
        let hyper = Mezo { weight_decay: 0.5, ..HYPER };
        let mut w = vec![1.0, -2.0, 3.0, 0.5];
        let loss = |w: &[f64]| w.iter().map(|w| w * w).sum::<f64>();
        let start = loss(&w);
        for t in 1..=400 {
            let d = hyper.change(&direction(4, t, [1, 2]));
            let at = |sign: f64| loss(&w.iter().zip(&d).map(|(w, d)| w + sign * d).collect::<Vec<_>>());
            let g = projected_gradient(at(1.0), at(-1.0), hyper.eps);
            step(&hyper, &mut w, &d, g, 0.02);
        }
        assert!(loss(&w) < 1e-3 * start, "{w:?}");
    }
}
