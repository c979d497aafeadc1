//! A balance for display.

use serde::{Deserialize, Serialize};

use super::Balance;

/// Maximum rows and columns of a picture.
const PICTURE: usize = 96;

/// The limit of row and column passes on a matrix X (m×n), reduced to the size of a picture.
///
/// Rows and columns are sorted by the second singular vectors, the largest entry first, so that groups of rows that
/// share their columns are adjacent. A matrix of rank one has no such vectors, and keeps its order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BalancePicture {
    /// See [`Balance::rate`].
    pub rate: f64,
    /// See [`Balance::rows`]; descending.
    pub rows: Vec<f32>,
    /// See [`Balance::columns`]; descending.
    pub columns: Vec<f32>,
    /// Rows and columns of the picture.
    pub squares_shape: [usize; 2],
    /// P as bytes in row-major order: [`BalancePicture::byte`] of its mean over each of `squares_shape` blocks of whole
    /// rows and columns. Transferred separately from the rest.
    #[serde(skip)]
    pub squares: Vec<u8>,
}

impl BalancePicture {
    /// The entry of P that is 255 in a picture; larger ones are cut off. The mean of P is 1.
    pub const LIMIT: f32 = 4.0;

    /// An entry of P as a byte, on a scale of square roots: that is, of |x|.
    pub fn byte(p: f32) -> u8 {
        (255.0 * (p / Self::LIMIT).sqrt()).round() as u8
    }

    /// The entry of P that a byte stands for: the inverse of [`BalancePicture::byte`] up to rounding.
    pub fn entry(byte: u8) -> f32 {
        Self::LIMIT * (f32::from(byte) / 255.0).powi(2)
    }
}

impl From<Balance> for BalancePicture {
    fn from(balance: Balance) -> Self {
        let Balance { shape, squares, rate, rows, columns, .. } = balance;
        let [by_rows, by_columns] = [order(&rows, shape[0]), order(&columns, shape[1])];
        let sorted: Vec<f32> = by_rows
            .iter()
            .flat_map(|row| by_columns.iter().map(move |column| row * shape[1] + column))
            .map(|at| squares[at])
            .collect();
        let (means, squares_shape) = block_means(&sorted, shape, PICTURE);
        let in_order = |mut vector: Vec<f64>| -> Vec<f32> {
            vector.sort_by(|one, other| other.total_cmp(one));
            vector.into_iter().map(|x| x as f32).collect()
        };
        let squares = means.into_iter().map(Self::byte).collect();
        Self { rate, rows: in_order(rows), columns: in_order(columns), squares_shape, squares }
    }
}

/// The indices of `len` entries, the largest first; unchanged for an empty vector.
fn order(vector: &[f64], len: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..len).collect();
    if !vector.is_empty() {
        order.sort_by(|&one, &other| vector[other].total_cmp(&vector[one]));
    }
    order
}

/// The means of x `[m, n]` over equal blocks of whole rows and columns, `most` by `most` blocks at most, and how many
/// there are.
fn block_means(x: &[f32], [m, n]: [usize; 2], most: usize) -> (Vec<f32>, [usize; 2]) {
    let [height, width] = [m, n].map(|len| len.div_ceil(most));
    let blocks = [m.div_ceil(height), n.div_ceil(width)];
    let mut sums = vec![0.0; blocks[0] * blocks[1]];
    for (i, row) in x.chunks_exact(n).enumerate() {
        let line = &mut sums[i / height * blocks[1]..][..blocks[1]];
        line.iter_mut().zip(row.chunks(width)).for_each(|(sum, chunk)| *sum += chunk.iter().sum::<f32>());
    }
    let count = |at: usize, size: usize, len: usize| size.min(len - at * size);
    let entries = |at: usize| count(at / blocks[1], height, m) * count(at % blocks[1], width, n);
    (sums.iter().enumerate().map(|(at, sum)| sum / entries(at) as f32).collect(), blocks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_stands_for_the_entry_that_it_was_made_of() {
        assert!((0..=255).all(|byte| BalancePicture::byte(BalancePicture::entry(byte)) == byte));
        assert_eq!(BalancePicture::byte(9.0), 255, "larger entries are cut off");
    }

    #[test]
    fn groups_of_rows_and_columns_stand_together() {
        // Two groups, rows and columns alternating.
        let (m, n) = (6, 8);
        let x: Vec<f32> = (0..m * n).map(|at| if (at / n) % 2 == (at % n) % 2 { 1.0 } else { 0.1 }).collect();
        let balance = Balance::of(&x, [m, n]).unwrap();
        let picture = BalancePicture::from(balance.clone());
        assert_eq!(picture.squares_shape, [m, n]);
        assert!(picture.rows.is_sorted_by(|a, b| a >= b) && picture.columns.is_sorted_by(|a, b| a >= b));
        for (at, byte) in picture.squares.iter().enumerate() {
            let same = (at / n < m / 2) == (at % n < n / 2);
            let p = balance.squares.iter().copied().filter(|p| (*p > 1.0) == same).fold(0.0, f32::max);
            assert_eq!(*byte, BalancePicture::byte(p), "{at}");
        }
        let json = serde_json::to_string(&picture).unwrap();
        let back: BalancePicture = serde_json::from_str(&json).unwrap();
        assert_eq!(BalancePicture { squares: picture.squares.clone(), ..back }, picture);
    }

    #[test]
    fn a_large_matrix_becomes_a_picture() {
        let shape @ [m, n] = [100, 300];
        let x: Vec<f32> = (0..m * n).map(|at| if (at / n) % 2 == (at % n) % 2 { 1.0 } else { 0.2 }).collect();
        let picture = BalancePicture::from(Balance::of(&x, shape).unwrap());
        assert_eq!((picture.squares_shape, picture.squares.len()), ([50, 75], 50 * 75));
        assert_eq!((picture.rows.len(), picture.columns.len()), (m, n));
    }

    #[test]
    fn bytes_reach_to_four_times_the_mean() {
        assert_eq!([0.0, 0.25, 1.0, 4.0, 90.0].map(BalancePicture::byte), [0, 64, 128, 255, 255]);
    }

    #[test]
    fn blocks_have_the_means_of_their_entries() {
        let x = [1.0, 0.5, 2.0, 3.0, 1.0, 1.0, 0.7, 0.1, 9.0, 2.0, 4.0, 1.0];
        let (means, blocks) = block_means(&x, [4, 3], 2);
        assert_eq!(blocks, [2, 2]);
        for (got, want) in means.iter().zip([5.5 / 4.0, 1.5, 6.8 / 4.0, 5.0]) {
            assert!((got - want).abs() < 1e-6, "{means:?}, not {want}");
        }
        assert_eq!(block_means(&means, blocks, 2), (means.clone(), blocks));
    }
}
