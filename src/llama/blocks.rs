//! The blocks of a model in order, forward and backward.

use super::adapter::Adapters;
use super::attention::{self, Attention, Context};
use super::embedding::Embedding;
use super::feed_forward::{self, FeedForward};
use super::gradients::GradientSink;
use super::head::Head;
use super::inputs::BatchInputs;
use super::linear::Linear;
use super::parameters::Llama;
use super::rms_norm::{ResidualGradient, RmsNorm};
use super::units::{UnitKind, Units};
use crate::Result;
use crate::gpu::{DType, Recorder, Tensor};
use crate::kernels::Output;
use crate::settings::{AdapterConfig, Recompute, Role};

/// Embedding, layers, final norm, and the head, which reads the norm.
pub(super) struct Blocks<'a> {
    pub embedding: Embedding<'a>,
    pub layers: Vec<Layer<'a>>,
    pub norm: RmsNorm<'a>,
    pub head: Head<'a>,
}

pub(super) struct Layer<'a> {
    pub attention: Attention<'a>,
    pub feed_forward: FeedForward<'a>,
}

/// What the backward pass needs from the whole forward pass: everything expensive to recompute, so not norms or SwiGLU.
pub(super) struct Saved {
    layers: Vec<SavedLayer>,
    /// `[N, C]` residual stream after the last layer.
    last: Tensor,
}

/// What is kept of one layer; the rest is recomputed from the residual stream before the layer, `[N, C]`.
#[cfg_attr(
    target_pointer_width = "64",
    expect(clippy::large_enum_variant, reason = "there is one a layer, while a plan is recorded")
)]
enum SavedLayer {
    Both(attention::Saved, feed_forward::Saved),
    FeedForward(Tensor, feed_forward::Saved),
    Neither(Tensor),
}

impl Saved {
    /// Drops what the backward pass recomputes.
    pub fn without(self, recompute: Recompute) -> Self {
        let less = |saved| match (recompute, saved) {
            (Recompute::Attention, SavedLayer::Both(attention, feed_forward)) => {
                SavedLayer::FeedForward(attention.residual, feed_forward)
            }
            (Recompute::Layer, SavedLayer::Both(attention, _)) => SavedLayer::Neither(attention.residual),
            (_, saved) => saved,
        };
        Self { layers: self.layers.into_iter().map(less).collect(), ..self }
    }
}

impl<'a> Blocks<'a> {
    /// Gives each block its parameters, and sets the type of activations other than the residual stream.
    pub fn of(llama: &'a Llama, activations: DType) -> Self {
        let config = &llama.config;
        let tied = config.tie_word_embeddings;
        // In the order of ModelConfig::parameters: a bias follows its weight, adapters come last.
        let mut rest = llama.by_name().peekable();
        let of_adapters = llama.parameters.iter().position(|parameter| parameter.spec.role == Role::Adapter);
        let of_adapters = &llama.parameters[of_adapters.unwrap_or(llama.parameters.len())..];
        let of_block = AdapterConfig::PLACES.len() * AdapterConfig::PARAMETERS;
        let mut next = || {
            let weight = rest.next().expect("as many parameters as the configuration has");
            let bias = rest.next_if(|parameter| parameter[0].spec.role == Role::Bias).map(|bias| &bias[0]);
            Linear { weight, bias }
        };
        let norm = |of: Linear<'a>| RmsNorm { weight: &of.weight[0], eps: config.rms_norm_eps, activations };
        let table = next();
        let layer = |index: usize| {
            let [input_norm, q, k, v, o, post_norm, gate, up, down] = std::array::from_fn(|_| next());
            let adapters = config.adapter.map(|adapter| Adapters::new(adapter, &of_adapters[index * of_block..]));
            Layer {
                attention: Attention { config, norm: norm(input_norm), q, k, v, o, units: None },
                feed_forward: FeedForward { norm: norm(post_norm), gate, up, down, adapters, units: None },
            }
        };
        let layers = (0..config.num_hidden_layers).map(layer).collect();
        let last_norm = norm(next());
        let head = Head { weight: if tied { table } else { next() }, tied };
        Self { embedding: Embedding { table: table.weight, tied }, layers, norm: last_norm, head }
    }

