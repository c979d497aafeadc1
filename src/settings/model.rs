//! The sizes of a LLaMA model, with Hugging Face's names.

use std::str::FromStr;

use serde::Serialize;

use super::adapter::AdapterConfig;
use super::check;
use super::keys::Section;
use super::parameter::{ParameterSpec, Role};
use super::rope::{RopeScaling, rotary_frequencies};
use crate::{Error, Result};

/// The names of presets for [`ModelConfig::preset`].
pub const PRESETS: [&str; 7] = ["tiny", "9m", "20m", "60m", "130m", "350m", "1b"];

/// The largest head that attention can keep in registers: a team has at most 16 lanes.
pub const MAX_HEAD_DIM: usize = 256;

/// A LLaMA model as Hugging Face's `LlamaConfig` describes it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ModelConfig {
    /// Number of tokens, V.
    pub vocab_size: usize,
    /// Width of the residual stream, C.
    pub hidden_size: usize,
    /// Width of the feed-forward layer.
    pub intermediate_size: usize,
    /// Number of layers.
    pub num_hidden_layers: usize,
    /// Number of query heads.
    pub num_attention_heads: usize,
    /// Number of key and value heads; divides the query heads.
    pub num_key_value_heads: usize,
    /// Width of one head; even, because rotary positions rotate pairs.
    pub head_dim: usize,
    /// Added to the mean square in every RMSNorm.
    pub rms_norm_eps: f64,
    /// Base of the rotary wavelengths.
    pub rope_theta: f64,
    /// How the model was extended to a longer context, if it was.
    pub rope_scaling: Option<RopeScaling>,
    /// Which projections of attention have biases.
    pub attention_bias: AttentionBias,
    /// Whether the projections of the feed-forward layers have biases.
    pub mlp_bias: bool,
    /// Whether the head is the embedding itself.
    pub tie_word_embeddings: bool,
    /// The longest sequence.
    pub max_position_embeddings: usize,
    /// Standard deviation of the initial weights.
    pub initializer_range: f64,
    /// The adapters around the feed-forward layers, if adapters are trained: not part of Hugging Face's config, and
    /// stored separately.
    #[serde(skip)]
    pub adapter: Option<AdapterConfig>,
}

/// Which projections of attention have biases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AttentionBias {
    /// None, as in LLaMA.
    None,
    /// Those of queries, keys and values: Qwen2's.
    Qkv,
    /// All four: LLaMA's with `attention_bias`.
    All,
}

impl FromStr for AttentionBias {
    type Err = String;

    fn from_str(word: &str) -> std::result::Result<Self, String> {
        match word {
            "none" => Ok(Self::None),
            "qkv" => Ok(Self::Qkv),
            "all" => Ok(Self::All),
            _ => Err(format!("expected \"none\", \"qkv\" or \"all\", got \"{word}\"")),
        }
    }
}

impl ModelConfig {
    /// `tiny` for tests and the web page, or one of GaLore's sizes (github.com/jiaweizzhao/GaLore,
    /// configs/llama_*.json).
    pub fn preset(name: &str) -> Result<Self> {
        let (vocab_size, hidden_size, intermediate_size, num_hidden_layers, heads, kv_heads, tied) = match name {
            "tiny" => (1024, 128, 352, 4, 4, 2, true),
            "9m" => (32000, 128, 352, 4, 4, 4, false),
            "20m" => (32000, 256, 688, 4, 4, 4, false),
            "60m" => (32000, 512, 1376, 8, 8, 8, false),
            "130m" => (32000, 768, 2048, 12, 12, 12, false),
            "350m" => (32000, 1024, 2736, 24, 16, 16, false),
            "1b" => (32000, 2048, 5461, 24, 32, 32, false),
            _ => return Err(Error::config("model.preset", unknown_preset(name))),
        };
        Ok(Self {
            vocab_size,
            hidden_size,
            intermediate_size,
            num_hidden_layers,
            num_attention_heads: heads,
            num_key_value_heads: kv_heads,
            head_dim: hidden_size / heads,
            tie_word_embeddings: tied,
            ..Self::SIZELESS
        })
    }

    /// Every parameter, in the order in which the model uses them, those of adapters last.
    pub fn parameters(&self) -> Vec<ParameterSpec> {
        let mut specs = self.parameters_of_model();
        let of_adapters = |adapter: &AdapterConfig| adapter.parameters(self.hidden_size, self.num_hidden_layers);
        specs.extend(self.adapter.iter().flat_map(of_adapters));
        specs
    }

