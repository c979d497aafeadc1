//! logits = head(norm(layers(embed(ids)))): LLaMA (Touvron et al. 2023, arXiv 2302.13971) as in Hugging Face's
//! `LlamaForCausalLM`, with its parameter names, and gradients derived by hand.
//!
//! One layer is x ← x + o_proj(attention(rope(q), rope(k), v)) of norm(x), then x ← x + down_proj(swiglu(gate, up)) of
//! norm(x). Linear layers may have biases, like Qwen2's on q, k and v. Parameters are always in the order of
//! [`parameter_shapes`].

use super::adapter::Adapter;
use super::{attention, bias, cross_entropy, embedding, matmul, rms_norm, rope, swiglu};

/// The sizes of a LLaMA, with the names in Hugging Face's config.json.
#[derive(Clone, Debug)]
pub struct Config {
    /// V.
    pub vocab_size: usize,
    /// C.
    pub hidden_size: usize,
    /// F.
    pub intermediate_size: usize,
    /// Number of layers.
    pub num_hidden_layers: usize,
    /// H.
    pub num_attention_heads: usize,
    /// KV, which divides H.
    pub num_key_value_heads: usize,
    /// D, even; usually C/H, but not necessarily.
    pub head_dim: usize,
    /// Added to the mean square in every normalization.
    pub rms_norm_eps: f64,
    /// The base of the rotary angles.
    pub rope_theta: f64,
    /// The scaling of those angles.
    pub rope_scaling: rope::Scaling,
    /// Whether the head is the embedding table itself, without an `lm_head.weight`.
    pub tie_word_embeddings: bool,
    /// Which of q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj have a bias, which follows the weight.
    pub biases: [bool; 7],
}

/// One weight, or the gradient of one.
#[derive(Clone, Debug)]
pub struct Parameter {
    /// Hugging Face's name, such as "model.layers.0.self_attn.q_proj.weight".
    pub name: String,
    /// `[rows, cols]`, or `[C]` for the weight of a normalization.
    pub shape: Vec<usize>,
    /// Row-major.
    pub values: Vec<f64>,
}

/// Name and shape of every parameter: the embedding, the layers, the last norm, and the head unless it is tied.
pub fn parameter_shapes(config: &Config) -> Vec<(String, Vec<usize>)> {
    let Config { vocab_size: v, hidden_size: c, intermediate_size: f, head_dim, .. } = *config;
    let (q, kv) = (config.num_attention_heads * head_dim, config.num_key_value_heads * head_dim);
    let [q_bias, k_bias, v_bias, o_bias, gate_bias, up_bias, down_bias] = config.biases;
    let layer_shapes = [
        ("input_layernorm", vec![c], false),
        ("self_attn.q_proj", vec![q, c], q_bias),
        ("self_attn.k_proj", vec![kv, c], k_bias),
        ("self_attn.v_proj", vec![kv, c], v_bias),
        ("self_attn.o_proj", vec![c, q], o_bias),
        ("post_attention_layernorm", vec![c], false),
        ("mlp.gate_proj", vec![f, c], gate_bias),
        ("mlp.up_proj", vec![f, c], up_bias),
        ("mlp.down_proj", vec![c, f], down_bias),
    ];
    let mut shapes = vec![("model.embed_tokens.weight".to_owned(), vec![v, c])];
    for layer in 0..config.num_hidden_layers {
        for (name, shape, has_bias) in &layer_shapes {
            shapes.push((format!("model.layers.{layer}.{name}.weight"), shape.clone()));
            if *has_bias {
                shapes.push((format!("model.layers.{layer}.{name}.bias"), shape[..1].to_vec()));
            }
        }
    }
    shapes.push(("model.norm.weight".to_owned(), vec![c]));
    if !config.tie_word_embeddings {
        shapes.push(("lm_head.weight".to_owned(), vec![v, c]));
    }
    shapes
}

/// The logits `[N, V]` of ids `[N]`, N = batch·seq.
pub fn logits(config: &Config, parameters: &[Parameter], ids: &[u32], batch: usize, seq: usize) -> Vec<f64> {
    logits_with_adapters(config, parameters, &[], ids, batch, seq)
}

/// [`logits`] of a model with adapters: in each layer one before gate_proj, one before up_proj and one after down_proj.
pub fn logits_with_adapters(
    config: &Config,
    parameters: &[Parameter],
    adapters: &[[Adapter; 3]],
    ids: &[u32],
    batch: usize,
    seq: usize,
) -> Vec<f64> {
    forward(config, parameters, adapters, ids, batch, seq).logits
}

