//! LLaMA's settings and parameters under llama.cpp's names.

use super::reader::{Gguf, missing};
use crate::checkpoint::tensors::NamedTensor;
use crate::settings::{AttentionBias, ModelConfig, ParameterSpec, RopeScaling};
use crate::{Error, Result};

/// The model's sizes. LLaMA 3's RoPE scaling is recovered from the frequency factors in the file.
pub fn config(file: &mut Gguf) -> Result<ModelConfig> {
    let arch = file.text_if_any("general.architecture")?.ok_or_else(|| missing("general.architecture"))?.to_owned();
    if !["llama", "qwen2"].contains(&arch.as_str()) {
        return Err(Error::Data(format!("is a model of the architecture {arch}; llama and qwen2 are supported")));
    }
    let key = |name: &str| format!("{arch}.{name}");
    if file.size_if_any(&key("expert_count"))?.is_some_and(|count| count > 0) {
        return Err(Error::Data("is a mixture of experts, which is not supported".into()));
    }
    let hidden_size = file.size(&key("embedding_length"))?;
    let num_attention_heads = file.size(&key("attention.head_count"))?;
    let head_dim = match file.size_if_any(&key("attention.key_length"))? {
        Some(length) => length,
        None => file.size_if_any(&key("rope.dimension_count"))?.unwrap_or(hidden_size / num_attention_heads.max(1)),
    };
    let rope_theta = file.real_if_any(&key("rope.freq_base"))?.unwrap_or(10_000.0);
    let has = |name: &str| file.tensors().any(|(tensor, _)| tensor == name);
    let embedding = file.tensors().find(|(name, _)| *name == EMBEDDING).map(|(_, shape)| shape);
    let embedding = embedding.ok_or_else(|| missing(EMBEDDING))?;
    let [vocab_size, _] = *embedding else {
        return Err(Error::Data(format!("{EMBEDDING} has shape {embedding:?}; a matrix is expected")));
    };
    let biases = |parts: &[&str]| parts.iter().filter(|part| has(&format!("blk.0.{part}.bias"))).count();
    let attention_bias = match (biases(&["attn_q", "attn_k", "attn_v"]), biases(&["attn_output"])) {
        (0, 0) => AttentionBias::None,
        (3, 0) => AttentionBias::Qkv,
        (3, 1) => AttentionBias::All,
        _ => {
            return Err(Error::Data(
                "some projections of attention have biases, in a combination that is not supported".into(),
            ));
        }
    };
    let (mlp_bias, tie_word_embeddings) = (has("blk.0.ffn_gate.bias"), !has(HEAD));
    let scaling = file.text_if_any(&key("rope.scaling.type"))?.unwrap_or("none").to_owned();
    let factor = file.real_if_any(&key("rope.scaling.factor"))?;
    let rope_scaling = match (scaling.as_str(), factor) {
        ("none", _) | (_, None) => None,
        ("linear", Some(factor)) => Some(RopeScaling::Linear { factor }),
        (other, _) => return Err(Error::Data(format!("{} is {other}; linear is supported", key("rope.scaling.type")))),
    };
    let config = ModelConfig {
        vocab_size,
        hidden_size,
        intermediate_size: file.size(&key("feed_forward_length"))?,
        num_hidden_layers: file.size(&key("block_count"))?,
        num_attention_heads,
        num_key_value_heads: file.size_if_any(&key("attention.head_count_kv"))?.unwrap_or(num_attention_heads),
        head_dim,
        rms_norm_eps: tidied(file.real_if_any(&key("attention.layer_norm_rms_epsilon"))?.unwrap_or(1e-6)),
        rope_theta: tidied(rope_theta),
        rope_scaling,
        attention_bias,
        mlp_bias,
        tie_word_embeddings,
        max_position_embeddings: file.size_if_any(&key("context_length"))?.unwrap_or(2048),
        initializer_range: 0.02,
        adapter: None,
    };
    config.validate()?;
    if !file.tensors().any(|(name, _)| name == ROPE_FACTORS) {
        return Ok(config);
    }
    let rope_scaling = Some(llama3(&config, &file.values(ROPE_FACTORS)?)?);
    Ok(ModelConfig { rope_scaling, ..config })
}

/// The shortest decimal that gives the same float32: 1e-5, not 9.999999747378752e-6.
fn tidied(value: f64) -> f64 {
    (value as f32).to_string().parse().unwrap_or(value)
}

