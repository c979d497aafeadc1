//! Causal grouped-query self-attention with rotary positions.

use super::gradients::GradientSink;
use super::linear::Linear;
use super::rms_norm::{ResidualGradient, RmsNorm, Stream};
use super::units::LayerUnits;
use crate::Result;
use crate::gpu::{Class, DType, Recorder, Tensor};
use crate::kernels::Output;
use crate::kernels::attention::{Cache, Shape, attention, attention_backward, attention_cached, cache_append};
use crate::kernels::rope::{RopeTables, Rotation, rope};
use crate::settings::ModelConfig;

/// delta = o( softmax(q(h) k(h)ᵀ / √D, causal) v(h) ), with h the norm of the residual stream; q and k are rotated by
/// position.
pub(super) struct Attention<'a> {
    pub config: &'a ModelConfig,
    pub norm: RmsNorm<'a>,
    pub q: Linear<'a>,
    pub k: Linear<'a>,
    pub v: Linear<'a>,
    pub o: Linear<'a>,
    /// Of the input of `o`.
    pub units: Option<LayerUnits>,
}

/// Which tokens attend to which.
#[derive(Clone, Copy)]
pub(super) struct Context<'a> {
    /// Sequences.
    pub batch: usize,
    /// Tokens per sequence; each attends to itself and to earlier ones.
    pub seq: usize,
    /// Rotary tables; `rope.start` is the position of a sequence's first token.
    pub rope: &'a RopeTables,
    /// Keys and values of the tokens before position `rope.start`; the single token here is appended to them. `None`
    /// for a batch, whose sequences start at position 0.
    pub cache: Option<&'a Cache>,
}

/// What the backward pass needs; N tokens, C hidden, H heads of size D.
pub(super) struct Saved {
    /// `[N, C]` residual stream before the block.
    pub residual: Tensor,
    /// Queries `[N, H·D]` and keys after rotation, and values.
    qkv: [Tensor; 3],
    /// `[N, H·D]`.
    attended: Tensor,
    /// `[N, H]` log-sum-exp of the scores; `None` with a cache, which has no backward pass.
    lse: Option<Tensor>,
}

impl Attention<'_> {
    /// The block's contribution to the residual stream, `[N, C]`.
    pub fn forward(&self, rec: &mut Recorder, stream: &Stream, context: Context<'_>) -> (Tensor, Saved) {
        let saved = self.forward_saved(rec, stream, context);
        if let Some(units) = &self.units {
            units.apply(rec, &saved.attended);
        }
        (self.o.forward(rec, &saved.attended), saved)
    }

    /// The forward pass without its last product, which the backward pass does not need.
    pub fn forward_saved(&self, rec: &mut Recorder, stream: &Stream, context: Context<'_>) -> Saved {
        let shape = self.shape(context);
        let [q, k, v] = [self.q, self.k, self.v].map(|projection| projection.forward(rec, &stream.normed));
        rope(rec, [(&q, shape.heads), (&k, shape.kv_heads)], context.rope, context.seq, Rotation::Forward);
        let attended = rec.transient(Class::Activations, q.dtype, "attended", &q.shape);
        let lse = match context.cache {
            Some(cache) => {
                let position = &context.rope.start;
                cache_append(rec, &k, position, &cache.k);
                cache_append(rec, &v, position, &cache.v);
                attention_cached(rec, &q, cache, position, &attended, shape);
                None
            }
            None => {
                let lse_shape = [q.shape[0], shape.heads];
                let lse = rec.transient(Class::Activations, DType::F32, "attention log-sum-exp", &lse_shape);
                attention(rec, [&q, &k, &v], &attended, &lse, shape);
                Some(lse)
            }
        };
        Saved { residual: stream.residual.clone(), qkv: [q, k, v], attended, lse }
    }

    /// Turns the gradient of the residual stream after the block into the gradient before it, in place.
    ///
    /// Panics if saved by a forward pass with a cache.
    pub fn backward(
        &self,
        rec: &mut Recorder,
        saved: &Saved,
        context: Context<'_>,
        dresidual: &ResidualGradient,
        sink: &mut GradientSink<'_, '_>,
    ) -> Result<()> {
        let shape = self.shape(context);
        let [q, k, v] = &saved.qkv;
        let lse = saved.lse.as_ref().expect("no gradient goes through a cache");
        let dattended = rec.transient(Class::Activations, q.dtype, "gradient of attended", &saved.attended.shape);
        self.o.input_gradient(rec, &dresidual.read, &dattended, Output::Write);
        self.o.weight_gradient(rec, &dresidual.read, &saved.attended, sink)?;
        let [dq, dk, dv] =
            [q, k, v].map(|x| rec.transient(Class::Activations, x.dtype, "gradient of q, k or v", &x.shape));
        attention_backward(rec, [q, k, v], &saved.attended, lse, &dattended, [&dq, &dk, &dv], shape);
        rope(rec, [(&dq, shape.heads), (&dk, shape.kv_heads)], context.rope, context.seq, Rotation::Backward);
        let readers = [(self.q, &dq), (self.k, &dk), (self.v, &dv)];
        self.norm.backward_from(rec, &saved.residual, &readers, dresidual, sink)
    }

    fn shape(&self, Context { batch, seq, .. }: Context<'_>) -> Shape {
        let config = self.config;
        let (heads, kv_heads) = (config.num_attention_heads, config.num_key_value_heads);
        Shape { batch, seq, heads, kv_heads, head_dim: config.head_dim }
    }
}
