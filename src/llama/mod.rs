//! LLaMA as Hugging Face defines it: its parameters, and its blocks, each with its forward and backward pass in one
//! file.

mod adapter;
mod attention;
mod blocks;
mod decode;
mod embedding;
mod feed_forward;
mod gradients;
mod head;
mod initial;
mod inputs;
mod linear;
mod micro_batch;
mod parameters;
mod rms_norm;
mod units;

pub use decode::{Decoder, record_decode};
pub use gradients::OnGradient;
pub use head::Loss;
pub use initial::initial_values;
pub use inputs::BatchInputs;
pub use micro_batch::{record_loss, record_loss_of_units, record_micro_step};
pub use parameters::{Gradients, Llama, Parameter, ParameterGroup};
pub use units::{PerLayer, UnitKind, Units};
