//! The iteration itself: how far rows and columns are from balance after each round.

use serde::{Deserialize, Serialize};

use super::balance::Balance;
use super::limit::{Squares, product, scalings};
use super::quantities::spread;
use crate::settings::Pass;

/// The rounds end when rows and columns both deviate by less than this.
const BALANCED: f64 = 1e-12;
/// Deviations above this are more than f64's rounding in the sum of a row.
const MEASURABLE: f64 = 1e-13;
/// The prediction holds if the logarithm of the measured factor is within this fraction of that of the rate. The number
/// of rounds that it gives is then accurate to the same fraction.
const HOLDS: f64 = 0.1;
/// At most this many elements are visited, unless [`LEAST_ROUNDS`] take more: about a second.
const MOST_VISITS: usize = 1_000_000_000;
const LEAST_ROUNDS: usize = 10;

/// Deviations from balance over the rounds of a list of passes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Convergence {
    /// Number of passes in a round.
    pub n_passes: usize,
    /// For rows and for columns, like [`Quantities::row_spread`](super::Quantities::row_spread): the root mean square
    /// of |length/ρ − 1|, ρ the root mean square of all nonzero lengths. First for the matrix itself, then after every
    /// pass.
    pub deviations: Vec<[f32; 2]>,
    /// The fraction of a small deviation that a round leaves: [`Balance::rate_of`] the list without `frobenius` and
    /// `max`.
    pub rate: Option<f64>,
}

/// Runs `rounds` rounds of `passes` on x `[m, n]` in f64. `balance` is that of x, and gives the rate.
///
/// The rounds end earlier if rows and columns come within 10⁻¹² of balance, or if the scalings leave the range of f64.
/// For a large matrix they end when 10⁹ elements have been visited, but not before the tenth: every pass reads X⊙X
/// once, and changes only the squared scalings of rows or columns.
///
/// `frobenius` and `max` change no deviation. `None` for a list with any pass other than these, `row` and `column`, and
/// for a matrix with a NaN or an infinity.
///
/// # Panics
/// If the list or the matrix is empty, or the length is not m·n.
pub fn converge(
    x: &[f32],
    shape @ [m, n]: [usize; 2],
    passes: &[Pass],
    rounds: usize,
    balance: Option<&Balance>,
) -> Option<Convergence> {
    assert!(!passes.is_empty(), "a list of passes is not empty");
    let scaling: Vec<Pass> = passes.iter().copied().filter(|pass| matches!(pass, Pass::Row | Pass::Column)).collect();
    if passes.iter().any(|pass| !matches!(pass, Pass::Row | Pass::Column | Pass::Frobenius | Pass::Max)) {
        return None;
    }
    let squares = Squares::of(x, shape)?;
    let (mut row_sums, mut column_sums) = (squares.times(&vec![1.0; n]), squares.transposed_times(&vec![1.0; m]));
    let n_live = [live(&row_sums), live(&column_sums)];
    // The squared length of a row is its u times its sum, and that of a column its v times its sum. Zero rows and
    // columns have 0 from the start, because a one-sided list never visits the other side.
    let [mut u, mut v] = [&row_sums, &column_sums]
        .map(|sums| sums.iter().map(|sum| if *sum > 0.0 { 1.0 } else { 0.0 }).collect::<Vec<f64>>());
    let mut deviations = vec![[spread(&row_sums), spread(&column_sums)]];
    for _ in 0..rounds.min(most_rounds(x.len() * scaling.len())) {
        for pass in passes {
            match pass {
                Pass::Row => {
                    u = scalings(n as f64, &row_sums);
                    column_sums = squares.transposed_times(&u);
                }
                Pass::Column => {
                    v = scalings(m as f64, &column_sums);
                    row_sums = squares.times(&v);
                }
                _ => {}
            }
            deviations.push([spread(&product(&u, &row_sums)), spread(&product(&v, &column_sums))]);
        }
        // Without a limit the scalings eventually leave the range of f64.
        if [live(&u), live(&v)] != n_live || !u.iter().chain(&v).all(|scaling| scaling.is_finite()) {
            deviations.truncate(deviations.len() - passes.len());
            break;
        }
        if deviations.last().is_some_and(|last| last.iter().all(|deviation| *deviation < BALANCED)) {
            break;
        }
    }
    let deviations = deviations.iter().map(|of| of.map(|deviation| deviation as f32)).collect();
    let rate = balance.and_then(|balance| balance.rate_of(&scaling));
    Some(Convergence { n_passes: passes.len(), deviations, rate })
}

