//! A tensor is a handle: a type, a shape and an index into the recorder's list; it owns no memory.

use std::ops::Range;

use super::dtype::DType;

/// A row-major array, or a range of its rows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Tensor {
    /// Index in the recorder's list.
    pub(super) id: usize,
    /// First element of this view.
    pub(super) offset: usize,
    /// Element type.
    pub dtype: DType,
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

    /// Bytes of the elements.
    pub fn bytes(&self) -> u64 {
        self.len() as u64 * self.dtype.size()
    }

    /// Bytes of the elements, rounded up to whole words: WebGPU binds, copies and clears only those.
    pub(super) fn words_bytes(&self) -> u64 {
        self.bytes().next_multiple_of(4)
    }

    /// Bytes before the first element in the backing memory.
    pub(super) fn offset_bytes(&self) -> u64 {
        self.offset as u64 * self.dtype.size()
    }

    /// The rows `range` of the first dimension, in the same memory.
    ///
    /// Panics if the range is out of bounds.
    pub fn rows(&self, range: Range<usize>) -> Self {
        assert!(range.start < range.end && range.end <= self.shape[0], "rows {range:?} of a tensor {:?}", self.shape);
        let row_len: usize = self.shape[1..].iter().product();
        let mut shape = self.shape.clone();
        shape[0] = range.len();
        Self { offset: self.offset + range.start * row_len, shape, ..*self }
    }

    /// The same elements with another shape.
    ///
    /// Panics if the number of elements differs.
    pub fn reshaped(&self, shape: &[usize]) -> Self {
        assert_eq!(self.len(), shape.iter().product::<usize>(), "{:?} reshaped to {shape:?}", self.shape);
        Self { shape: shape.to_vec(), ..*self }
    }
}