    /// The same with units masked or measured in the forward pass. There is no backward pass through masks.
    pub fn with_units(mut self, units: Units<'_>) -> Self {
        for (index, layer) in self.layers.iter_mut().enumerate() {
            layer.attention.units = Some(units.of(UnitKind::Heads, index));
            layer.feed_forward.units = Some(units.of(UnitKind::Channels, index));
        }
        self
    }

    /// From ids `[N]` to the final norm's output `[N, C]`; `contexts` gives each layer's attention context.
    pub fn forward<'c>(
        &self,
        rec: &mut Recorder,
        ids: &Tensor,
        contexts: impl Fn(usize) -> Context<'c>,
    ) -> (Tensor, Saved) {
        let residual = self.embedding.forward(rec, ids);
        let mut stream = self.layers[0].attention.norm.stream(rec, residual);
        let mut layers = Vec::with_capacity(self.layers.len());
        for (index, layer) in self.layers.iter().enumerate() {
            let (delta, of_attention) = layer.attention.forward(rec, &stream, contexts(index));
            stream = layer.feed_forward.norm.add(rec, &stream, &delta);
            let (delta, of_feed_forward) = layer.feed_forward.forward(rec, &stream);
            let next_norm = self.layers.get(index + 1).map_or(self.norm, |next| next.attention.norm);
            stream = next_norm.add(rec, &stream, &delta);
            layers.push(SavedLayer::Both(of_attention, of_feed_forward));
        }
        (stream.normed, Saved { layers, last: stream.residual })
    }

    /// From the gradient of the final norm's output `[N, C]` to that of every parameter before the head.
    pub fn backward(
        &self,
        rec: &mut Recorder,
        saved: Saved,
        inputs: &BatchInputs,
        dnormed: &Tensor,
        sink: &mut GradientSink<'_, '_>,
    ) -> Result<()> {
        let dresidual = ResidualGradient::new(rec, &saved.last.shape, dnormed.dtype);
        self.norm.backward(rec, &saved.last, dnormed, (&dresidual, Output::Write), sink)?;
        for (layer, saved) in self.layers.iter().zip(saved.layers).rev() {
            layer.backward(rec, saved, inputs.context(), &dresidual, sink)?;
        }
        self.embedding.backward(rec, &inputs.tokens, &dresidual.sum, sink)
    }
}

impl Layer<'_> {
    /// Turns the gradient of the residual stream after the layer into the gradient before it, in place.
    fn backward(
        &self,
        rec: &mut Recorder,
        saved: SavedLayer,
        context: Context<'_>,
        dresidual: &ResidualGradient,
        sink: &mut GradientSink<'_, '_>,
    ) -> Result<()> {
        // The sink may update a weight as soon as its gradient is complete, so recompute everything that reads it
        // first.
        match saved {
            SavedLayer::Both(of_attention, of_feed_forward) => {
                self.feed_forward.backward(rec, &of_feed_forward, dresidual, sink)?;
                self.attention.backward(rec, &of_attention, context, dresidual, sink)
            }
            SavedLayer::FeedForward(residual, of_feed_forward) => {
                self.feed_forward.backward(rec, &of_feed_forward, dresidual, sink)?;
                let stream = self.attention.norm.stream(rec, residual);
                let of_attention = self.attention.forward_saved(rec, &stream, context);
                self.attention.backward(rec, &of_attention, context, dresidual, sink)
            }
            SavedLayer::Neither(residual) => {
                let both = self.forward_saved(rec, residual, context);
                self.backward(rec, both, context, dresidual, sink)
            }
        }
    }

    /// The forward pass from the residual stream before the layer, as far as the backward pass needs it.
    fn forward_saved(&self, rec: &mut Recorder, residual: Tensor, context: Context<'_>) -> SavedLayer {
        let stream = self.attention.norm.stream(rec, residual);
        let (delta, of_attention) = self.attention.forward(rec, &stream, context);
        let stream = self.feed_forward.norm.add(rec, &stream, &delta);
        SavedLayer::Both(of_attention, self.feed_forward.forward_saved(rec, &stream))
    }
}
