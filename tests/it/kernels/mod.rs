//! Every kernel and its gradient against the f64 reference, under WebGPU's default limits, in both forms.
//!
//! Upstream gradients are random: they are the weights of a weighted-sum loss, in which errors of rows cannot cancel.
//! Tolerances are relative to the root mean square of the wanted values, and several times the worst that the software
//! adapter was seen to do, since WGSL lets other adapters round more; `--nocapture` prints what each case measures.

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
mod racs;
mod random;
mod rms_norm;
mod rope;
pub mod scaled;
pub mod sgd;
mod subspace;
mod swiglu;
mod zeroth_order;