    /// The parameters without adapters: LLaMA's own, as in Hugging Face's models.
    pub fn parameters_of_model(&self) -> Vec<ParameterSpec> {
        let mut specs = Vec::new();
        let mut add = |name: String, shape: &[usize], role| {
            specs.push(ParameterSpec { name, shape: shape.to_vec(), role });
        };
        let [hidden, intermediate] = [self.hidden_size, self.intermediate_size];
        let [query, key_value] = [self.query_size(), self.key_value_size()];
        let (qkv_bias, o_bias) =
            (self.attention_bias != AttentionBias::None, self.attention_bias == AttentionBias::All);
        add("model.embed_tokens.weight".into(), &[self.vocab_size, hidden], Role::Embedding);
        for layer in 0..self.num_hidden_layers {
            let parts = [
                ("input_layernorm", hidden, None, false),
                ("self_attn.q_proj", query, Some(hidden), qkv_bias),
                ("self_attn.k_proj", key_value, Some(hidden), qkv_bias),
                ("self_attn.v_proj", key_value, Some(hidden), qkv_bias),
                ("self_attn.o_proj", hidden, Some(query), o_bias),
                ("post_attention_layernorm", hidden, None, false),
                ("mlp.gate_proj", intermediate, Some(hidden), self.mlp_bias),
                ("mlp.up_proj", intermediate, Some(hidden), self.mlp_bias),
                ("mlp.down_proj", hidden, Some(intermediate), self.mlp_bias),
            ];
            for (part, outputs, inputs, has_bias) in parts {
                let name = format!("model.layers.{layer}.{part}");
                match inputs {
                    Some(inputs) => add(format!("{name}.weight"), &[outputs, inputs], Role::Linear),
                    None => add(format!("{name}.weight"), &[outputs], Role::Norm),
                }
                if has_bias {
                    add(format!("{name}.bias"), &[outputs], Role::Bias);
                }
            }
        }
        add("model.norm.weight".into(), &[hidden], Role::Norm);
        if !self.tie_word_embeddings {
            add("lm_head.weight".into(), &[self.vocab_size, hidden], Role::Head);
        }
        specs
    }

    /// Number of values, including those of adapters; a tied head counts once.
    pub fn n_parameters(&self) -> usize {
        self.parameters().iter().map(ParameterSpec::n_elements).sum()
    }

    /// Radians per position by which each pair of a head's channels rotates, `[head_dim / 2]`.
    pub fn rotary_frequencies(&self) -> Vec<f64> {
        rotary_frequencies(self.head_dim, self.rope_theta, self.rope_scaling.as_ref())
    }

    /// Total width of all query heads.
    pub fn query_size(&self) -> usize {
        self.num_attention_heads * self.head_dim
    }

    /// Total width of all key heads, and of all value heads.
    pub fn key_value_size(&self) -> usize {
        self.num_key_value_heads * self.head_dim
    }

    /// Rejects sizes that contradict each other.
    pub fn validate(&self) -> Result<()> {
        let sizes = [
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("num_hidden_layers", self.num_hidden_layers),
            ("num_attention_heads", self.num_attention_heads),
            ("num_key_value_heads", self.num_key_value_heads),
            ("head_dim", self.head_dim),
        ];
        let refuse = |key: &str, message: String| Err(Error::config(format!("model.{key}"), message));
        for (key, size) in sizes {
            check::at_least_1(&format!("model.{key}"), size as u64)?;
            if size > LARGEST_SIZE {
                return refuse(key, format!("must be at most {LARGEST_SIZE}, got {size}"));
            }
        }
        if self.num_hidden_layers > MOST_LAYERS {
            let message = format!(
                "must be at most {MOST_LAYERS}, because each is recorded separately, got {}",
                self.num_hidden_layers
            );
            return refuse("num_hidden_layers", message);
        }
        check::at_least_1("model.max_position_embeddings", self.max_position_embeddings as u64)?;
        check::fits_toml("model.max_position_embeddings", self.max_position_embeddings as u64)?;
        let [hidden, heads, kv_heads] = [self.hidden_size, self.num_attention_heads, self.num_key_value_heads];
        // A custom head_dim fits any hidden_size.
        if !hidden.is_multiple_of(heads) && self.head_dim == hidden / heads {
            return refuse(
                "hidden_size",
                format!("hidden_size {hidden} is not divisible by num_attention_heads {heads}"),
            );
        }
        if !heads.is_multiple_of(kv_heads) {
            return refuse(
                "num_key_value_heads",
                format!("num_attention_heads {heads} is not divisible by num_key_value_heads {kv_heads}"),
            );
        }
        if !self.head_dim.is_multiple_of(4) {
            return refuse(
                "head_dim",
                format!("must be a multiple of 4, because attention reads four numbers at once, got {}", self.head_dim),
            );
        }
        if self.head_dim > MAX_HEAD_DIM {
            return refuse(
                "head_dim",
                format!("must be at most {MAX_HEAD_DIM}, which attention keeps in registers, got {}", self.head_dim),
            );
        }
        check::positive("model.rms_norm_eps", self.rms_norm_eps)?;
        check::positive("model.rope_theta", self.rope_theta)?;
        if let Some(scaling) = &self.rope_scaling {
            scaling.validate()?;
        }
        if self.attention_bias == AttentionBias::Qkv && self.mlp_bias {
            let message = "no model of transformers has biases on queries, keys, values and feed-forward layers alone";
            return refuse("mlp_bias", message.into());
        }
        check::positive("model.initializer_range", self.initializer_range)
    }

