//! Why an adapter cannot run what was recorded.

use super::ledger::bytes_in_words;
use crate::Error;

/// The first thing in a record that an adapter refuses, whatever memory it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A kernel cannot do what it is asked to; the reason in words.
    Kernel(String),
    /// A buffer of `bytes` is larger than the adapter's largest.
    Buffer {
        /// The buffer's label.
        label: String,
        /// Bytes of the buffer.
        bytes: u64,
        /// Bytes of the adapter's largest buffer.
        largest: u64,
    },
    /// A tensor of `bytes` is larger than what the adapter lets a kernel bind.
    Binding {
        /// The tensor's name.
        tensor: String,
        /// Its shape.
        shape: Vec<usize>,
        /// Bytes of the tensor.
        bytes: u64,
        /// Bytes of the adapter's largest binding.
        largest: u64,
    },
}

impl Refusal {
    /// The reason in a few words, for a line of a table.
    pub fn in_words(&self) -> String {
        match self {
            Self::Kernel(why) => why.clone(),
            Self::Buffer { label, largest, .. } => {
                format!("buffers of {} are too small for {label}", bytes_in_words(*largest))
            }
            Self::Binding { tensor, largest, .. } => {
                format!("bindings of {} are too small for {tensor}", bytes_in_words(*largest))
            }
        }
    }

    /// The same as an error, with what to do about it.
    pub(super) fn into_error(self) -> Error {
        Error::TooLarge(match self {
            Self::Kernel(why) => why,
            Self::Buffer { label, bytes, largest } => format!(
                "{label} needs a buffer of {bytes} bytes, the adapter's largest is {largest}: choose a smaller model, \
                 micro-batch or sequence length"
            ),
            Self::Binding { tensor, shape, bytes, largest } => format!(
                "{tensor} of shape {shape:?} needs {bytes} bytes in one binding, the adapter's largest is {largest}: \
                 choose a smaller model, micro-batch or sequence length"
            ),
        })
    }
}
