//! A matrix as input for passes.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::{Distribution, StandardNormal};

use crate::{Error, Result};

/// A nonempty matrix without NaN or infinity, with its name for messages.
#[derive(Clone, Debug, PartialEq)]
pub struct Matrix {
    name: String,
    shape: [usize; 2],
    values: Vec<f32>,
}

impl Matrix {
    /// A matrix of `values` in row-major order; a vector `[n]` is a matrix of one row.
    ///
    /// Errors: there are more than two dimensions or none, the matrix is empty, or an element is not finite.
    ///
    /// # Panics
    /// If the shape does not match the number of values.
    pub fn new(name: impl Into<String>, shape: &[usize], values: Vec<f32>) -> Result<Self> {
        let name = name.into();
        assert_eq!(shape.iter().product::<usize>(), values.len(), "{name}: values of shape {shape:?}");
        let shape @ [m, n] = match *shape {
            [n] => [1, n],
            [m, n] => [m, n],
            _ => {
                let message = format!("{name} has shape {shape:?}; passes need a matrix [rows, columns], or one row");
                return Err(Error::Data(message));
            }
        };
        if values.is_empty() {
            return Err(Error::Data(format!("{name} is empty: {m}×{n}; passes need at least one row and one column")));
        }
        if let Some(at) = values.iter().position(|value| !value.is_finite()) {
            let (value, row, column) = (values[at], at / n, at % n);
            return Err(Error::Data(format!(
                "{name} holds {value} at row {row}, column {column} (counted from 0): passes need numbers that float32 \
                 can hold"
            )));
        }
        Ok(Self { name, shape, values })
    }

    /// The name for messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// [m, n].
    pub fn shape(&self) -> [usize; 2] {
        self.shape
    }

    /// Its elements in row-major order.
    pub fn values(&self) -> &[f32] {
        &self.values
    }
}

/// `len` independent standard normal numbers, reproducible from the seed on every platform.
pub fn gaussian(len: usize, seed: u64) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..len).map(|_| StandardNormal.sample(&mut rng)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vector_is_one_row() {
        assert_eq!(Matrix::new("g", &[3], vec![1.0; 3]).unwrap().shape(), [1, 3]);
        assert_eq!(Matrix::new("g", &[3, 1], vec![1.0; 3]).unwrap().shape(), [3, 1]);
    }

    #[test]
    fn what_passes_cannot_take_is_refused_by_place() {
        let mut values = vec![1.0; 6];
        values[4] = f32::NAN;
        values[5] = f32::INFINITY;
        let told = |shape: &[usize], values: Vec<f32>| Matrix::new("g", shape, values).unwrap_err().to_string();
        assert!(told(&[2, 3], values.clone()).starts_with("g holds NaN at row 1, column 1 (counted from 0)"));
        values[4] = 0.0;
        assert!(told(&[2, 3], values).starts_with("g holds inf at row 1, column 2"));
        assert!(told(&[0, 3], vec![]).starts_with("g is empty: 0×3"));
        assert!(told(&[0], vec![]).starts_with("g is empty: 1×0"));
        assert!(told(&[1, 2, 2], vec![0.0; 4]).contains("shape [1, 2, 2]; passes need a matrix"));
        assert!(told(&[], vec![0.0]).contains("shape []"));
    }
}
