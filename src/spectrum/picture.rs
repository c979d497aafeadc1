//! A balance as one looks at it.

use super::Balance;

/// Rows and columns of a picture at most.
const PICTURE: usize = 96;

impl Balance {
    /// Rows and columns sorted by the second singular vectors, the largest entry first, so that groups of rows that share
    /// their columns stand together; then P in a picture's size ([`Balance::shrink_squares`]).
    ///
    /// Of rank one, which has no such vectors, the order stays.
    pub fn into_picture(mut self) -> Self {
        let [m, n] = self.shape;
        let order = |vector: &[f64], len: usize| {
            let mut order: Vec<usize> = (0..len).collect();
            if !vector.is_empty() {
                order.sort_by(|&one, &other| vector[other].total_cmp(&vector[one]));
            }
            order
        };
        let (rows, columns) = (order(&self.rows, m), order(&self.columns, n));
        self.squares = rows
            .iter()
            .flat_map(|row| columns.iter().map(move |column| row * n + column))
            .map(|at| self.squares[at])
            .collect();
        let sorted = |vector: &[f64], order: &[usize]| -> Vec<f64> {
            if vector.is_empty() { Vec::new() } else { order.iter().map(|&at| vector[at]).collect() }
        };
        (self.rows, self.columns) = (sorted(&self.rows, &rows), sorted(&self.columns, &columns));
        self.shrink_squares(PICTURE);
        self
    }
}

#[cfg(test)]
mod tests {
    use crate::spectrum::Balance;

    #[test]
    fn groups_of_rows_and_columns_stand_together() {
        // Two groups, rows and columns dealt by turns.
        let (m, n) = (6, 8);
        let x: Vec<f32> = (0..m * n).map(|at| if (at / n) % 2 == (at % n) % 2 { 1.0 } else { 0.1 }).collect();
        let picture = Balance::of(&x, [m, n]).unwrap().into_picture();
        assert_eq!(picture.squares_shape, [m, n]);
        assert!(picture.rows.is_sorted_by(|a, b| a >= b) && picture.columns.is_sorted_by(|a, b| a >= b));
        for (at, p) in picture.squares.iter().enumerate() {
            let same = (at / n < m / 2) == (at % n < n / 2);
            assert_eq!(*p > 1.0, same, "{at}: {p}");
        }
    }
}
