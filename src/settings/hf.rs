//! Hugging Face's config.json, in the formats of transformers 4 and 5.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{AttentionBias, ModelConfig, RopeScaling};
use crate::{Error, Result};

impl ModelConfig {
    /// Reads config.json of a LLaMA model, or of one that computes the same (Mistral) or nearly so (Qwen2, whose
    /// queries, keys and values have biases); rejects models that this program would compute incorrectly.
    pub fn from_hf_json(text: &str) -> Result<Self> {
        let file: HfConfig = serde_json::from_str(text).map_err(|e| Error::config("config.json", e.to_string()))?;
        file.refuse_unsupported()?;
        let need = |key: &str, size: Option<usize>| size.ok_or_else(|| refusal(key, "missing"));
        let hidden_size = need("hidden_size", file.hidden_size)?;
        let num_attention_heads = need("num_attention_heads", file.num_attention_heads)?;
        let kind = file.model_type.as_deref().unwrap_or_default();
        let rope_theta = file.rope_parameters.as_ref().and_then(|rope| rope.rope_theta).or(file.rope_theta);
        let rope_scaling = file.rope_scaling()?;
        let max_position_embeddings = file.max_position_embeddings.unwrap_or(2048);
        // Up to the width of its window, sliding-window attention is full attention.
        let window = file.sliding_window.filter(|_| kind == "mistral" || file.use_sliding_window == Some(true));
        // Keys absent below have the defaults of transformers' LlamaConfig.
        let model = Self {
            vocab_size: need("vocab_size", file.vocab_size)?,
            hidden_size,
            intermediate_size: need("intermediate_size", file.intermediate_size)?,
            num_hidden_layers: need("num_hidden_layers", file.num_hidden_layers)?,
            num_attention_heads,
            num_key_value_heads: file.num_key_value_heads.unwrap_or(num_attention_heads),
            head_dim: file.head_dim.unwrap_or(hidden_size / num_attention_heads.max(1)),
            rms_norm_eps: file.rms_norm_eps.unwrap_or(1e-6),
            rope_theta: rope_theta.unwrap_or(10000.0),
            rope_scaling,
            attention_bias: match (kind, file.attention_bias) {
                ("qwen2", _) => AttentionBias::Qkv,
                (_, Some(true)) => AttentionBias::All,
                _ => AttentionBias::None,
            },
            mlp_bias: file.mlp_bias.unwrap_or(false),
            tie_word_embeddings: file.tie_word_embeddings.unwrap_or(false),
            max_position_embeddings: max_position_embeddings.min(window.unwrap_or(usize::MAX)),
            initializer_range: file.initializer_range.unwrap_or(0.02),
            adapter: None,
        };
        model.validate().map_err(|error| match error {
            Error::Config { key, message } => refusal(key.trim_start_matches("model."), &message),
            other => other,
        })?;
        Ok(model)
    }

    /// config.json of this model in float32, for transformers 4 (`rope_theta`, `torch_dtype`) and 5 (`rope_parameters`,
    /// `dtype`).
    ///
    /// A token that is `None` is written as null: if it were omitted, transformers would use its own defaults, 1 and 2.
    pub fn to_hf_json(&self, bos_token_id: Option<u32>, eos_token_id: Option<u32>) -> Value {
        let is_qwen2 = self.attention_bias == AttentionBias::Qkv;
        let mut rope = match &self.rope_scaling {
            Some(scaling) => serde_json::to_value(scaling).expect("plain data is always JSON"),
            None => json!({ "rope_type": "default" }),
        };
        let rope_scaling = self.rope_scaling.map(|_| rope.clone());
        rope["rope_theta"] = self.rope_theta.into();
        let mut config = json!({
            "architectures": [if is_qwen2 { "Qwen2ForCausalLM" } else { "LlamaForCausalLM" }],
            "model_type": if is_qwen2 { "qwen2" } else { "llama" },
            "vocab_size": self.vocab_size,
            "hidden_size": self.hidden_size,
            "intermediate_size": self.intermediate_size,
            "num_hidden_layers": self.num_hidden_layers,
            "num_attention_heads": self.num_attention_heads,
            "num_key_value_heads": self.num_key_value_heads,
            "head_dim": self.head_dim,
            "hidden_act": "silu",
            "rms_norm_eps": self.rms_norm_eps,
            "rope_theta": self.rope_theta,
            "rope_parameters": rope,
            "tie_word_embeddings": self.tie_word_embeddings,
            "max_position_embeddings": self.max_position_embeddings,
            "initializer_range": self.initializer_range,
            "attention_dropout": 0.0,
            "bos_token_id": bos_token_id,
            "eos_token_id": eos_token_id,
            "pad_token_id": null,
            "use_cache": true,
            "torch_dtype": "float32",
            "dtype": "float32",
        });
        if let Some(scaling) = rope_scaling {
            config["rope_scaling"] = scaling;
        }
        if is_qwen2 {
            config["use_sliding_window"] = false.into();
        } else {
            config["attention_bias"] = (self.attention_bias == AttentionBias::All).into();
            config["mlp_bias"] = self.mlp_bias.into();
        }
        config
    }
}