/// The mean cross-entropy in nats of `targets` after `ids`, both `[N]`, N = batch·seq.
///
/// `targets[n]` is the token that follows `ids[n]`: the caller has shifted them.
pub fn loss(config: &Config, parameters: &[Parameter], ids: &[u32], targets: &[u32], batch: usize, seq: usize) -> f64 {
    cross_entropy::forward(&logits(config, parameters, ids, batch, seq), targets, config.vocab_size).0
}

/// [`loss`] of a model with adapters, as in [`logits_with_adapters`].
pub fn loss_with_adapters(
    config: &Config,
    parameters: &[Parameter],
    adapters: &[[Adapter; 3]],
    [ids, targets]: [&[u32]; 2],
    batch: usize,
    seq: usize,
) -> f64 {
    let logits = logits_with_adapters(config, parameters, adapters, ids, batch, seq);
    cross_entropy::forward(&logits, targets, config.vocab_size).0
}

/// [`loss`] and its gradient with respect to every parameter, with the same names and in the same order.
///
/// A tied table has one gradient: the sum of the contributions through the head and through the embedding.
pub fn loss_and_gradients(
    config: &Config,
    parameters: &[Parameter],
    ids: &[u32],
    targets: &[u32],
    batch: usize,
    seq: usize,
) -> (f64, Vec<Parameter>) {
    let trace = forward(config, parameters, &[], ids, batch, seq);
    let (loss, _) = cross_entropy::forward(&trace.logits, targets, config.vocab_size);
    let dlogits = cross_entropy::backward(&trace.logits, targets, config.vocab_size);
    (loss, backward(config, parameters, ids, batch, seq, &trace, &dlogits))
}

/// A weight with its bias, if it has one.
#[derive(Clone, Copy)]
struct Weight<'a> {
    weight: &'a Parameter,
    bias: Option<&'a Parameter>,
}

/// The weights of a layer: two norms and seven linears.
type Layer<'a> = [Weight<'a>; 9];

/// Activations that the backward pass needs.
struct Trace {
    layers: Vec<LayerTrace>,
    last: Vec<f64>,        // [N, C], input of the last norm
    last_normed: Vec<f64>, // [N, C]
    logits: Vec<f64>,      // [N, V]
}

/// Activations of one layer that its backward pass needs.
struct LayerTrace {
    x: Vec<f64>,             // [N, C], input of the layer
    normed: Vec<f64>,        // [N, C]
    q: Vec<f64>,             // [N, H*D], rotated
    k: Vec<f64>,             // [N, KV*D], rotated
    v: Vec<f64>,             // [N, KV*D]
    attended: Vec<f64>,      // [N, H*D]
    middle: Vec<f64>,        // [N, C], between attention and MLP
    middle_normed: Vec<f64>, // [N, C]
    gate: Vec<f64>,          // [N, F]
    up: Vec<f64>,            // [N, F]
    act: Vec<f64>,           // [N, F]
}

fn forward(
    config: &Config,
    parameters: &[Parameter],
    adapters: &[[Adapter; 3]],
    ids: &[u32],
    batch: usize,
    seq: usize,
) -> Trace {
    check(config, parameters, ids, batch, seq);
    let mut x = embedding::forward(ids, &parameters[0].values, config.hidden_size);
    let mut layers = Vec::with_capacity(config.num_hidden_layers);
    for layer in 0..config.num_hidden_layers {
        let (y, trace) =
            layer_forward(config, &layer_of(config, parameters, layer), adapters.get(layer), x, batch, seq);
        layers.push(trace);
        x = y;
    }
    let last_normed = norm(config, &x, &parameters[last_norm(config)]);
    let logits = linear(&last_normed, head(config, parameters));
    Trace { layers, last: x, last_normed, logits }
}

