//! Why an adapter cannot run a record.

use super::ledger::bytes_in_words;
use crate::Error;

/// The first part of a record that the adapter cannot run, regardless of free memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A kernel does not support what it is used for; the reason in words.
    Kernel(String),
    /// A buffer of `bytes` exceeds the adapter's maximum.
    Buffer {
        /// The buffer's label.
        label: String,
        /// Bytes of the buffer.
        bytes: u64,
        /// Bytes of the adapter's largest possible buffer.
        largest: u64,
    },
    /// A tensor of `bytes` exceeds the adapter's largest binding.
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
    /// The reason in a few words, for a table row.
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

    /// The same as an error, with a remedy.
    pub(super) fn into_error(self) -> Error {
        Error::TooLarge(match self {
            Self::Kernel(why) => why,
            Self::Buffer { label, bytes, largest } => format!(
                "{label} needs a buffer of {bytes} bytes, but the adapter's largest is {largest}: choose a smaller model, \
                 micro-batch or sequence length"
            ),
            Self::Binding { tensor, shape, bytes, largest } => format!(
                "{tensor} of shape {shape:?} needs {bytes} bytes in one binding, but the adapter's largest is {largest}: \
                 choose a smaller model, micro-batch or sequence length"
            ),
        })
    }
}
