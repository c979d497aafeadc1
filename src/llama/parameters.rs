//! The parameter table: Hugging Face's names, roles, weights and gradients.

use crate::config::{AdapterConfig, ModelConfig, ParameterSpec, Role};
use crate::gpu::{Class, DType, Recorder, Tensor};

/// One parameter: what it is, its weight and, where it is trained, its gradient.
#[derive(Clone, Debug)]
pub struct Parameter {
    /// Name, shape and role.
    pub spec: ParameterSpec,
    /// The weight.
    pub weight: Tensor,
    gradient: Option<Tensor>,
}

impl Parameter {
    /// The gradient. Panics in a model that was made without gradients.
    pub fn gradient(&self) -> &Tensor {
        self.gradient.as_ref().unwrap_or_else(|| panic!("{} has no gradient", self.spec.name))
    }
}

/// What becomes of gradients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gradients {
    /// There are none: the model is not trained, or not by gradients.
    None,
    /// Each has a buffer of its own, from one replay to the next.
    Kept,
    /// Each lives until its update, inside the backward pass; they share memory.
    Passing,
}

/// A LLaMA in a recorder.
pub struct Llama {
    /// Its sizes.
    pub config: ModelConfig,
    /// Its parameters, in the order of [`ModelConfig::parameters`].
    pub parameters: Vec<Parameter>,
}

/// The parameters of one layer.
pub(super) struct Layer<'a> {
    pub input_norm: &'a Parameter,
    pub q: &'a Parameter,
    pub k: &'a Parameter,
    pub v: &'a Parameter,
    pub o: &'a Parameter,
    pub post_norm: &'a Parameter,
    pub gate: &'a Parameter,
    pub up: &'a Parameter,
    pub down: &'a Parameter,
}

impl Llama {
    /// Room for the weights and, if it is to be trained, their gradients.
    pub fn new(rec: &mut Recorder, config: &ModelConfig, gradients: Gradients) -> Self {
        let parameter = |spec: ParameterSpec| {
            let weight = rec.persistent(Class::Parameters, DType::F32, spec.name.clone(), &spec.shape);
            let name = format!("gradient of {}", spec.name);
            let gradient = match gradients {
                Gradients::None => None,
                Gradients::Kept => Some(rec.persistent(Class::Gradients, DType::F32, name, &spec.shape)),
                Gradients::Passing => Some(rec.transient(Class::Gradients, DType::F32, name, &spec.shape)),
            };
            Parameter { spec, weight, gradient }
        };
        Self { config: config.clone(), parameters: config.parameters().into_iter().map(parameter).collect() }
    }

    pub(super) fn embedding(&self) -> &Parameter {
        &self.parameters[0]
    }

    pub(super) fn layer(&self, index: usize) -> Layer<'_> {
        let [input_norm, q, k, v, o, post_norm, gate, up, down] = &self.parameters[1 + 9 * index..10 + 9 * index]
        else {
            unreachable!("a layer has nine parameters")
        };
        Layer { input_norm, q, k, v, o, post_norm, gate, up, down }
    }

    pub(super) fn final_norm(&self) -> &Parameter {
        &self.parameters[1 + 9 * self.config.num_hidden_layers]
    }

    /// The parameters of one adapter, counted through all layers. Panics in a model without adapters.
    pub(super) fn adapter(&self, index: usize) -> &[Parameter] {
        let of_model = self.config.parameters_of_model().len();
        &self.parameters[of_model + index * AdapterConfig::PARAMETERS..][..AdapterConfig::PARAMETERS]
    }

    /// What a run trains: the adapters where there are any, else the whole model.
    pub fn trained(&self) -> impl Iterator<Item = &Parameter> {
        let adapters = self.config.adapter.is_some();
        self.parameters.iter().filter(move |parameter| (parameter.spec.role == Role::Adapter) == adapters)
    }

    /// The head: the embedding itself where they are tied.
    pub(super) fn head(&self) -> &Parameter {
        let last = 2 + 9 * self.config.num_hidden_layers;
        if self.config.tie_word_embeddings { self.embedding() } else { &self.parameters[last] }
    }
}
