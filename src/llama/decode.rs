//! One token through the model, over a key-value cache.

use super::adapter::{Place, adapted};
use super::forward::linear;
use super::parameters::Llama;
use crate::gpu::{Class, DType, Recorder, Tensor};
use crate::kernels::attention::{Cache, Shape, attention_cached, cache_append};
use crate::kernels::embedding::embedding;
use crate::kernels::rms_norm::{add_rms_norm, rms_norm};
use crate::kernels::rope::{RopeTables, Turn, rope};
use crate::kernels::swiglu::swiglu;

/// What the host writes and reads while generating.
pub struct Decoder {
    /// `[1]` the token's id.
    pub id: Tensor,
    /// Rotary tables; `rope.start` is the token's position.
    pub rope: RopeTables,
    /// `[1, V]`.
    pub logits: Tensor,
}

/// Records one token: its keys and values join the cache, and its logits follow. The cache has room for `positions`.
pub fn record_decode(rec: &mut Recorder, llama: &Llama, positions: usize) -> Decoder {
    let config = &llama.config;
    let (hidden, eps) = (config.hidden_size, config.rms_norm_eps);
    let shape = Shape {
        batch: 1,
        seq: 1,
        heads: config.num_attention_heads,
        kv_heads: config.num_key_value_heads,
        head_dim: config.head_dim,
    };
    let id = rec.persistent(Class::Scratch, DType::U32, "token id", &[1]);
    let rope_tables = RopeTables::new(rec, positions, config.head_dim, config.rope_theta);
    let mut residual = rec.transient(Class::Activations, DType::F32, "residual", &[1, hidden]);
    embedding(rec, &id, &llama.embedding().weight, &residual);
    let mut normed = rec.transient(Class::Activations, DType::F32, "normed", &[1, hidden]);
    rms_norm(rec, &residual, &llama.layer(0).input_norm.weight, &normed, eps);
    for index in 0..config.num_hidden_layers {
        let layer = llama.layer(index);
        let cache = ["keys", "values"].map(|what| {
            let name = format!("cached {what} of layer {index}");
            rec.persistent(Class::Activations, DType::F32, name, &[positions, shape.kv_heads * shape.head_dim])
        });
        let [k_cache, v_cache] = cache;
        let [q, k, v] = [layer.q, layer.k, layer.v].map(|projection| linear(rec, &normed, &projection.weight));
        rope(rec, [(&q, shape.heads), (&k, shape.kv_heads)], &rope_tables, 1, Turn::Forward);
        cache_append(rec, &k, &rope_tables.start, &k_cache);
        cache_append(rec, &v, &rope_tables.start, &v_cache);
        let attended = rec.transient(Class::Activations, DType::F32, "attended", &q.shape);
        let cache = Cache { k: k_cache, v: v_cache };
        attention_cached(rec, &q, &cache, &rope_tables.start, &attended, shape);
        let delta = linear(rec, &attended, &layer.o.weight);
        (residual, normed) = add_norm(rec, &residual, &delta, &layer.post_norm.weight, eps);

        let [to_gate, to_up] =
            [Place::BeforeGate, Place::BeforeUp].map(|place| adapted(rec, llama, index, place, &normed));
        let gate = linear(rec, &to_gate, &layer.gate.weight);
        let up = linear(rec, &to_up, &layer.up.weight);
        let activated = rec.transient(Class::Activations, DType::F32, "activated", &gate.shape);
        swiglu(rec, &gate, &up, &activated);
        let delta = linear(rec, &activated, &layer.down.weight);
        let delta = adapted(rec, llama, index, Place::AfterDown, &delta);
        let next_norm =
            if index + 1 < config.num_hidden_layers { llama.layer(index + 1).input_norm } else { llama.final_norm() };
        (residual, normed) = add_norm(rec, &residual, &delta, &next_norm.weight, eps);
    }
    let logits = rec.persistent(Class::Activations, DType::F32, "logits", &[1, config.vocab_size]);
    crate::kernels::matmul::nt(rec, &normed, &llama.head().weight, &logits, crate::kernels::Output::Write);
    Decoder { id, rope: rope_tables, logits }
}

fn add_norm(rec: &mut Recorder, residual: &Tensor, delta: &Tensor, weight: &Tensor, eps: f64) -> (Tensor, Tensor) {
    let sum = rec.transient(Class::Activations, DType::F32, "residual", &residual.shape);
    let normed = rec.transient(Class::Activations, DType::F32, "normed", &residual.shape);
    add_rms_norm(rec, residual, delta, weight, &sum, &normed, eps);
    (sum, normed)
}
