//! How fast row and column passes converge: what theory says, and what was seen.

use super::balance::{Balance, turns};
use super::quantities::Quantities;
use crate::settings::Pass;

/// A spread of norms below which f32's rounding is a part of it that counts.
///
/// Norms of f32 elements that were scaled to be equal are so to about 1e-7.
pub const NOISE_FLOOR: f64 = 1e-6;

/// The factor by which one iteration of `passes` brings x `[m, n]` nearer to its limit, once it is near: σ₂² of the
/// balanced X⊙X/√(m·n) for `row, column` (Knight 2008, "The Sinkhorn–Knopp algorithm: convergence and applications",
/// SIAM J. Matrix Anal. Appl. 30, section 4).
///
/// A power of σ₂ with as many factors as `passes`, repeated, goes from rows to columns or back.
/// None for a list with other passes, or without both; and for a matrix without a limit, as one with a zero block that
/// is too large. Zero rows and columns are left out.
pub fn predicted_rate(x: &[f32], shape: [usize; 2], passes: &[Pass]) -> Option<f64> {
    turns(passes)?; // before anything is computed
    Balance::of(x, shape)?.rate_of(passes)
}

/// The ratio of the deviations of successive iterations: the latest pair that is above [`NOISE_FLOOR`].
///
/// `ends` are the iterations' last half-steps. The deviation is [`Quantities::row_spread`], or that of columns where
/// `passes` end on rows: the side that the last pass did not make exact. About 1 where nothing converges.
/// None for fewer than two such iterations, and for passes without rows and columns.
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
