//! Statistics over a few seeds.

use serde::Serialize;

/// Mean and spread over seeds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// The arithmetic mean.
    pub mean: f64,
    /// The sample standard deviation (over n − 1); `None` for one value.
    pub sd: Option<f64>,
    /// The number of values.
    pub n: usize,
}

impl Spread {
    /// The spread of these values; `None` if there are none.
    pub fn of(values: &[f64]) -> Option<Self> {
        let n = values.len();
        let mean = values.iter().sum::<f64>() / n as f64;
        let sum_of_squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let sd = (n > 1).then(|| (sum_of_squares / (n - 1) as f64).sqrt());
        (n > 0).then_some(Self { mean, sd, n })
    }

    /// The largest difference between two means that counts as noise: 2·√(s₁²/n₁ + s₂²/n₂), twice the standard error of
    /// the difference. `None` if either has only one value.
    pub fn noise(&self, other: &Self) -> Option<f64> {
        let squared_error = |spread: &Self| spread.sd.map(|sd| sd * sd / spread.n as f64);
        Some(2.0 * (squared_error(self)? + squared_error(other)?).sqrt())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spread_and_noise_by_hand() {
        let a = Spread::of(&[1.0, 3.0]).unwrap();
        assert_eq!(a, Spread { mean: 2.0, sd: Some(2f64.sqrt()), n: 2 });
        let b = Spread::of(&[4.0, 4.0, 7.0]).unwrap();
        assert_eq!((b.mean, b.sd), (5.0, Some(3f64.sqrt())));
        // 2·√(2/2 + 3/3)
        assert!((a.noise(&b).unwrap() - 2.0 * 2f64.sqrt()).abs() < 1e-15);
        let one = Spread::of(&[4.0]).unwrap();
        assert_eq!((one.sd, a.noise(&one), one.noise(&a)), (None, None, None));
        assert_eq!(Spread::of(&[]), None);
    }
}
