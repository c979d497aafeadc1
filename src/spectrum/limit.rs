//! X⊙X with every row and every column brought to the same sum: the limit of row and column passes.
//!
//! After each pass X⊙X is exactly the Sinkhorn–Knopp iterate of G⊙G. So from any X on the way the limit is
//! D₁·(X⊙X)·D₂, with positive diagonal D₁ and D₂ (Sinkhorn & Knopp 1967).

/// The row deviation at which the iteration ends.
pub(super) const CONVERGED: f64 = 1e-12;
/// If the iteration is cut short, a smaller row deviation than this still counts as a limit.
const NEAR: f64 = 1e-3;
/// At most this many iterations: a matrix with support but not total support approaches its limit like 1/k.
const MOST_ITERATIONS: usize = 10_000;
/// At most this many elements are visited, for large matrices: a few seconds.
const MOST_VISITS: usize = 2_000_000_000;

/// X⊙X in f64, m×n row after row.
pub(super) struct Squares {
    values: Vec<f64>,
    n: usize,
}

impl Squares {
    /// The squares of x `[m, n]`; `None` if there is a NaN or an infinity.
    ///
    /// # Panics
    /// If the matrix is empty, or the length is not m·n.
    pub fn of(x: &[f32], [m, n]: [usize; 2]) -> Option<Self> {
        assert!(!x.is_empty() && x.len() == m * n, "{} elements of {m}×{n}", x.len());
        x.iter().all(|x| x.is_finite()).then(|| Self { values: x.iter().map(|&x| f64::from(x).powi(2)).collect(), n })
    }

    /// (X⊙X)·x.
    pub fn times(&self, x: &[f64]) -> Vec<f64> {
        self.values.chunks_exact(self.n).map(|row| dot(row, x)).collect()
    }

    /// (X⊙X)ᵀ·y.
    pub fn transposed_times(&self, y: &[f64]) -> Vec<f64> {
        let mut sums = vec![0.0; self.n];
        for (row, y) in self.values.chunks_exact(self.n).zip(y) {
            sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += y * x);
        }
        sums
    }
}

/// target/sum for every sum, and 0 for a sum of 0: the scaling of a zero row or column.
pub(super) fn scalings(target: f64, sums: &[f64]) -> Vec<f64> {
    sums.iter().map(|&sum| if sum > 0.0 { target / sum } else { 0.0 }).collect()
}

/// P = diag(u)·(X⊙X)·diag(v), whose rows sum to n′ and whose columns sum to m′, over the m′ rows and n′ columns that
/// are not zero. u and v are 0 at the others.
pub(super) struct Limit {
    squares: Squares,
    /// `[m]`.
    u: Vec<f64>,
    /// `[n]`.
    v: Vec<f64>,
    /// [m′, n′].
    n_live: [usize; 2],
}

/// Rows and columns that nonzero entries connect to one another, and to no others.
pub(super) struct Part {
    pub rows: Vec<usize>,
    pub columns: Vec<usize>,
}

impl Limit {
    /// The limit from x `[m, n]`, up to a row deviation of `converged`. `None` for a zero matrix, for one with a NaN or
    /// an infinity, and if a block of zeros is too large for a limit to exist.
    ///
    /// # Panics
    /// See [`Squares::of`].
    pub fn within(converged: f64, x: &[f32], shape @ [m, n]: [usize; 2]) -> Option<Self> {
        let squares = Squares::of(x, shape)?;
        let [ones, mut v] = [m, n].map(|len| vec![1.0; len]);
        let live = |sums: &[f64]| sums.iter().filter(|sum| **sum > 0.0).count();
        let mut sums = squares.times(&v);
        let n_live = [live(&sums), live(&squares.transposed_times(&ones))];
        if n_live[0] == 0 {
            return None;
        }
        let [n_rows, n_columns] = n_live.map(|count| count as f64);
        let (mut u, mut deviation) = (ones, f64::INFINITY);
        for _ in 0..MOST_ITERATIONS.min((MOST_VISITS / x.len()).max(100)) {
            u = scalings(n_columns, &sums);
            v = scalings(n_rows, &squares.transposed_times(&u));
            if [live(&u), live(&v)] != n_live {
                return None; // without a limit the scalings eventually leave the range of f64
            }
            sums = squares.times(&v);
            deviation = row_deviation(&u, &sums, n_columns);
            if deviation < converged {
                break;
            }
        }
        (deviation < NEAR).then_some(Self { squares, u, v, n_live })
    }

    /// [m′, n′]: the rows and the columns that are not zero.
    pub fn n_live(&self) -> [usize; 2] {
        self.n_live
    }

    /// P, row after row.
    pub fn entries(&self) -> impl Iterator<Item = f64> {
        let rows = self.squares.values.chunks_exact(self.v.len()).zip(&self.u);
        rows.flat_map(|(row, u)| row.iter().zip(&self.v).map(move |(x, v)| u * x * v))
    }

    /// The mean of p² over the m′·n′ entries in nonzero rows and columns; the mean of p is 1 there.
    pub fn heaviness(&self) -> f64 {
        let [n_rows, n_columns] = self.n_live;
        self.entries().map(|p| p * p).sum::<f64>() / (n_rows * n_columns) as f64
    }

    /// P·x.
    pub fn times(&self, x: &[f64]) -> Vec<f64> {
        product(&self.u, &self.squares.times(&product(&self.v, x)))
    }

    /// Pᵀ·y.
    pub fn transposed_times(&self, y: &[f64]) -> Vec<f64> {
        product(&self.v, &self.squares.transposed_times(&product(&self.u, y)))
    }