    /// A preset, or the five sizes without defaults, with everything else in `[model]` on top.
    pub(crate) fn read(mut section: Section) -> Result<Self> {
        let preset = section.get::<String>("preset")?;
        let mut model = match &preset {
            Some(name) => Self::preset(name).map_err(|_| section.error("preset", unknown_preset(name)))?,
            None => Self::SIZELESS,
        };
        // If the preset has as many key heads as query heads, changing the number of heads changes both.
        let plain_attention = model.num_key_value_heads == model.num_attention_heads;
        section.set("vocab_size", &mut model.vocab_size)?;
        section.set("hidden_size", &mut model.hidden_size)?;
        section.set("intermediate_size", &mut model.intermediate_size)?;
        section.set("num_hidden_layers", &mut model.num_hidden_layers)?;
        section.set("num_attention_heads", &mut model.num_attention_heads)?;
        if plain_attention {
            model.num_key_value_heads = model.num_attention_heads;
        }
        section.set("num_key_value_heads", &mut model.num_key_value_heads)?;
        // validate rejects 0 heads.
        model.head_dim = model.hidden_size / model.num_attention_heads.max(1);
        section.set("head_dim", &mut model.head_dim)?;
        section.set("rms_norm_eps", &mut model.rms_norm_eps)?;
        section.set("rope_theta", &mut model.rope_theta)?;
        model.rope_scaling = section.get("rope_scaling")?;
        section.set_word("attention_bias", &mut model.attention_bias)?;
        section.set("mlp_bias", &mut model.mlp_bias)?;
        section.set("tie_word_embeddings", &mut model.tie_word_embeddings)?;
        section.set("max_position_embeddings", &mut model.max_position_embeddings)?;
        section.set("initializer_range", &mut model.initializer_range)?;
        section.finish("unknown key")?;
        let missing = REQUIRED.into_iter().find(|key| preset.is_none() && !section.has(key));
        missing.map_or(Ok(model), |key| {
            Err(section.error(key, format!("missing: set it, or start from a preset: {}", PRESETS.join(", "))))
        })
    }

    /// Common values of GaLore's configurations, without sizes.
    const SIZELESS: Self = Self {
        vocab_size: 0,
        hidden_size: 0,
        intermediate_size: 0,
        num_hidden_layers: 0,
        num_attention_heads: 0,
        num_key_value_heads: 0,
        head_dim: 0,
        rms_norm_eps: 1e-6,
        rope_theta: 10000.0,
        rope_scaling: None,
        attention_bias: AttentionBias::None,
        mlp_bias: false,
        tie_word_embeddings: false,
        max_position_embeddings: 1024,
        initializer_range: 0.02,
        adapter: None,
    };
}

const REQUIRED: [&str; 5] =
    ["vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"];

/// Larger sizes are typing errors; products of three still fit in 64 bits.
const LARGEST_SIZE: usize = 1 << 20;
const MOST_LAYERS: usize = 1000;