fn live(x: &[f64]) -> usize {
    x.iter().filter(|x| **x > 0.0).count()
}

/// The maximum number of rounds if each visits `n_visits` elements.
fn most_rounds(n_visits: usize) -> usize {
    (MOST_VISITS / n_visits.max(1)).max(LEAST_ROUNDS)
}

impl Convergence {
    /// The number of rounds that were run.
    pub fn rounds(&self) -> usize {
        (self.deviations.len() - 1) / self.n_passes
    }

    /// The deviation of the worse side after `rounds` rounds, or that of the matrix itself for 0; `None` if fewer were
    /// run.
    pub fn after(&self, rounds: usize) -> Option<f64> {
        let [rows, columns] = *self.deviations.get(rounds * self.n_passes)?;
        Some(rows.max(columns).into())
    }

    /// The number of rounds after which rows and columns are within `threshold` of balance; `None` if too few were run.
    pub fn rounds_to(&self, threshold: f64) -> Option<usize> {
        (0..=self.rounds()).find(|&rounds| self.after(rounds).is_some_and(|deviation| deviation <= threshold))
    }

    /// The fraction of the deviation that round `round`, counted from 1, left; `None` if either deviation is 0 or
    /// rounding.
    pub fn factor(&self, round: usize) -> Option<f64> {
        let [before, after] = [self.after(round.checked_sub(1)?)?, self.after(round)?];
        (before > MEASURABLE && after > MEASURABLE).then(|| after / before)
    }

    /// The number of rounds after which the prediction holds: in every later round the slope of the deviation on a
    /// logarithmic axis, ln of [`Convergence::factor`], is within 10 % of that of [`Convergence::rate`]. `None` if that
    /// never happens, or if no round can be measured.
    ///
    /// Slopes are compared, not factors, because they decide the number of rounds: a factor of 0.90 is close to one of
    /// 0.98, and five times as fast.
    pub fn prediction_from(&self) -> Option<usize> {
        let rate = self.rate?;
        let holds =
            |round: &usize| self.factor(*round).is_none_or(|factor| (factor.ln() / rate.ln() - 1.0).abs() <= HOLDS);
        let last = (1..=self.rounds()).rev().find(|round| self.factor(*round).is_some())?;
        (1..=last).rev().take_while(holds).last().map(|round| round - 1)
    }