const EMBEDDING: &str = "token_embd.weight";
const HEAD: &str = "output.weight";
const ROPE_FACTORS: &str = "rope_freqs.weight";

/// The RoPE scaling of LLaMA 3.1 and later, if `divisors` are its frequency divisors.
fn llama3(config: &ModelConfig, divisors: &[f32]) -> Result<RopeScaling> {
    let scaling = RopeScaling::Llama3 {
        factor: divisors.last().copied().unwrap_or(1.0).into(),
        low_freq_factor: 1.0,
        high_freq_factor: 4.0,
        original_max_position_embeddings: 8192,
    };
    let plain = ModelConfig { rope_scaling: None, ..config.clone() }.rotary_frequencies();
    let stretched = ModelConfig { rope_scaling: Some(scaling), ..config.clone() }.rotary_frequencies();
    let is_close = |((plain, stretched), divisor): ((&f64, &f64), &f32)| {
        (plain / stretched - f64::from(*divisor)).abs() <= 1e-3 * f64::from(*divisor)
    };
    if divisors.len() != plain.len() || !plain.iter().zip(&stretched).zip(divisors).all(is_close) {
        return Err(Error::Data(format!("{ROPE_FACTORS} has factors other than LLaMA 3's; only those are supported")));
    }
    Ok(scaling)
}

/// All parameters in order, with Hugging Face's names and row order.
pub fn parameters(file: &mut Gguf, config: &ModelConfig) -> Result<Vec<NamedTensor>> {
    let is_permuted = file.text_if_any("general.architecture")? == Some("llama");
    let specs = config.parameters();
    let known: Vec<String> = specs.iter().map(|spec| name_in_file(&spec.name)).collect();
    if let Some((name, _)) = file.tensors().find(|(name, _)| *name != ROPE_FACTORS && !known.iter().any(|n| n == name))
    {
        return Err(Error::Data(format!("holds {name}, which is not a parameter of this model")));
    }
    let read = |(spec, name): (ParameterSpec, &String)| {
        let found = file.tensors().find(|(found, _)| found == name).map(|(_, shape)| shape.to_vec());
        let found = found.ok_or_else(|| missing(name))?;
        if found != spec.shape {
            return Err(Error::Data(format!("{name} has shape {found:?}, but the settings require {:?}", spec.shape)));
        }
        let mut values = file.values(name)?;
        if is_permuted && [".q_proj.", ".k_proj."].iter().any(|part| spec.name.contains(part)) {
            values = half_split(&values, spec.shape[0], config.head_dim);
        }
        Ok(NamedTensor { name: spec.name, shape: spec.shape, values })
    };
    specs.into_iter().zip(&known).map(read).collect()
}

/// `model.layers.3.self_attn.q_proj.weight` is `blk.3.attn_q.weight`.
fn name_in_file(name: &str) -> String {
    let whole = [
        ("model.embed_tokens.weight", EMBEDDING),
        ("model.norm.weight", "output_norm.weight"),
        ("lm_head.weight", HEAD),
    ];
    if let Some((_, theirs)) = whole.iter().find(|(ours, _)| *ours == name) {
        return (*theirs).to_owned();
    }
    const PARTS: [(&str, &str); 9] = [
        ("input_layernorm", "attn_norm"),
        ("self_attn.q_proj", "attn_q"),
        ("self_attn.k_proj", "attn_k"),
        ("self_attn.v_proj", "attn_v"),
        ("self_attn.o_proj", "attn_output"),
        ("post_attention_layernorm", "ffn_norm"),
        ("mlp.gate_proj", "ffn_gate"),
        ("mlp.up_proj", "ffn_up"),
        ("mlp.down_proj", "ffn_down"),
    ];
    PARTS.iter().fold(name.replace("model.layers.", "blk."), |name, (ours, theirs)| name.replace(ours, theirs))
}

/// Converts LLaMA's rows from neighbouring pairs of channels, as in the file, to pairs half a head apart.
///
/// `[rows, …]` in row-major order; a head has `head_dim` rows: row 2i + s of the file is row s·head_dim/2 + i.
fn half_split(values: &[f32], rows: usize, head_dim: usize) -> Vec<f32> {
    let width = values.len() / rows;
    let row_of = |row: usize| {
        let (head, channel) = (row / head_dim, row % head_dim);
        head * head_dim + 2 * (channel % (head_dim / 2)) + channel / (head_dim / 2)
    };
    (0..rows).flat_map(|row| &values[row_of(row) * width..][..width]).copied().collect()
}
