//! The forward pass. Kept for the backward pass: what is dear to compute again; norms and SwiGLU are not.

use super::adapter::{Place, adapted};
use super::head;
use super::parameters::Llama;
use crate::gpu::{Class, DType, Recorder, Tensor};
use crate::kernels::attention::{Shape, attention};
use crate::kernels::embedding::{TokenBatch, embedding};
use crate::kernels::rms_norm::{add_rms_norm, rms_norm};
use crate::kernels::rope::{RopeTables, Turn, rope};
use crate::kernels::swiglu::swiglu;
use crate::kernels::{Output, matmul};

/// What the host writes for a batch of `batch` sequences of `seq` tokens.
#[derive(Clone, Debug)]
pub struct BatchInputs {
    /// Sequences.
    pub batch: usize,
    /// Tokens of a sequence.
    pub seq: usize,
    /// The inputs' ids.
    pub tokens: TokenBatch,
    /// `[N]` the ids that follow; [`crate::kernels::cross_entropy::IGNORE`] counts nothing.
    pub targets: Tensor,
    /// Rotary tables of at least `seq` positions.
    pub rope: RopeTables,
}

impl BatchInputs {
    /// Room for the inputs of batches of this shape.
    pub fn new(rec: &mut Recorder, llama: &Llama, batch: usize, seq: usize) -> Self {
        let config = &llama.config;
        Self {
            batch,
            seq,
            tokens: TokenBatch::new(rec, batch * seq),
            targets: rec.persistent(Class::Scratch, DType::U32, "target ids", &[batch * seq]),
            rope: RopeTables::new(rec, seq, config.head_dim, config.rope_theta),
        }
    }

    pub(super) fn attention_shape(&self, llama: &Llama) -> Shape {
        Shape {
            batch: self.batch,
            seq: self.seq,
            heads: llama.config.num_attention_heads,
            kv_heads: llama.config.num_key_value_heads,
            head_dim: llama.config.head_dim,
        }
    }
}

/// What one layer keeps; N tokens, C hidden, F intermediate.
pub(super) struct LayerActivations {
    /// `[N, C]` residual stream before the layer.
    pub input: Tensor,
    /// Queries and keys after the turn, and values.
    pub qkv: [Tensor; 3],
    /// `[N, H*D]`.
    pub attended: Tensor,
    /// `[N, H]` log-sum-exp of the scores.
    pub lse: Tensor,
    /// `[N, C]` residual stream between attention and feed-forward.
    pub middle: Tensor,
    /// `[N, F]`.
    pub gate: Tensor,
    /// `[N, F]`.
    pub up: Tensor,
}

pub(super) struct Activations {
    pub layers: Vec<LayerActivations>,
    /// `[N, C]` residual stream after the last layer.
    pub last: Tensor,
    /// `[N, C]` the last norm's output: what the head reads.
    pub normed: Tensor,
}

/// Records the mean loss over `scale`⁻¹ tokens, without gradients: loss `[1]` (+)= scale · Σ −ln p(target).
pub fn record_loss(rec: &mut Recorder, llama: &Llama, inputs: &BatchInputs, loss: &Tensor, scale: f64, output: Output) {
    let activations = forward(rec, llama, inputs);
    head::loss(rec, llama, inputs, &activations.normed, loss, scale, output);
}

pub(super) fn forward(rec: &mut Recorder, llama: &Llama, inputs: &BatchInputs) -> Activations {
    let config = &llama.config;
    let n = inputs.batch * inputs.seq;
    let (hidden, eps) = (config.hidden_size, config.rms_norm_eps);
    let shape = inputs.attention_shape(llama);

    let mut input = rec.transient(Class::Activations, DType::F32, "residual", &[n, hidden]);
    embedding(rec, &inputs.tokens.ids, &llama.embedding().weight, &input);
    let mut normed = rec.transient(Class::Activations, DType::F32, "normed", &[n, hidden]);
    rms_norm(rec, &input, &llama.layer(0).input_norm.weight, &normed, eps);

    let mut layers = Vec::with_capacity(config.num_hidden_layers);
    for index in 0..config.num_hidden_layers {
        let layer = llama.layer(index);
        let [q, k, v] = [layer.q, layer.k, layer.v].map(|projection| linear(rec, &normed, &projection.weight));
        rope(rec, [(&q, shape.heads), (&k, shape.kv_heads)], &inputs.rope, inputs.seq, Turn::Forward);
        let attended = rec.transient(Class::Activations, DType::F32, "attended", &q.shape);
        let lse = rec.transient(Class::Activations, DType::F32, "attention log-sum-exp", &[n, shape.heads]);
        attention(rec, [&q, &k, &v], &attended, &lse, shape);
        let delta = linear(rec, &attended, &layer.o.weight);

        let middle = rec.transient(Class::Activations, DType::F32, "residual", &[n, hidden]);
        normed = rec.transient(Class::Activations, DType::F32, "normed", &[n, hidden]);
        add_rms_norm(rec, &input, &delta, &layer.post_norm.weight, &middle, &normed, eps);
        let [to_gate, to_up] =
            [Place::BeforeGate, Place::BeforeUp].map(|place| adapted(rec, llama, index, place, &normed));
        let gate = linear(rec, &to_gate, &layer.gate.weight);
        let up = linear(rec, &to_up, &layer.up.weight);
        let activated = rec.transient(Class::Activations, DType::F32, "activated", &gate.shape);
        swiglu(rec, &gate, &up, &activated);
        let delta = linear(rec, &activated, &layer.down.weight);
        let delta = adapted(rec, llama, index, Place::AfterDown, &delta);

        let after = rec.transient(Class::Activations, DType::F32, "residual", &[n, hidden]);
        normed = rec.transient(Class::Activations, DType::F32, "normed", &[n, hidden]);
        let next_norm =
            if index + 1 < config.num_hidden_layers { llama.layer(index + 1).input_norm } else { llama.final_norm() };
        add_rms_norm(rec, &middle, &delta, &next_norm.weight, &after, &normed, eps);
        layers.push(LayerActivations { input, qkv: [q, k, v], attended, lse, middle, gate, up });
        input = after;
    }
    Activations { layers, last: input, normed }
}

/// x·wᵀ in a new tensor `[N, out]`.
pub(super) fn linear(rec: &mut Recorder, x: &Tensor, w: &Tensor) -> Tensor {
    let y = rec.transient(Class::Activations, DType::F32, "linear", &[x.shape[0], w.shape[0]]);
    matmul::nt(rec, x, w, &y, Output::Write);
    y
}