fn unknown_preset(name: &str) -> String {
    format!("no preset is called `{name}`; the presets are {}", PRESETS.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// GaLore's configurations: linear, embedding and total counts (shared facts, optimizers 3c).
    #[test]
    fn presets_have_the_published_sizes() {
        let published = [
            ("9m", 802_816, 4_096_000, 8_995_968),
            ("20m", 3_162_112, 8_192_000, 19_548_416),
            ("60m", 25_296_896, 16_384_000, 58_073_600),
            ("130m", 84_934_656, 24_576_000, 134_105_856),
            ("350m", 302_383_104, 32_768_000, 367_969_280),
            ("1b", 1_207_910_400, 65_536_000, 1_339_082_752),
        ];
        for (name, linear, embedding, total) in published {
            let model = ModelConfig::preset(name).unwrap();
            let count = |role| {
                model.parameters().iter().filter(|p| p.role == role).map(ParameterSpec::n_elements).sum::<usize>()
            };
            let counts = [count(Role::Linear), count(Role::Embedding), count(Role::Head), model.n_parameters()];
            assert_eq!(counts, [linear, embedding, embedding, total], "{name}");
        }
        for name in PRESETS {
            ModelConfig::preset(name).unwrap().validate().unwrap();
        }
        let message = ModelConfig::preset("21m").unwrap_err().to_string();
        assert!(message.contains("`21m`") && message.contains("tiny, 9m, 20m"), "{message}");
    }

    #[test]
    fn parameters_stand_in_hugging_faces_names_and_shapes() {
        let model = ModelConfig { num_hidden_layers: 1, ..ModelConfig::preset("tiny").unwrap() };
        let tied: Vec<_> = model.parameters().into_iter().map(|p| (p.name, p.shape, p.role)).collect();
        let expected: [(&str, &[usize], Role); 11] = [
            ("model.embed_tokens.weight", &[1024, 128], Role::Embedding),
            ("model.layers.0.input_layernorm.weight", &[128], Role::Norm),
            ("model.layers.0.self_attn.q_proj.weight", &[128, 128], Role::Linear),
            ("model.layers.0.self_attn.k_proj.weight", &[64, 128], Role::Linear),
            ("model.layers.0.self_attn.v_proj.weight", &[64, 128], Role::Linear),
            ("model.layers.0.self_attn.o_proj.weight", &[128, 128], Role::Linear),
            ("model.layers.0.post_attention_layernorm.weight", &[128], Role::Norm),
            ("model.layers.0.mlp.gate_proj.weight", &[352, 128], Role::Linear),
            ("model.layers.0.mlp.up_proj.weight", &[352, 128], Role::Linear),
            ("model.layers.0.mlp.down_proj.weight", &[128, 352], Role::Linear),
            ("model.norm.weight", &[128], Role::Norm),
        ];
        assert_eq!(tied, expected.map(|(name, shape, role)| (name.to_owned(), shape.to_vec(), role)));
        let untied = ModelConfig { tie_word_embeddings: false, head_dim: 16, ..model };
        let shapes: Vec<_> = untied.parameters().into_iter().map(|p| p.shape).collect();
        assert_eq!([&shapes[2], &shapes[3], &shapes[5]], [&[64, 128], &[32, 128], &[128, 64]], "head_dim of its own");
        assert_eq!(untied.parameters().last().unwrap().name, "lm_head.weight");
    }

    #[test]
    fn biases_follow_their_weights() {
        let one = ModelConfig { num_hidden_layers: 1, ..ModelConfig::preset("tiny").unwrap() };
        let biases = |attention_bias, mlp_bias| -> Vec<(String, Vec<usize>)> {
            let model = ModelConfig { attention_bias, mlp_bias, ..one.clone() };
            let specs = model.parameters();
            for pair in specs.windows(2).filter(|pair| pair[1].role == Role::Bias) {
                assert_eq!(pair[0].name.replace(".weight", ".bias"), pair[1].name);
                assert_eq!(pair[0].shape[..1], pair[1].shape);
            }
            let biases = specs.into_iter().filter(|spec| spec.role == Role::Bias);
            biases.map(|spec| (spec.name.replace("model.layers.0.", ""), spec.shape)).collect()
        };
        let qkv = [("q_proj", 128), ("k_proj", 64), ("v_proj", 64)];
        let qkv = qkv.map(|(name, width)| (format!("self_attn.{name}.bias"), vec![width]));
        assert_eq!(biases(AttentionBias::None, false), []);
        assert_eq!(biases(AttentionBias::Qkv, false), qkv);
        assert_eq!(biases(AttentionBias::All, true).len(), 7);
    }

    #[test]
    fn refuses_sizes_that_do_not_fit() {
        type Change = fn(&mut ModelConfig);
        let cases: [(Change, &str); 9] = [
            (
                |m| (m.hidden_size, m.num_attention_heads, m.head_dim) = (100, 3, 33),
                "100 is not divisible by num_attention_heads 3",
            ),
            (|m| m.num_key_value_heads = 3, "num_attention_heads 4 is not divisible by num_key_value_heads 3"),
            (|m| m.head_dim = 33, "model.head_dim: must be a multiple of 4"),
            (|m| m.num_attention_heads = 0, "model.num_attention_heads: must be at least 1"),
            (|m| m.num_hidden_layers = 0, "model.num_hidden_layers: must be at least 1"),
            (|m| m.vocab_size = usize::MAX, "model.vocab_size: must be at most"),
            (|m| m.rms_norm_eps = f64::NAN, "model.rms_norm_eps: must be finite and above 0, got NaN"),
            (|m| m.rope_theta = 0.0, "model.rope_theta"),
            (|m| m.initializer_range = f64::INFINITY, "model.initializer_range"),
        ];
        for (change, expected) in cases {
            let mut model = ModelConfig::preset("tiny").unwrap();
            change(&mut model);
            let message = model.validate().expect_err(expected).to_string();
            assert!(message.contains(expected), "{message}");
        }
    }
}