/// The gradient of every parameter from dlogits `[N, V]`.
fn backward(
    config: &Config,
    parameters: &[Parameter],
    ids: &[u32],
    batch: usize,
    seq: usize,
    trace: &Trace,
    dlogits: &[f64],
) -> Vec<Parameter> {
    let (dnormed, dhead) = linear_backward(&trace.last_normed, head(config, parameters), dlogits);
    let (mut dx, dnorm) = norm_backward(config, &trace.last, &parameters[last_norm(config)], &dnormed);
    let mut layer_gradients = Vec::with_capacity(config.num_hidden_layers);
    for (layer, layer_trace) in trace.layers.iter().enumerate().rev() {
        let (dlayer, gradients) =
            layer_backward(config, &layer_of(config, parameters, layer), layer_trace, &dx, batch, seq);
        layer_gradients.push(gradients);
        dx = dlayer;
    }
    let dembedding = embedding::backward(ids, &dx, config.vocab_size, config.hidden_size);

    let tied = config.tie_word_embeddings;
    let mut gradients = vec![if tied { add(&dembedding, &dhead) } else { dembedding }];
    gradients.extend(layer_gradients.into_iter().rev().flatten());
    gradients.push(dnorm);
    if !tied {
        gradients.push(dhead);
    }
    let named = |(parameter, values): (&Parameter, Vec<f64>)| Parameter { values, ..parameter.clone() };
    parameters.iter().zip(gradients).map(named).collect()
}

/// middle = x + o_proj(attention(…norm(x)…)); y = middle + down_proj(swiglu(…norm(middle)…)): x and y are `[N, C]`.
fn layer_forward(
    config: &Config,
    layer: &Layer<'_>,
    adapters: Option<&[Adapter; 3]>,
    x: Vec<f64>,
    batch: usize,
    seq: usize,
) -> (Vec<f64>, LayerTrace) {
    let [input_norm, q_proj, k_proj, v_proj, o_proj, post_norm, gate_proj, up_proj, down_proj] = layer;
    let shape = attention_shape(config, batch, seq);
    let frequencies = rope::frequencies(config.head_dim, config.rope_theta, config.rope_scaling);
    let rotate = |x: &[f64], heads| rope::turned(x, seq, heads, &frequencies);

    let normed = norm(config, &x, input_norm.weight);
    let q = rotate(&affine(&normed, q_proj), shape.heads);
    let k = rotate(&affine(&normed, k_proj), shape.kv_heads);
    let v = affine(&normed, v_proj);
    let (attended, _) = attention::forward(&q, &k, &v, shape);
    let middle = add(&x, &affine(&attended, o_proj));

    let middle_normed = norm(config, &middle, post_norm.weight);
    let adapted = |place: usize, x: &[f64]| adapters.map_or(x.to_vec(), |adapters| adapters[place].forward(x));
    let gate = affine(&adapted(0, &middle_normed), gate_proj);
    let up = affine(&adapted(1, &middle_normed), up_proj);
    let act = swiglu::forward(&gate, &up);
    let y = add(&middle, &adapted(2, &affine(&act, down_proj)));
    (y, LayerTrace { x, normed, q, k, v, attended, middle, middle_normed, gate, up, act })
}

/// dx and the gradients of the layer's parameters, in their order, from dy: dx and dy are `[N, C]`.
fn layer_backward(
    config: &Config,
    layer: &Layer<'_>,
    trace: &LayerTrace,
    dy: &[f64],
    batch: usize,
    seq: usize,
) -> (Vec<f64>, Vec<Vec<f64>>) {
    let [input_norm, q_proj, k_proj, v_proj, o_proj, post_norm, gate_proj, up_proj, down_proj] = layer;
    let shape = attention_shape(config, batch, seq);
    let frequencies = rope::frequencies(config.head_dim, config.rope_theta, config.rope_scaling);
    let rotate_back = |dy: &[f64], heads| rope::turned_back(dy, seq, heads, &frequencies);

    let (dact, ddown_proj) = affine_backward(&trace.act, down_proj, dy);
    let (dgate, dup) = swiglu::backward(&trace.gate, &trace.up, &dact);
    let (dnormed_by_gate, dgate_proj) = affine_backward(&trace.middle_normed, gate_proj, &dgate);
    let (dnormed_by_up, dup_proj) = affine_backward(&trace.middle_normed, up_proj, &dup);
    let dmiddle_normed = add(&dnormed_by_gate, &dnormed_by_up);
    let (dmiddle, dpost_norm) = norm_backward(config, &trace.middle, post_norm.weight, &dmiddle_normed);
    let dmiddle = add(dy, &dmiddle); // the residual passes dy on unchanged

    let (dattended, do_proj) = affine_backward(&trace.attended, o_proj, &dmiddle);
    let (dq, dk, dv) = attention::backward(&trace.q, &trace.k, &trace.v, &dattended, shape);
    let (dnormed_by_q, dq_proj) = affine_backward(&trace.normed, q_proj, &rotate_back(&dq, shape.heads));
    let (dnormed_by_k, dk_proj) = affine_backward(&trace.normed, k_proj, &rotate_back(&dk, shape.kv_heads));
    let (dnormed_by_v, dv_proj) = affine_backward(&trace.normed, v_proj, &dv);
    let dnormed = add(&add(&dnormed_by_q, &dnormed_by_k), &dnormed_by_v);
    let (dx, dinput_norm) = norm_backward(config, &trace.x, input_norm.weight, &dnormed);
    let dx = add(&dmiddle, &dx);
    let linears = [dq_proj, dk_proj, dv_proj, do_proj].concat();
    let rest = [vec![dpost_norm], dgate_proj, dup_proj, ddown_proj].concat();
    (dx, [vec![dinput_norm], linears, rest].concat())
}

