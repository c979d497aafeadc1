//! Hugging Face's config.json, as transformers 4 and 5 write it.

use serde::Deserialize;
use serde_json::{Value, json};

use super::ModelConfig;
use crate::{Error, Result};

impl ModelConfig {
    /// Reads config.json of a LLaMA model; refuses what this program would compute wrongly.
    pub fn from_hf_json(text: &str) -> Result<Self> {
        let file: HfConfig = serde_json::from_str(text).map_err(|e| Error::config("config.json", e.to_string()))?;
        file.refuse_unsupported()?;
        let need = |key: &str, size: Option<usize>| size.ok_or_else(|| refusal(key, "missing"));
        let hidden_size = need("hidden_size", file.hidden_size)?;
        let num_attention_heads = need("num_attention_heads", file.num_attention_heads)?;
        let rope_theta = file.rope_parameters.and_then(|rope| rope.rope_theta).or(file.rope_theta);
        // What is absent below has the default of transformers' LlamaConfig.
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
            tie_word_embeddings: file.tie_word_embeddings.unwrap_or(false),
            max_position_embeddings: file.max_position_embeddings.unwrap_or(2048),
            initializer_range: file.initializer_range.unwrap_or(0.02),
            adapter: None,
        };
        model.validate().map_err(|error| match error {
            Error::Config { key, message } => refusal(key.trim_start_matches("model."), &message),
            other => other,
        })?;
        Ok(model)
    }

    /// config.json of this model in float32, for transformers 4 (`rope_theta`, `torch_dtype`)
    /// and 5 (`rope_parameters`, `dtype`) alike.
    ///
    /// A token that is `None` is written as null: left out, transformers would take its own, 1 and 2.
    pub fn to_hf_json(&self, bos_token_id: Option<u32>, eos_token_id: Option<u32>) -> Value {
        json!({
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
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
            "rope_parameters": { "rope_theta": self.rope_theta, "rope_type": "default" },
            "tie_word_embeddings": self.tie_word_embeddings,
            "max_position_embeddings": self.max_position_embeddings,
            "initializer_range": self.initializer_range,
            "attention_bias": false,
            "attention_dropout": 0.0,
            "mlp_bias": false,
            "bos_token_id": bos_token_id,
            "eos_token_id": eos_token_id,
            "pad_token_id": null,
            "use_cache": true,
            "torch_dtype": "float32",
            "dtype": "float32",
        })
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
    quantization_config: Option<Value>,
}

#[derive(Deserialize)]
struct Rope {
    rope_theta: Option<f64>,
    #[serde(alias = "type")] // transformers before 4.43
    rope_type: Option<String>,
    partial_rotary_factor: Option<f64>,
}

impl HfConfig {
    fn refuse_unsupported(&self) -> Result<()> {
        match self.model_type.as_deref() {
            Some("llama") => {}
            Some(other) => return Err(refusal("model_type", &format!("only `llama` is supported, got `{other}`"))),
            None => return Err(refusal("model_type", "missing; only `llama` is supported")),
        }
        let mut turned = vec![self.partial_rotary_factor];
        for (key, rope) in [("rope_parameters", &self.rope_parameters), ("rope_scaling", &self.rope_scaling)] {
            let Some(rope) = rope else { continue };
            // Files of transformers 4 may name only a factor, which means scaling.
            let kind = rope.rope_type.as_deref().unwrap_or(if key == "rope_scaling" { "scaled" } else { "default" });
            if kind != "default" {
                let message = format!("only the default rotary positions are supported, got rope_type `{kind}`");
                return Err(refusal(key, &message));
            }
            turned.push(rope.partial_rotary_factor);
        }
        if let Some(factor) = turned.into_iter().flatten().find(|&factor| factor != 1.0) {
            let message = format!("rotary positions must turn whole heads, got {factor}");
            return Err(refusal("partial_rotary_factor", &message));
        }
        if let Some(other) = self.hidden_act.as_deref().filter(|&act| act != "silu" && act != "swish") {
            return Err(refusal("hidden_act", &format!("only `silu` is supported, got `{other}`")));
        }
        for (key, bias) in [("attention_bias", self.attention_bias), ("mlp_bias", self.mlp_bias)] {
            if bias == Some(true) {
                return Err(refusal(key, "biases are not supported, it must be false"));
            }
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
            let model = ModelConfig { rope_theta: 500_000.0, ..ModelConfig::preset(name).unwrap() };
            let json = model.to_hf_json(Some(1), None);
            assert_eq!(ModelConfig::from_hf_json(&json.to_string()).unwrap(), model);
            assert_eq!([&json["bos_token_id"], &json["eos_token_id"]], [&json!(1), &Value::Null]);
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
        let bad = [
            (json!({ "rope_scaling": { "type": "linear", "factor": 2.0 } }), "rope_type `linear`"),
            (json!({ "rope_scaling": { "factor": 2.0 } }), "rope_scaling: only the default"),
            (json!({ "rope_parameters": { "rope_type": "llama3", "rope_theta": 5e5 } }), "rope_type `llama3`"),
            (json!({ "rope_parameters": { "partial_rotary_factor": 0.5 } }), "whole heads, got 0.5"),
            (json!({ "partial_rotary_factor": 0.25 }), "whole heads, got 0.25"),
            (json!({ "attention_bias": true }), "config.json: attention_bias: biases"),
            (json!({ "mlp_bias": true }), "config.json: mlp_bias: biases"),
            (json!({ "hidden_act": "gelu" }), "only `silu` is supported, got `gelu`"),
            (json!({ "model_type": "mistral" }), "only `llama` is supported, got `mistral`"),
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
