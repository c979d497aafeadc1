//! Adapters around the feed-forward projections, where the model has them.

use super::parameters::{Llama, Parameter};
use crate::gpu::{Class, DType, Recorder, Tensor};
use crate::kernels::adapter::{adapter_residual, bias_relu, tensor_train};
use crate::settings::{AdapterConfig, TensorTrain};

/// The projection of an MLP that an adapter stands at, in the order of [`AdapterConfig::PLACES`].
#[derive(Clone, Copy)]
pub(super) enum Place {
    BeforeGate,
    BeforeUp,
    AfterDown,
}

/// What the adapter of this layer and place makes of x `[N, C]`; x itself where there is none.
pub(super) fn adapted(rec: &mut Recorder, llama: &Llama, layer: usize, place: Place, x: &Tensor) -> Tensor {
    let Some(config) = llama.config.adapter else { return x.clone() };
    let index = layer * AdapterConfig::PLACES.len() + place as usize;
    let (down, up) = llama.adapter(index).split_at(TensorTrain::CORES + 1);
    let narrow = linear(rec, x, down);
    bias_relu(rec, &narrow, bias(down));
    let wide = linear(rec, &narrow, up);
    let y = rec.transient(Class::Activations, DType::F32, "adapted", &x.shape);
    adapter_residual(rec, [x, &wide], bias(up), &y, config.scale);
    y
}

/// Without the bias, which is the last parameter.
fn linear(rec: &mut Recorder, x: &Tensor, layer: &[Parameter]) -> Tensor {
    let cores: Vec<&Tensor> = layer[..TensorTrain::CORES].iter().map(|core| &core.weight).collect();
    tensor_train(rec, x, &cores)
}

fn bias(layer: &[Parameter]) -> &Tensor {
    &layer[TensorTrain::CORES].weight
}
