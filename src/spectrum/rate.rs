//! How fast row and column passes converge: predicted by theory, and observed.

use super::balance::{Balance, turns};
use super::quantities::Quantities;
use crate::settings::Pass;

/// Below this spread of norms f32's rounding matters: norms of f32 rows that were scaled to be equal differ by about
/// 1e-7.
pub const NOISE_FLOOR: f64 = 1e-6;

/// The fraction of a small deviation from its limit that one iteration of `passes` leaves for x `[m, n]`: σ₂² of the
/// balanced X⊙X/√(m·n) for `row, column` (Knight 2008, "The Sinkhorn–Knopp algorithm: convergence and applications",
/// SIAM J. Matrix Anal. Appl. 30, section 4).
///
/// For other lists see [`Balance::rate_of`]. `None` if that is `None`, and for a matrix without a limit
/// ([`Balance::of`]). Zero rows and columns are skipped.
pub fn predicted_rate(x: &[f32], shape: [usize; 2], passes: &[Pass]) -> Option<f64> {
    turns(passes)?; // before anything expensive
    Balance::of(x, shape)?.rate_of(passes)
}

/// The ratio of the deviations after two successive iterations, the latest two that are above [`NOISE_FLOOR`].
///
/// `ends` are the last half-steps of the iterations. The deviation is that of the side that the last pass did not make
/// exact: [`Quantities::row_spread`], or [`Quantities::column_spread`] if `passes` end on rows. About 1 if nothing
/// converges. `None` for fewer than two such iterations, and for passes without rows and columns.
pub fn observed_rate(ends: &[&Quantities], passes: &[Pass]) -> Option<f64> {
    let deviation: fn(&Quantities) -> f64 =
        match passes.iter().rev().find(|pass| matches!(pass, Pass::Row | Pass::Column))? {
            Pass::Row => Quantities::column_spread,
            _ => Quantities::row_spread,
        };
    let pairs = ends.windows(2).map(|pair| [deviation(pair[0]), deviation(pair[1])]);
    let [before, after] = pairs.rev().find(|pair| pair.iter().all(|deviation| *deviation > NOISE_FLOOR))?;
    Some(after / before)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(words: &str) -> Vec<Pass> {
        Pass::parse_list(&[words.into()]).unwrap()
    }

    #[test]
    fn the_latest_pair_above_the_floor_counts() {
        // One column of deviation d: rows √(1 + d) and √(1 − d).
        let of =
            |d: f64| Quantities::of(&[(1.0 + d).sqrt(), (1.0 - d).sqrt()].map(|x| x as f32), [2, 1], None, &[1.0; 2]);
        let ends: Vec<Quantities> = [0.5, 0.1, 0.05, 1e-7].map(of).into();
        let ends: Vec<&Quantities> = ends.iter().collect();
        let passes = list("row,column");
        let near =
            |rate: Option<f64>, want: f64| assert!((rate.unwrap() / want - 1.0).abs() < 0.05, "{rate:?}, {want}");
        near(observed_rate(&ends, &passes), 0.5);
        near(observed_rate(&ends[..2], &passes), 0.1 / 0.5);
        assert_eq!(observed_rate(&ends[..1], &passes), None);
        assert_eq!(observed_rate(&ends[2..], &passes), None, "the second is noise");
        assert_eq!(observed_rate(&ends, &list("sign")), None);
        assert_eq!(observed_rate(&ends, &list("column,row")), None, "its one column is exact");
    }
}