/// y = x·wᵀ + b.
fn affine(x: &[f64], Weight { weight, bias }: &Weight<'_>) -> Vec<f64> {
    let y = linear(x, weight);
    match bias {
        Some(bias) => bias::forward(&y, &bias.values),
        None => y,
    }
}

/// dx, and the gradients of the weight and of the bias, if any.
fn affine_backward(x: &[f64], Weight { weight, bias }: &Weight<'_>, dy: &[f64]) -> (Vec<f64>, Vec<Vec<f64>>) {
    let (dx, dweight) = linear_backward(x, weight, dy);
    let dbias = bias.map(|bias| bias::backward(dy, bias.values.len()));
    let gradients = std::iter::once(dweight).chain(dbias).collect();
    (dx, gradients)
}

/// y = x·wᵀ: x is `[N, cols]`, the weight is `[rows, cols]`, y is `[N, rows]`.
fn linear(x: &[f64], weight: &Parameter) -> Vec<f64> {
    let [rows, cols] = matrix_shape(weight);
    matmul::nt(x, &weight.values, [x.len() / cols, rows, cols])
}

/// (dx `[N, cols]`, dw `[rows, cols]`) from dy `[N, rows]`.
fn linear_backward(x: &[f64], weight: &Parameter, dy: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let [rows, cols] = matrix_shape(weight);
    let n = x.len() / cols;
    (matmul::nn(dy, &weight.values, [n, cols, rows]), matmul::tn(dy, x, [rows, cols, n]))
}

fn matrix_shape(weight: &Parameter) -> [usize; 2] {
    let [rows, cols] = weight.shape[..] else { panic!("{} wants [rows, cols], got {:?}", weight.name, weight.shape) };
    [rows, cols]
}

fn norm(config: &Config, x: &[f64], weight: &Parameter) -> Vec<f64> {
    let cols = config.hidden_size;
    rms_norm::forward(x, &weight.values, x.len() / cols, cols, config.rms_norm_eps)
}

fn norm_backward(config: &Config, x: &[f64], weight: &Parameter, dy: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let cols = config.hidden_size;
    rms_norm::backward(x, &weight.values, dy, x.len() / cols, cols, config.rms_norm_eps)
}

/// a + b: a residual, or the sum of two gradients.
fn add(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a + b).collect()
}

fn attention_shape(config: &Config, batch: usize, seq: usize) -> attention::Shape {
    let [heads, kv_heads] = [config.num_attention_heads, config.num_key_value_heads];
    attention::Shape { batch, seq, heads, kv_heads, head_dim: config.head_dim }
}

/// The weights of one layer, each with its bias.
fn layer_of<'a>(config: &Config, parameters: &'a [Parameter], layer: usize) -> Layer<'a> {
    let mut rest = parameters[1 + layer * layer_parameters(config)..].iter().peekable();
    std::array::from_fn(|_| Weight {
        weight: rest.next().expect("checked against parameter_shapes"),
        bias: rest.next_if(|parameter| parameter.name.ends_with(".bias")),
    })
}

/// Number of parameters in one layer.
fn layer_parameters(config: &Config) -> usize {
    9 + config.biases.iter().filter(|has_bias| **has_bias).count()
}

/// The index of `model.norm.weight` among the parameters.
fn last_norm(config: &Config) -> usize {
    1 + config.num_hidden_layers * layer_parameters(config)
}

/// The weight `[V, C]` that turns the last hidden state into logits.
fn head<'a>(config: &Config, parameters: &'a [Parameter]) -> &'a Parameter {
    &parameters[if config.tie_word_embeddings { 0 } else { last_norm(config) + 1 }]
}

