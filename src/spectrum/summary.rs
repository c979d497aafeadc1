//! A matrix in a few numbers: what a tile shows of it among all others.

use serde::{Deserialize, Serialize};

use super::balance::Balance;
use super::quantities::{Quantities, Spectrum};

/// What is told of a gradient and of the step that was made of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// [`Balance::rate`] of the gradient; none where it has no limit.
    pub rate: Option<f64>,
    /// [`Balance::heaviness`]; none with it.
    pub heaviness: Option<f64>,
    /// How far the worse side of the step is from balance: the larger of [`Quantities::row_spread`] and
    /// [`Quantities::column_spread`].
    pub deviation: f64,
    /// ‖step‖_F/√(m·n), its root mean square.
    pub frobenius: f64,
    /// The largest singular value of the step; none where singular values were not computed.
    pub operator_norm: Option<f64>,
    /// Of the step, see [`effective_rank`](super::effective_rank); none with it.
    pub effective_rank: Option<f64>,
}

impl Summary {
    /// Of a step, and the balance of its gradient.
    ///
    /// `step` must be as [`Quantities::of`] made it: spreads are not written into JSON.
    pub fn of(step: &Quantities, balance: Option<&Balance>) -> Self {
        let of_spectrum = |value: fn(&Spectrum) -> f64| step.spectrum.as_ref().map(value);
        Self {
            rate: balance.map(|balance| balance.rate),
            heaviness: balance.map(|balance| balance.heaviness),
            deviation: step.row_spread().max(step.column_spread()),
            frobenius: step.frobenius,
            operator_norm: of_spectrum(|spectrum| spectrum.operator_norm),
            effective_rank: of_spectrum(|spectrum| spectrum.effective_rank),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tile_tells_what_was_computed() {
        let x = [3.0, -4.0, 1.0, 2.0];
        let mut step = Quantities::of(&x, [2, 2], None, &x);
        let balance = Balance::of(&x, [2, 2]);
        let of = Summary::of(&step, balance.as_ref());
        assert_eq!((of.rate, of.operator_norm), (balance.map(|balance| balance.rate), None));
        assert_eq!(of.deviation, step.row_spread().max(step.column_spread()));
        assert!(of.deviation > 0.3 && of.frobenius == 7.5f64.sqrt(), "{of:?}");
        let transposed = Quantities::of(&[3.0, 1.0, -4.0, 2.0], [2, 2], None, &x);
        assert!(step.row_spread() != step.column_spread());
        assert!((Summary::of(&transposed, None).deviation - of.deviation).abs() < 1e-12, "{of:?}");
        step.spectrum = Some(Spectrum::of(&x, [2, 2]));
        let of = Summary::of(&step, None);
        assert_eq!((of.rate, of.heaviness), (None, None));
        // det = 10 and ‖X‖² = 30: σ² = 15 ± √125.
        assert!((of.operator_norm.unwrap() - (15.0 + 125f64.sqrt()).sqrt()).abs() < 1e-12, "{of:?}");
        assert!((1.0..2.0).contains(&of.effective_rank.unwrap()), "{of:?}");
    }
}
