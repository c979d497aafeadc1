//! Decodes one token with a key-value cache.

use super::attention::Context;
use super::blocks::Blocks;
use super::parameters::Llama;
use crate::gpu::{Class, DType, Recorder, Tensor};
use crate::kernels::attention::Cache;
use crate::kernels::rope::RopeTables;

/// The tensors that the host writes and reads during generation.
pub struct Decoder {
    /// `[1]` the token's id.
    pub id: Tensor,
    /// Rotary tables; `rope.start` is the token's position.
    pub rope: RopeTables,
    /// `[1, V]`.
    pub logits: Tensor,
}

/// Records the decoding of one token: appends to a cache of `positions` tokens and computes the token's logits.
pub fn record_decode(rec: &mut Recorder, llama: &Llama, positions: usize) -> Decoder {
    let config = &llama.config;
    let blocks = Blocks::of(llama, DType::F32);
    let id = rec.persistent(Class::Scratch, DType::U32, "token id", &[1]);
    let rope = RopeTables::new(rec, positions, config.rotary_frequencies());
    let mut cached = |what: &str, layer: usize| {
        let name = format!("cached {what} of layer {layer}");
        let shape = [positions, config.num_key_value_heads * config.head_dim];
        rec.persistent(Class::Activations, DType::F32, name, &shape)
    };
    let caches: Vec<Cache> = (0..config.num_hidden_layers)
        .map(|layer| Cache { k: cached("keys", layer), v: cached("values", layer) })
        .collect();
    let context = |layer: usize| Context { batch: 1, seq: 1, rope: &rope, cache: Some(&caches[layer]) };
    let (normed, _) = blocks.forward(rec, &id, context);
    let logits = rec.persistent(Class::Activations, DType::F32, "logits", &[1, config.vocab_size]);
    blocks.head.weight.forward_to(rec, &normed, &logits);
    Decoder { id, rope, logits }
}
