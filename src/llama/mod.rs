//! LLaMA as Hugging Face defines it: its parameters, and what it records forward and backward.

mod adapter;
mod backward;
mod decode;
mod forward;
mod head;
mod initial;
mod parameters;

pub use backward::{OnGradient, record_micro_step};
pub use decode::{Decoder, record_decode};
pub use forward::{BatchInputs, record_loss};
pub use initial::initial_values;
pub use parameters::{Gradients, Llama, Parameter, ParameterGroup};