    /// Partitions the nonzero rows and columns into parts connected through nonzero entries.
    ///
    /// O(m + n) for a matrix without zeros, O(m·n) at most.
    pub fn parts(&self) -> Vec<Part> {
        let n = self.v.len();
        let live = |scaling: &[f64]| -> Vec<usize> { (0..scaling.len()).filter(|&at| scaling[at] > 0.0).collect() };
        let (mut rows_left, mut columns_left) = (live(&self.u), live(&self.v));
        let mut parts = Vec::new();
        while let Some(row) = rows_left.pop() {
            let mut part = Part { rows: vec![row], columns: vec![] };
            let (mut rows_seen, mut columns_seen) = (0, 0);
            loop {
                if let Some(&i) = part.rows.get(rows_seen) {
                    rows_seen += 1;
                    part.columns.extend(columns_left.extract_if(.., |j| self.squares.values[i * n + *j] > 0.0));
                } else if let Some(&j) = part.columns.get(columns_seen) {
                    columns_seen += 1;
                    part.rows.extend(rows_left.extract_if(.., |i| self.squares.values[*i * n + j] > 0.0));
                } else {
                    break;
                }
            }
            parts.push(part);
        }
        parts
    }
}

/// The largest |‖row‖/√target − 1| of √P; the rows of P sum to u ∘ `sums`.
fn row_deviation(u: &[f64], sums: &[f64], target: f64) -> f64 {
    let live = sums.iter().zip(u).filter(|(sum, _)| **sum != 0.0);
    let deviations = live.map(|(sum, u)| ((u * sum / target).sqrt() - 1.0).abs());
    // A NaN comes from scalings out of range, where there is no limit: it counts as the largest deviation.
    deviations.fold(0.0, |largest, deviation| if deviation <= largest { largest } else { deviation })
}

/// Keeps eight sums at a time, or every addition would wait for the one before it.
pub(super) fn dot(x: &[f64], y: &[f64]) -> f64 {
    let mut sums = [0.0; 8];
    let (x_chunks, x_rest) = x.as_chunks::<8>();
    let (y_chunks, y_rest) = y.as_chunks::<8>();
    for (x, y) in x_chunks.iter().zip(y_chunks) {
        sums.iter_mut().zip(x.iter().zip(y)).for_each(|(sum, (x, y))| *sum += x * y);
    }
    sums.iter().sum::<f64>() + x_rest.iter().zip(y_rest).map(|(x, y)| x * y).sum::<f64>()
}

/// x ∘ y.
pub(super) fn product(x: &[f64], y: &[f64]) -> Vec<f64> {
    x.iter().zip(y).map(|(x, y)| x * y).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(x: &[f32], shape: [usize; 2]) -> Option<Limit> {
        Limit::within(CONVERGED, x, shape)
    }

    #[test]
    fn where_there_is_no_limit_there_is_none() {
        assert!(limit(&[0.0; 6], [2, 3]).is_none());
        assert!(limit(&[1.0, f32::NAN, 1.0, 1.0], [2, 2]).is_none());
        assert!(limit(&[1.0, f32::INFINITY, 1.0, 1.0], [2, 2]).is_none());
        // A 3×2 block of zeros in 4×4: too large to have support.
        let mut x = [1.0; 16];
        [0, 1, 4, 5, 8, 9].into_iter().for_each(|at| x[at] = 0.0);
        assert!(limit(&x, [4, 4]).is_none());
        // Parts of 1×2 and 2×1 in 3×3: one row cannot hold the squares of two columns.
        assert!(limit(&[1.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 1.0], [3, 3]).is_none());
    }

    #[test]
    fn rows_and_columns_of_the_limit_have_their_sums() {
        let [m, n] = [4, 6];
        let mut x: Vec<f32> = (0..m * n).map(|at| 10f32.powi(at as i32 % 7 - 3)).collect();
        x[n..2 * n].fill(0.0);
        (0..m).for_each(|i| x[i * n + 4] = 0.0);
        let limit = limit(&x, [m, n]).unwrap();
        assert_eq!(limit.n_live(), [3, 5]);
        let p: Vec<f64> = limit.entries().collect();
        for i in 0..m {
            let sum: f64 = p[i * n..][..n].iter().sum();
            assert!((sum - if i == 1 { 0.0 } else { 5.0 }).abs() < 1e-10, "row {i}: {sum}");
        }
        for j in 0..n {
            let sum: f64 = (0..m).map(|i| p[i * n + j]).sum();
            assert!((sum - if j == 4 { 0.0 } else { 3.0 }).abs() < 1e-10, "column {j}: {sum}");
        }
        let heaviness = p.iter().map(|p| p * p).sum::<f64>() / 15.0;
        assert!((limit.heaviness() - heaviness).abs() < 1e-12, "{}, not {heaviness}", limit.heaviness());
    }

    #[test]
    fn parts_share_no_row_and_no_column() {
        // Rows 0 and 3 with columns 1 and 2; row 1 with column 0; row 2 is zero, and so is column 3.
        #[rustfmt::skip]
        let x = [
            0.0, 1.0, 2.0, 0.0,
            3.0, 0.0, 0.0, 0.0,
            0.0, 0.0, 0.0, 0.0,
            0.0, 0.0, 1.0, 0.0,
        ];
        let squares = Squares::of(&x, [4, 4]).unwrap();
        let [u, v] = [vec![1.0, 1.0, 0.0, 1.0], vec![1.0, 1.0, 1.0, 0.0]];
        let mut parts = Limit { squares, u, v, n_live: [3, 3] }.parts();
        parts.iter_mut().for_each(|part| part.rows.sort());
        parts.iter_mut().for_each(|part| part.columns.sort());
        let parts: Vec<_> = parts.iter().map(|part| (&part.rows[..], &part.columns[..])).collect();
        assert_eq!(parts, [(&[0, 3][..], &[1, 2][..]), (&[1], &[0])]);
    }
}
