//! Who takes which part of a batch.

use std::ops::Range;

/// Divides `n` micro-batches into one contiguous range per rank, in proportion to the ranks' `speeds`, at least one
/// each: the largest remainders get what rounding leaves (of equal ones, the first).
///
/// Panics if there are fewer micro-batches than ranks, or a speed is not positive.
pub fn shares(n: usize, speeds: &[f64]) -> Vec<Range<usize>> {
    assert!(n >= speeds.len(), "{n} micro-batches for {} ranks", speeds.len());
    assert!(speeds.iter().all(|speed| *speed > 0.0 && speed.is_finite()), "{speeds:?}");
    let total: f64 = speeds.iter().sum();
    // One each; what is left goes by speed beyond that one.
    let wanted: Vec<f64> = speeds.iter().map(|speed| (speed / total * n as f64 - 1.0).max(0.0)).collect();
    let left = (n - speeds.len()) as f64;
    let sum: f64 = wanted.iter().sum();
    let wanted: Vec<f64> = wanted.iter().map(|share| if sum > 0.0 { share / sum * left } else { 0.0 }).collect();
    let mut counts: Vec<usize> = wanted.iter().map(|share| 1 + share.floor() as usize).collect();
    let mut by_remainder: Vec<usize> = (0..speeds.len()).collect();
    by_remainder.sort_by(|a, b| wanted[*b].fract().total_cmp(&wanted[*a].fract()));
    let missing = n - counts.iter().sum::<usize>();
    by_remainder.into_iter().cycle().take(missing).for_each(|rank| counts[rank] += 1);
    let mut begin = 0;
    counts
        .into_iter()
        .map(|count| {
            begin += count;
            begin - count..begin
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(n: usize, speeds: &[f64]) -> Vec<usize> {
        let shares = shares(n, speeds);
        assert!(shares.windows(2).all(|pair| pair[0].end == pair[1].start), "{shares:?}");
        assert_eq!((shares[0].start, shares.last().unwrap().end), (0, n));
        shares.into_iter().map(|share| share.len()).collect()
    }

    #[test]
    fn shares_follow_speeds_and_leave_nobody_out() {
        assert_eq!(counts(6, &[1.0; 1]), [6]);
        assert_eq!(counts(6, &[1.0; 3]), [2, 2, 2]);
        assert_eq!(counts(8, &[5.0; 3]), [3, 3, 2]);
        assert_eq!(counts(3, &[1.0; 3]), [1, 1, 1]);
        assert_eq!(counts(12, &[3.0, 1.0, 2.0]), [6, 2, 4]);
        assert_eq!(counts(10, &[1000.0, 1.0, 1.0]), [8, 1, 1]);
        assert_eq!(counts(5, &[1.0, 1.5]), [2, 3]);
        for n in 7..60 {
            let speeds = [0.3, 2.0, 1.0, 1.0, 0.01, 7.0, 3.0];
            let counts = counts(n, &speeds);
            assert!(counts.iter().all(|count| *count >= 1) && counts[5] >= counts[6], "{counts:?}");
        }
    }
}
