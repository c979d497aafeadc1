//! The specification: every operation of this crate on plain slices, in f64, using only the standard library.
//!
//! A kernel is correct if it agrees with the function of the same name here, so this module is written to be read next
//! to the papers: one file per operation, forward next to backward, and no optimization that hides a formula. Nothing
//! here depends on a GPU or on other modules of the crate. Every backward pass is checked against central differences
//! of its forward pass, and the gradients of the whole LLaMA against those of its loss.
//!
//! Matrices are row-major slices. The letters have the same meaning throughout:
//!
//! | letter | meaning |
//! |---|---|
//! | B, T, N | batch, sequence, tokens (N = B·T; token row n has position n mod T) |
//! | C, F, V | hidden size, intermediate size, vocabulary |
//! | H, KV, D | query heads, key-value heads, head dimension |
//! | m×n | a weight or its gradient; rows are output units, as in Hugging Face's `Linear` |
//!
//! A slice whose length contradicts its sizes is a bug in the caller: it panics with both.
//!
//! ```
//! use multinorm::reference::rms_norm;
//!
//! let y = rms_norm::forward(&[3.0, 4.0], &[1.0, 2.0], 1, 2, 0.0);
//! assert!((y[0] - 3.0 / 12.5f64.sqrt()).abs() < 1e-15 && (y[1] - 8.0 / 12.5f64.sqrt()).abs() < 1e-15);
//! ```

pub mod adafactor;
pub mod adam_nonzero;
pub mod adamw;
pub mod adapter;
pub mod apollo;
pub mod attention;
pub mod bias;
pub mod columns;
pub mod cross_entropy;
pub mod embedding;
pub mod extrapolated_sgd;
pub mod galore;
pub mod gram_schmidt;
pub mod h_fac;
pub mod lion;
pub mod llama;
pub mod loss_scale;
pub mod matmul;
pub mod momentum;
pub mod newton_schulz;
pub mod norm;
pub mod passes;
pub mod prune;
pub mod racs;
pub mod random;
pub mod rms_norm;
pub mod rope;
pub mod schedule;
pub mod sgd;
pub mod sinkgd;
pub mod subzero;
pub mod swiglu;
pub mod zeroth_order;

#[cfg(test)]
mod testing;