#[derive(Deserialize)]
struct HfConfig {
    model_type: Option<String>,
    vocab_size: Option<usize>,
    hidden_size: Option<usize>,
    intermediate_size: Option<usize>,
    num_hidden_layers: Option<usize>,
    num_attention_heads: Option<usize>,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    rms_norm_eps: Option<f64>,
    rope_theta: Option<f64>,
    rope_parameters: Option<Rope>,
    rope_scaling: Option<Rope>,
    partial_rotary_factor: Option<f64>,
    tie_word_embeddings: Option<bool>,
    max_position_embeddings: Option<usize>,
    initializer_range: Option<f64>,
    hidden_act: Option<String>,
    attention_bias: Option<bool>,
    mlp_bias: Option<bool>,
    sliding_window: Option<usize>,
    use_sliding_window: Option<bool>,
    quantization_config: Option<Value>,
}

#[derive(Deserialize)]
struct Rope {
    rope_theta: Option<f64>,
    rope_type: Option<String>,
    /// Its name before transformers 4.43; 4.46 writes both.
    r#type: Option<String>,
    partial_rotary_factor: Option<f64>,
    factor: Option<f64>,
    low_freq_factor: Option<f64>,
    high_freq_factor: Option<f64>,
    original_max_position_embeddings: Option<usize>,
}

impl Rope {
    fn scaling(&self, key: &str, without_type: &str) -> Result<Option<RopeScaling>> {
        let need = |name: &str, value: Option<f64>| value.ok_or_else(|| refusal(key, &format!("{name} is missing")));
        let kind = self.rope_type.as_ref().or(self.r#type.as_ref()).map_or(without_type, String::as_str);
        Ok(Some(match kind {
            "default" => return Ok(None),
            "linear" => RopeScaling::Linear { factor: need("factor", self.factor)? },
            "llama3" => RopeScaling::Llama3 {
                factor: need("factor", self.factor)?,
                low_freq_factor: need("low_freq_factor", self.low_freq_factor)?,
                high_freq_factor: need("high_freq_factor", self.high_freq_factor)?,
                original_max_position_embeddings: self
                    .original_max_position_embeddings
                    .ok_or_else(|| refusal(key, "original_max_position_embeddings is missing"))?,
            },
            other => {
                let message = format!("rope_type must be default, linear or llama3, got `{other}`");
                return Err(refusal(key, &message));
            }
        }))
    }
}

impl HfConfig {
    fn rope_scaling(&self) -> Result<Option<RopeScaling>> {
        // Files of transformers 4 may specify only a factor, which meant linear scaling.
        let of_4 = self.rope_scaling.as_ref().map(|rope| rope.scaling("rope_scaling", "linear")).transpose()?;
        let of_5 = self.rope_parameters.as_ref().map(|rope| rope.scaling("rope_parameters", "default")).transpose()?;
        Ok(of_5.flatten().or(of_4.flatten()))
    }