    /// The predicted number of further rounds to come within `threshold` after `after` rounds. `None` without a rate,
    /// for a rate of 1, and if fewer rounds were run.
    ///
    /// Before [`Convergence::prediction_from`] that is usually too many: most of the deviation then lies along
    /// directions that vanish faster.
    pub fn more_rounds(&self, after: usize, threshold: f64) -> Option<usize> {
        let (rate, deviation) = (self.rate?, self.after(after)?);
        if deviation <= threshold {
            return Some(0);
        }
        let rounds = ((threshold / deviation).ln() / rate.ln()).max(1.0).ceil();
        (rate < 1.0 && rounds.is_finite()).then_some(rounds as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::super::rate_map::synthetic;
    use super::super::{Quantities, limit::dot};
    use super::*;
    use crate::reference::passes::{column, column_norms, row, row_norms};
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::SeedableRng;
    use rand_distr::{Distribution, StandardNormal};

    fn list(words: &str) -> Vec<Pass> {
        Pass::parse_list(&[words.into()]).unwrap()
    }

    fn converge_for(x: &[f32], shape: [usize; 2], words: &str, rounds: usize) -> Convergence {
        let balance = Balance::of(x, shape);
        converge(x, shape, &list(words), rounds, balance.as_ref()).unwrap()
    }

    fn normal(len: usize, seed: u64) -> Vec<f32> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        (0..len).map(|_| StandardNormal.sample(&mut rng)).collect()
    }

    /// Two blocks with little between them.
    fn near_block(m: usize, n: usize) -> Vec<f32> {
        let inside = |at: usize| (at / n < m / 2) == (at % n < n / 2);
        synthetic([m, n], 2.5, 1).iter().enumerate().map(|(at, x)| if inside(at) { *x } else { 0.1 * x }).collect()
    }

    /// The factor that the iteration from x itself converges to, in f64.
    ///
    /// Rounding ends the plain iteration before only its slowest part is left. So this one runs on the logarithms of
    /// the scalings that rows and columns still need, which keep all their digits however small they are. It is the
    /// same iteration, and its first rounds are compared with those of [`converge`].
    fn own_rate(name: &str, x: &[f32], shape @ [m, n]: [usize; 2]) -> f64 {
        let mut limit: Vec<f64> = x.iter().map(|&x| x.into()).collect();
        let mut missing = vec![0.0; n];
        for _ in 0..3000 {
            limit = row(&limit, m, n);
            missing
                .iter_mut()
                .zip(column_norms(&limit, m, n))
                .for_each(|(c, norm)| *c += (norm / (m as f64).sqrt()).ln());
            limit = column(&limit, m, n);
        }
        let [rows, columns] = [row_norms(&limit, m, n), column_norms(&limit, m, n)]
            .map(|norms| (0..norms.len()).filter(|at| norms[*at] > 0.0).collect::<Vec<usize>>());
        let mean = limit.iter().map(|x| x * x).sum::<f64>() / (rows.len() * columns.len()) as f64;
        let p = |i: &usize, j: &usize| limit[i * n + j].powi(2) / mean;
        let by_rows: Vec<Vec<f64>> = rows.iter().map(|i| columns.iter().map(|j| p(i, j)).collect()).collect();
        let by_columns: Vec<Vec<f64>> = columns.iter().map(|j| rows.iter().map(|i| p(i, j)).collect()).collect();
        // ln(length) of the lines of √P after the lines that cross them were scaled by exp(scaling).
        let lengths = |lines: &[Vec<f64>], scaling: &[f64]| -> Vec<f64> {
            let grown: Vec<f64> = scaling.iter().map(|x| (2.0 * x).exp_m1()).collect();
            lines.iter().map(|line| (dot(line, &grown) / line.len() as f64).ln_1p() / 2.0).collect()
        };
        let plain = converge(x, shape, &list("row,column"), 100, None).unwrap();
        let mut of_columns: Vec<f64> = columns.iter().map(|j| missing[*j]).collect();
        let (mut before, mut factor) = (f64::NAN, f64::NAN);
        for round in 1..=20_000 {
            // A constant can move from one to the other without effect.
            let mean = of_columns.iter().sum::<f64>() / of_columns.len() as f64;
            of_columns.iter_mut().for_each(|x| *x -= mean);
            let of_rows: Vec<f64> = lengths(&by_rows, &of_columns).iter().map(|length| -length).collect();
            of_columns = lengths(&by_columns, &of_rows).iter().map(|length| -length).collect();
            let squares =
                lengths(&by_rows, &of_columns).into_iter().zip(&of_rows).map(|(x, y)| (x + y).exp_m1().powi(2));
            let deviation = (squares.sum::<f64>() / rows.len() as f64).sqrt();
            if let Some(plain) = plain.after(round).filter(|plain| *plain > 1e-8) {
                assert!((deviation / plain - 1.0).abs() < 1e-4, "{name}, round {round}: {deviation}, not {plain}");
            }
            let last = std::mem::replace(&mut factor, deviation / before);
            before = deviation;
            if deviation < 1e-140 || (factor - last).abs() < 1e-9 * factor {
                break;
            }
        }
        factor
    }

    #[test]
    fn the_rate_is_the_iterations_own() {
        let with_zeros = |mut x: Vec<f32>, [m, n]: [usize; 2]| {
            x[3 * n..4 * n].fill(0.0);
            (0..m).for_each(|i| x[i * n + 7] = 0.0);
            x
        };
        let skewed = |x: Vec<f32>, n: usize| -> Vec<f32> {
            x.iter().enumerate().map(|(at, x)| x * 1.3f32.powi((at / n) as i32 % 40 - at as i32 % 9)).collect()
        };
        let cases = [
            ("normal", [64, 64], normal(64 * 64, 1)),
            ("normal", [33, 70], normal(33 * 70, 2)),
            ("normal, zeros", [50, 31], with_zeros(normal(50 * 31, 3), [50, 31])),
            ("skewed", [45, 64], skewed(normal(45 * 64, 4), 64)),
            ("heavy", [64, 64], synthetic([64, 64], 30.0, 5)),
            ("heavy", [16, 100], synthetic([16, 100], 300.0, 6)),
            ("very heavy", [40, 60], synthetic([40, 60], 1e5, 7)),
            ("near-block", [40, 40], near_block(40, 40)),
            ("near-block", [24, 60], near_block(24, 60)),
            ("2×3", [2, 3], vec![3.0, -1.0, 0.5, 0.1, 0.2, -4.0]),
            (
                "blocks",
                [4, 6],
                (0..24).map(|at| if (at / 6 < 2) == (at % 6 < 3) { at as f32 + 1.0 } else { 0.0 }).collect(),
            ),
        ];
        for (name, shape, x) in cases {
            let (rate, own) = (Balance::of(&x, shape).unwrap().rate, own_rate(name, &x, shape));
            assert!((rate / own - 1.0).abs() < 0.01, "{name} {shape:?}: {rate}, not {own}");
        }
    }

    #[test]
    fn deviations_are_those_of_the_passes() {
        for (shape @ [m, n], words) in
            [([7, 12], "row,column"), ([12, 7], "column,row"), ([9, 9], "row,row,column"), ([5, 8], "row")]
        {
            let mut x = synthetic(shape, 20.0, 3);
            x[2 * n..3 * n].fill(0.0);
            let told = converge_for(&x, shape, words, 5);
            let mut wide: Vec<f64> = x.iter().map(|&x| x.into()).collect();
            let spreads = |x: &[f64]| {
                let squares = |norms: Vec<f64>| -> Vec<f64> { norms.iter().map(|norm| norm * norm).collect() };
                [spread(&squares(row_norms(x, m, n))), spread(&squares(column_norms(x, m, n)))]
            };
            let near = |at: usize, got: [f32; 2], want: [f64; 2]| {
                for (got, want) in got.into_iter().zip(want) {
                    assert!((f64::from(got) - want).abs() < 1e-6 * want + 1e-14, "{words}, {at}: {got}, not {want}");
                }
            };
            near(0, told.deviations[0], spreads(&wide));
            let of_x = Quantities::of(&x, shape, None, &x);
            near(0, told.deviations[0], [of_x.row_spread(), of_x.column_spread()]);
            assert_eq!(told.deviations.len(), 1 + 5 * told.n_passes);
            for (at, pass) in list(words).iter().cycle().enumerate().take(5 * told.n_passes) {
                wide = if *pass == Pass::Row { row(&wide, m, n) } else { column(&wide, m, n) };
                near(at + 1, told.deviations[at + 1], spreads(&wide));
            }
        }
    }

    #[test]
    fn zero_rows_and_columns_do_not_end_a_one_sided_list() {
        let shape @ [m, n] = [7, 9];
        let mut x = synthetic(shape, 8.0, 4);
        x[2 * n..3 * n].fill(0.0);
        (0..m).for_each(|i| x[i * n + 5] = 0.0);
        for (words, exact) in [("row", 0), ("column", 1)] {
            let told = converge_for(&x, shape, words, 5);
            assert_eq!(told.rounds(), 5, "{words}");
            for of in &told.deviations[1..] {
                assert!(of[exact] < 1e-7 && of[1 - exact] > 0.01, "{words}: {of:?}");
            }
        }
    }

    #[test]
    fn passes_that_scale_the_whole_change_nothing() {
        let x = synthetic([9, 14], 8.0, 2);
        let plain = converge_for(&x, [9, 14], "row,column", 30);
        let told = converge_for(&x, [9, 14], "row,frobenius,column,max", 30);
        assert_eq!((told.rate, told.n_passes, told.rounds()), (plain.rate, 4, plain.rounds()));
        assert!(told.rate.is_some());
        for round in 0..=plain.rounds() {
            assert_eq!(told.after(round), plain.after(round));
        }
        assert_eq!(told.deviations[1], told.deviations[2]);
        for words in ["sign", "row,column,sign", "standardize,row"] {
            assert_eq!(converge(&x, [9, 14], &list(words), 5, None), None, "{words}");
        }
        assert_eq!(converge(&[1.0, f32::NAN], [1, 2], &list("row"), 5, None), None);
    }

    #[test]
    fn rounds_are_told_ahead_and_as_they_were() {
        let shape = [24, 60];
        let x = near_block(24, 60);
        let told = converge_for(&x, shape, "row,column", 1000);
        let last = told.rounds();
        assert!(last < 1000 && told.after(last).unwrap() < BALANCED && told.after(last + 1).is_none());
        let factor = told.factor(last - 1).unwrap();
        assert!((factor / told.rate.unwrap() - 1.0).abs() < 0.01, "{factor}, not {:?}", told.rate);
        assert_eq!(told.factor(0), None);

        let from = told.prediction_from().unwrap();
        let slope = |round: usize| told.factor(round).unwrap().ln() / told.rate.unwrap().ln();
        assert!(from > 0 && (slope(from) - 1.0).abs() > HOLDS, "{from} could be earlier");
        assert!((from + 1..last).all(|round| (slope(round) - 1.0).abs() <= HOLDS), "{from} is too early");
        for threshold in [1e-2, 1e-4, 1e-8] {
            let rounds = told.rounds_to(threshold).unwrap();
            assert!(told.after(rounds).unwrap() <= threshold && told.after(rounds - 1).unwrap() > threshold);
            for after in from..rounds {
                let (more, want) = (told.more_rounds(after, threshold).unwrap(), rounds - after);
                let within = (HOLDS * want as f64).ceil() as usize;
                assert!(more.abs_diff(want) <= within, "after {after}: {more}, not {want} for {threshold}");
            }
            assert_eq!(told.more_rounds(rounds, threshold), Some(0));
        }
        assert_eq!(told.rounds_to(0.0), None);
        assert_eq!(told.more_rounds(last + 1, 0.01), None, "never made");
        let json = serde_json::to_string(&told).unwrap();
        assert_eq!(serde_json::from_str::<Convergence>(&json).unwrap(), told);
    }

    #[test]
    fn what_never_ends_and_what_ends_at_once() {
        // A 3×2 block of zeros in 4×4: no support.
        let mut x = [1.0; 16];
        [0, 1, 4, 5, 8, 9].into_iter().for_each(|at| x[at] = 0.0);
        let told = converge_for(&x, [4, 4], "row,column", 100);
        assert_eq!((told.rounds(), told.rate, told.rounds_to(0.1), told.prediction_from()), (100, None, None, None));
        assert!(told.after(100).unwrap() > 0.1 && told.more_rounds(100, 0.1).is_none());
        // One row has what a thousand columns should: scalings go out of range within about a hundred rounds.
        let n = 1000;
        let thin: Vec<f32> = (0..n * n).map(|at| if at / n == 0 || at % n == 0 { 1.0 } else { 0.0 }).collect();
        let told = converge_for(&thin, [n, n], "row,column", 400);
        assert!((20..400).contains(&told.rounds()) && told.rounds_to(0.1).is_none(), "{}", told.rounds());
        assert!(told.deviations.as_flattened().iter().all(|deviation| deviation.is_finite()), "{}", told.rounds());
        // Triangular: the error falls like 1/k, which no rate describes.
        let triangle: Vec<f32> = (0..36).map(|at| if at % 6 >= at / 6 { 1.0 } else { 0.0 }).collect();
        let told = converge_for(&triangle, [6, 6], "row,column", 100);
        assert!(told.rate.unwrap() > 0.99 && told.prediction_from().is_none(), "{:?}", told.rate);
        // Rank one, and zero.
        let told = converge_for(&[1.0, 2.0, 3.0, 6.0], [2, 2], "row,column", 100);
        assert_eq!((told.rounds(), told.rounds_to(1e-6), told.more_rounds(0, 1e-3)), (1, Some(1), Some(1)));
        let told = converge_for(&[0.0; 6], [2, 3], "row,column", 100);
        assert_eq!((told.rounds(), told.rounds_to(0.0)), (1, Some(0)));
    }

    #[test]
    fn the_rounds_of_a_large_matrix_are_bounded() {
        assert_eq!(most_rounds(2 * 64 * 64), 122_070);
        assert_eq!(most_rounds(2 * 2048 * 5461), 44);
        assert_eq!([most_rounds(usize::MAX), most_rounds(0)], [LEAST_ROUNDS, MOST_VISITS]);
    }
}
