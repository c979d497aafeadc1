//! Every kernel and its gradient against the f64 reference, under WebGPU's default limits, in both forms.
//!
//! Upstream gradients are random: they are the weights of a weighted-sum loss, so that errors of rows cannot cancel.
//! Tolerances are relative to the root mean square of the expected values. They are several times the worst error seen
//! on the software adapter, because WGSL allows other adapters to round more; `--nocapture` prints every measurement.

mod adam_nonzero;
mod adamw;
mod adapter;
mod apollo;
pub mod attention;
mod bench;
mod bias;
mod columns;
mod cross_entropy;
mod effective_lr;
mod embedding;
mod extrapolated_sgd;
mod factored;
mod fill;
mod h_fac;
mod lion;
mod loss_scale;
pub mod matmul;
mod momentum;
pub mod newton_schulz;
mod norms;
mod prune;
mod racs;
mod random;
mod rms_norm;
mod rope;
pub mod scaled;
pub mod sgd;
mod subspace;
mod swiglu;
mod zeroth_order;