    fn refuse_unsupported(&self) -> Result<()> {
        const SUPPORTED: &str = "llama, mistral and qwen2 are supported";
        match self.model_type.as_deref() {
            Some("llama" | "mistral" | "qwen2") => {}
            Some(other) => return Err(refusal("model_type", &format!("{SUPPORTED}, got `{other}`"))),
            None => return Err(refusal("model_type", &format!("missing; {SUPPORTED}"))),
        }
        let rope = [&self.rope_parameters, &self.rope_scaling].map(|rope| rope.as_ref()?.partial_rotary_factor);
        let turned = rope.into_iter().chain([self.partial_rotary_factor]);
        if let Some(factor) = turned.flatten().find(|&factor| factor != 1.0) {
            let message = format!("rotary positions must turn whole heads, got {factor}");
            return Err(refusal("partial_rotary_factor", &message));
        }
        if let Some(other) = self.hidden_act.as_deref().filter(|&act| act != "silu" && act != "swish") {
            return Err(refusal("hidden_act", &format!("only `silu` is supported, got `{other}`")));
        }
        if self.quantization_config.is_some() {
            return Err(refusal("quantization_config", "quantized weights are not supported"));
        }
        Ok(())
    }
}

fn refusal(key: &str, message: &str) -> Error {
    Error::config(format!("config.json: {key}"), message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        for name in super::super::PRESETS {
            let plain = ModelConfig { rope_theta: 500_000.0, ..ModelConfig::preset(name).unwrap() };
            let llama3 = RopeScaling::Llama3 {
                factor: 8.0,
                low_freq_factor: 1.0,
                high_freq_factor: 4.0,
                original_max_position_embeddings: 256,
            };
            let scaled = |rope_scaling| ModelConfig { rope_scaling: Some(rope_scaling), ..plain.clone() };
            let qkv = ModelConfig { attention_bias: AttentionBias::Qkv, ..plain.clone() };
            let all = ModelConfig { attention_bias: AttentionBias::All, mlp_bias: true, ..plain.clone() };
            for model in [plain.clone(), scaled(RopeScaling::Linear { factor: 2.0 }), scaled(llama3), qkv, all] {
                let json = model.to_hf_json(Some(1), None);
                assert_eq!(ModelConfig::from_hf_json(&json.to_string()).unwrap(), model);
                assert_eq!([&json["bos_token_id"], &json["eos_token_id"]], [&json!(1), &Value::Null]);
            }
        }
    }

    #[test]
    fn reads_files_of_transformers_4_and_5() {
        let file = |more: Value| {
            let mut all = json!({
                "model_type": "llama", "vocab_size": 512, "hidden_size": 64, "intermediate_size": 96,
                "num_hidden_layers": 2, "num_attention_heads": 4,
            });
            all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            ModelConfig::from_hf_json(&all.to_string())
        };
        let plain = file(json!({})).unwrap();
        assert_eq!((plain.num_key_value_heads, plain.head_dim, plain.rope_theta), (4, 16, 10000.0));
        assert_eq!((plain.tie_word_embeddings, plain.max_position_embeddings), (false, 2048));
        let good = [
            json!({ "rope_theta": 5e5, "rope_scaling": null, "num_key_value_heads": null, "torch_dtype": "bfloat16" }),
            json!({ "rope_parameters": { "rope_theta": 5e5, "rope_type": "default" }, "dtype": "bfloat16" }),
            json!({ "rope_theta": 500000, "rope_scaling": { "rope_type": "default" }, "pretraining_tp": 1 }),
        ];
        for more in good {
            assert_eq!(file(more.clone()).unwrap(), ModelConfig { rope_theta: 5e5, ..plain.clone() }, "{more}");
        }
        let linear = Some(RopeScaling::Linear { factor: 2.0 });
        let scaled = [
            json!({ "rope_scaling": { "type": "linear", "factor": 2.0 } }),
            json!({ "rope_scaling": { "factor": 2 } }),
            json!({ "rope_scaling": { "type": "linear", "rope_type": "linear", "factor": 2.0 } }),
            json!({ "rope_parameters": { "rope_type": "linear", "factor": 2.0, "rope_theta": 1e4 } }),
        ];
        for more in scaled {
            assert_eq!(file(more.clone()).unwrap(), ModelConfig { rope_scaling: linear, ..plain.clone() }, "{more}");
        }
        let biased = file(json!({ "attention_bias": true, "mlp_bias": true })).unwrap();
        assert_eq!((biased.attention_bias, biased.mlp_bias), (AttentionBias::All, true));
        let qwen = file(json!({ "model_type": "qwen2", "sliding_window": 64, "use_sliding_window": false })).unwrap();
        assert_eq!((qwen.attention_bias, qwen.max_position_embeddings), (AttentionBias::Qkv, 2048));
        let mistral = file(json!({ "model_type": "mistral", "sliding_window": 64, "head_dim": 32 })).unwrap();
        assert_eq!((mistral.max_position_embeddings, mistral.head_dim), (64, 32), "as far as the window is all");
        assert_eq!(file(json!({ "num_attention_heads": 3, "head_dim": 24 })).unwrap().query_size(), 72);
        let bad = [
            (json!({ "rope_scaling": { "type": "yarn", "factor": 2.0 } }), "default, linear or llama3, got `yarn`"),
            (json!({ "rope_scaling": { "type": "linear", "factor": 0.5 } }), "factor: must be at least 1, got 0.5"),
            (json!({ "rope_parameters": { "rope_type": "llama3", "rope_theta": 5e5 } }), "factor is missing"),
            (json!({ "rope_parameters": { "partial_rotary_factor": 0.5 } }), "whole heads, got 0.5"),
            (json!({ "partial_rotary_factor": 0.25 }), "whole heads, got 0.25"),
            (json!({ "hidden_act": "gelu" }), "only `silu` is supported, got `gelu`"),
            (json!({ "model_type": "gpt2" }), "llama, mistral and qwen2 are supported, got `gpt2`"),
            (json!({ "model_type": null }), "model_type: missing"),
            (json!({ "vocab_size": null }), "config.json: vocab_size: missing"),
            (json!({ "quantization_config": { "bits": 4 } }), "quantized"),
            (json!({ "num_attention_heads": 3 }), "config.json: hidden_size: hidden_size 64 is not divisible"),
            (json!({ "num_attention_heads": 0 }), "config.json: num_attention_heads: must be at least 1"),
            (json!({ "hidden_size": "64" }), "expected usize"),
        ];
        for (more, expected) in bad {
            let message = file(more.clone()).expect_err(expected).to_string();
            assert!(message.contains(expected), "{more}: {message}");
        }
    }
}
