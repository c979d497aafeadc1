//! How numbers travel between the ranks of a run.

use serde::Serialize;

/// The precision of gradients and of differences of weights between ranks; sums are in f64 in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Wire {
    /// Single precision: nothing is lost.
    F32,
    /// Half precision, with a power of two per message that brings its largest number near the top of the range: half
    /// the bytes, and a relative error of 2⁻¹¹ at most for all numbers within a factor of 2⁻²⁹ of the largest.
    F16,
}
