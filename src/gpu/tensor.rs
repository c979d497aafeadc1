//! A tensor is a handle: a shape and a place in the recorder's list, not memory.

use std::ops::Range;

/// A row-major array of 32-bit values, or a range of rows of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tensor {
    /// Place in the recorder's list.
    pub(super) id: usize,
    /// First element of this view.
    pub(super) offset: usize,
    /// Extents, outermost first.
    pub shape: Vec<usize>,
}

impl Tensor {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of the elements: every element has 32 bits.
    pub fn bytes(&self) -> u64 {
        self.len() as u64 * 4
    }

    /// The rows `range` of the first dimension, in the same memory.
    ///
    /// Panics if the range is not within the tensor.
    pub fn rows(&self, range: Range<usize>) -> Self {
        assert!(range.start < range.end && range.end <= self.shape[0], "rows {range:?} of a tensor {:?}", self.shape);
        let row_len: usize = self.shape[1..].iter().product();
        let mut shape = self.shape.clone();
        shape[0] = range.len();
        Self { id: self.id, offset: self.offset + range.start * row_len, shape }
    }

    /// The same elements under another shape.
    ///
    /// Panics if the number of elements differs.
    pub fn reshaped(&self, shape: &[usize]) -> Self {
        assert_eq!(self.len(), shape.iter().product::<usize>(), "{:?} reshaped to {shape:?}", self.shape);
        Self { id: self.id, offset: self.offset, shape: shape.to_vec() }
    }
}