fn check(config: &Config, parameters: &[Parameter], ids: &[u32], batch: usize, seq: usize) {
    assert_eq!(ids.len(), batch * seq, "llama: ids wants N = B·T = {batch}·{seq}");
    let expected = parameter_shapes(config);
    assert_eq!(parameters.len(), expected.len(), "llama: number of parameters");
    for (parameter, (name, shape)) in parameters.iter().zip(&expected) {
        assert_eq!((&parameter.name, &parameter.shape), (name, shape), "llama: parameters in parameter_shapes' order");
        assert_eq!(parameter.values.len(), shape.iter().product::<usize>(), "llama: {name} wants {shape:?} values");
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_close, assert_gradient, dot, random};
    use super::*;

    const BATCH: usize = 2;
    const SEQ: usize = 3;
    const IDS: [u32; BATCH * SEQ] = [4, 10, 4, 0, 7, 1]; // one id twice, some never
    const TARGETS: [u32; BATCH * SEQ] = [10, 4, 2, 7, 1, 10];

    /// Odd sizes, grouped queries, H·D ≠ C, so that no two letters can be confused.
    fn tiny(tie_word_embeddings: bool) -> Config {
        Config {
            vocab_size: 11,
            hidden_size: 5,
            intermediate_size: 7,
            num_hidden_layers: 2,
            num_attention_heads: 4,
            num_key_value_heads: 2,
            head_dim: 4,
            rms_norm_eps: 0.1,
            rope_theta: 10.0,
            rope_scaling: rope::Scaling::None,
            tie_word_embeddings,
            biases: [false; 7],
        }
    }

    /// Entries in [-1, 1), larger than at initialization: with 0.02 most gradients would be too small to check.
    fn random_parameters(config: &Config) -> Vec<Parameter> {
        let named = |(seed, (name, shape)): (usize, (String, Vec<usize>))| {
            let values = random(shape.iter().product(), seed as u64);
            Parameter { name, shape, values }
        };
        parameter_shapes(config).into_iter().enumerate().map(named).collect()
    }

    /// Checks every gradient against central differences of `loss_of` with respect to that parameter.
    #[track_caller]
    fn assert_gradients(parameters: &[Parameter], gradients: &[Parameter], loss_of: impl Fn(&[Parameter]) -> f64) {
        assert_eq!(gradients.len(), parameters.len());
        for (index, gradient) in gradients.iter().enumerate() {
            assert_eq!((&gradient.name, &gradient.shape), (&parameters[index].name, &parameters[index].shape));
            assert_gradient(&gradient.name, &gradient.values, &parameters[index].values, |values| {
                let mut moved = parameters.to_vec();
                moved[index].values = values.to_vec();
                loss_of(&moved)
            });
        }
    }

    #[test]
    fn names_and_shapes_are_hugging_faces() {
        let shapes = parameter_shapes(&Config { num_hidden_layers: 1, ..tiny(false) });
        let expected: [(&str, &[usize]); 12] = [
            ("model.embed_tokens.weight", &[11, 5]),
            ("model.layers.0.input_layernorm.weight", &[5]),
            ("model.layers.0.self_attn.q_proj.weight", &[16, 5]),
            ("model.layers.0.self_attn.k_proj.weight", &[8, 5]),
            ("model.layers.0.self_attn.v_proj.weight", &[8, 5]),
            ("model.layers.0.self_attn.o_proj.weight", &[5, 16]),
            ("model.layers.0.post_attention_layernorm.weight", &[5]),
            ("model.layers.0.mlp.gate_proj.weight", &[7, 5]),
            ("model.layers.0.mlp.up_proj.weight", &[7, 5]),
            ("model.layers.0.mlp.down_proj.weight", &[5, 7]),
            ("model.norm.weight", &[5]),
            ("lm_head.weight", &[11, 5]),
        ];
        let shapes: Vec<(&str, &[usize])> = shapes.iter().map(|(name, shape)| (&name[..], &shape[..])).collect();
        assert_eq!(shapes, expected);
        assert_eq!(parameter_shapes(&tiny(true)).len(), parameter_shapes(&tiny(false)).len() - 1);
    }

    #[test]
    fn the_gradients_of_the_loss_equal_central_differences() {
        for tied in [false, true] {
            let config = tiny(tied);
            let parameters = random_parameters(&config);
            let loss_of = |parameters: &[Parameter]| loss(&config, parameters, &IDS, &TARGETS, BATCH, SEQ);
            let (loss, gradients) = loss_and_gradients(&config, &parameters, &IDS, &TARGETS, BATCH, SEQ);
            assert_eq!(loss, loss_of(&parameters));
            assert_gradients(&parameters, &gradients, loss_of);
        }
    }

    #[test]
    fn gradients_with_biases_and_stretched_angles_equal_central_differences() {
        let llama3 = rope::Scaling::Llama3 { factor: 2.0, low: 0.1, high: 0.5, original: 4.0 };
        let qkv = [true, true, true, false, false, false, false];
        for (rope_scaling, biases) in [(rope::Scaling::Linear(3.0), qkv), (llama3, [true; 7])] {
            let config = Config { rope_scaling, biases, ..tiny(false) };
            let parameters = random_parameters(&config);
            let loss_of = |parameters: &[Parameter]| loss(&config, parameters, &IDS, &TARGETS, BATCH, SEQ);
            let (_, gradients) = loss_and_gradients(&config, &parameters, &IDS, &TARGETS, BATCH, SEQ);
            assert_gradients(&parameters, &gradients, loss_of);
        }
    }

    #[test]
    fn the_gradients_of_weighted_logits_equal_central_differences() {
        // The mean over tokens could hide errors that cancel between rows.
        for tied in [false, true] {
            let config = tiny(tied);
            let parameters = random_parameters(&config);
            let dlogits = random(IDS.len() * config.vocab_size, 99);
            let trace = forward(&config, &parameters, &[], &IDS, BATCH, SEQ);
            let gradients = backward(&config, &parameters, &IDS, BATCH, SEQ, &trace, &dlogits);
            let loss_of = |parameters: &[Parameter]| dot(&logits(&config, parameters, &IDS, BATCH, SEQ), &dlogits);
            assert_gradients(&parameters, &gradients, loss_of);
        }
    }

    #[test]
    fn loss_logits_and_gradients_are_those_of_hugging_face_transformers() {
        // LlamaForCausalLM of transformers 4.36.2 on torch 1.13, with float32 replaced by float64 throughout.
        // There H·D = C. The last number is Σ gradient·random over all parameters.
        #[rustfmt::skip]
        let last_logits = [
            [-2.37460448768444, 0.0475418371343279, 0.546293032360442, -1.93186877586309, -0.416273150103042, -0.152770646324231,
             1.41663932201599, 1.70402662588873, -1.4838383609772, 0.0394411325937807, 0.799263182675401],
            [0.485696404775098, -1.28037008396974, 1.53798160886573, 0.560021247637233, -4.20656547203576, 2.09294295793626,
             -2.35592193943512, -0.579828393130195, 0.906686770025437, 1.51532825881661, 1.34053959176993],
        ];
        let losses = [2.1445154358078287, 2.8624382346726596];
        let probes = [-2.6618004680336713, 3.548688210514562];
        for tied in [false, true] {
            let config = Config { hidden_size: 16, ..tiny(tied) };
            let parameters = random_parameters(&config);
            let logits = logits(&config, &parameters, &IDS, BATCH, SEQ);
            assert_close("last logits", &logits[5 * 11..], &last_logits[usize::from(tied)], 1e-13);
            let (loss, gradients) = loss_and_gradients(&config, &parameters, &IDS, &TARGETS, BATCH, SEQ);
            assert_close("loss", &[loss], &[losses[usize::from(tied)]], 1e-13);
            let probe_of = |(i, g): (usize, &Parameter)| dot(&g.values, &random(g.values.len(), 100 + i as u64));
            let probe = gradients.iter().enumerate().map(probe_of).sum();
            assert_close("gradients", &[probe], &[probes[usize::from(tied)]], 1e-12);
        }
    }

    #[test]
    fn a_token_sees_its_own_sequence_up_to_itself() {
        let config = tiny(false);
        let parameters = random_parameters(&config);
        let before = logits(&config, &parameters, &IDS, BATCH, SEQ);
        let mut ids = IDS;
        ids[1] = 9; // position 1 of sequence 0
        let after = logits(&config, &parameters, &ids, BATCH, SEQ);
        for row in 0..IDS.len() {
            let at = row * 11..(row + 1) * 11;
            assert_eq!(before[at.clone()] == after[at], ![1, 2].contains(&row), "row {row}");
        }
    }
}
