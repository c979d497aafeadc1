use std::fs;

use half::f16;

use super::blocks::Encoding;
use super::*;
use crate::checkpoint::testing::{parameters_of, small};
use crate::settings::{AttentionBias, RopeScaling};

/// Writes a file as llama.cpp does, version 3.
#[derive(Default)]
struct Writer {
    keys: Vec<Vec<u8>>,
    tensors: Vec<(String, Vec<usize>, u32, Vec<u8>)>,
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}

impl Writer {
    fn key(&mut self, key: &str, kind: u32, value: &[u8]) {
        self.keys.push([&text(key)[..], &kind.to_le_bytes(), value].concat());
    }

    fn size(&mut self, key: &str, value: u32) {
        self.key(key, 4, &value.to_le_bytes());
    }

    fn texts(&mut self, key: &str, values: &[&str]) {
        let items: Vec<u8> = values.iter().flat_map(|value| text(value)).collect();
        self.key(key, 9, &[&8u32.to_le_bytes()[..], &(values.len() as u64).to_le_bytes(), &items].concat());
    }

    fn floats(&mut self, name: &str, shape: &[usize], values: &[f32]) {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.tensors.push((name.to_owned(), shape.to_vec(), 0, bytes));
    }

    fn bytes(&self) -> Vec<u8> {
        let counts = [self.tensors.len() as u64, self.keys.len() as u64];
        let mut bytes = [&b"GGUF"[..], &3u32.to_le_bytes(), &counts.map(u64::to_le_bytes).concat()].concat();
        bytes.extend(self.keys.iter().flatten());
        let mut data = Vec::new();
        for (name, shape, kind, values) in &self.tensors {
            bytes.extend(text(name));
            bytes.extend((shape.len() as u32).to_le_bytes());
            bytes.extend(shape.iter().rev().flat_map(|side| (*side as u64).to_le_bytes()));
            bytes.extend(kind.to_le_bytes());
            bytes.extend((data.len() as u64).to_le_bytes());
            data.extend(values);
            data.resize(data.len().next_multiple_of(32), 0);
        }
        bytes.resize(bytes.len().next_multiple_of(32), 0);
        bytes.extend(data);
        bytes
    }
}

/// A file with the settings and parameters of `config`, in llama.cpp's order: heads of q and k in neighbouring pairs.
fn written(arch: &str, config: &ModelConfig, parameters: &[NamedTensor]) -> Writer {
    let mut file = Writer::default();
    file.key("general.architecture", 8, &text(arch));
    for (key, value) in [
        ("embedding_length", config.hidden_size),
        ("feed_forward_length", config.intermediate_size),
        ("block_count", config.num_hidden_layers),
        ("attention.head_count", config.num_attention_heads),
        ("attention.head_count_kv", config.num_key_value_heads),
        ("attention.key_length", config.head_dim),
        ("context_length", config.max_position_embeddings),
    ] {
        file.size(&format!("{arch}.{key}"), value as u32);
    }
    for (key, value) in
        [("rope.freq_base", config.rope_theta), ("attention.layer_norm_rms_epsilon", config.rms_norm_eps)]
    {
        file.key(&format!("{arch}.{key}"), 6, &(value as f32).to_le_bytes());
    }
    if let Some(RopeScaling::Linear { factor }) = config.rope_scaling {
        file.key(&format!("{arch}.rope.scaling.type"), 8, &text("linear"));
        file.key(&format!("{arch}.rope.scaling.factor"), 6, &(factor as f32).to_le_bytes());
    }
    for NamedTensor { name, shape, values } in parameters {
        let theirs = match name.as_str() {
            "model.embed_tokens.weight" => "token_embd.weight".to_owned(),
            "model.norm.weight" => "output_norm.weight".to_owned(),
            "lm_head.weight" => "output.weight".to_owned(),
            name => {
                let mut name = name.replace("model.layers", "blk").replace("_proj", "");
                for (ours, theirs) in [
                    ("input_layernorm", "attn_norm"),
                    ("post_attention_layernorm", "ffn_norm"),
                    ("self_attn.o", "attn_output"),
                    ("self_attn.", "attn_"),
                    ("mlp.", "ffn_"),
                ] {
                    name = name.replace(ours, theirs);
                }
                name
            }
        };
        let mut values = values.clone();
        if arch == "llama" && (theirs.contains("attn_q") || theirs.contains("attn_k")) {
            // As convert_hf_to_gguf.py permutes: reshape(heads, 2, D/2, …).swapaxes(1, 2).
            let (width, half) = (values.len() / shape[0], config.head_dim / 2);
            let row = |row: usize| values[row * width..][..width].to_vec();
            let heads = (0..shape[0] / config.head_dim).map(|head| head * config.head_dim);
            values =
                heads.flat_map(|head| (0..half).flat_map(move |i| [head + i, head + half + i])).flat_map(row).collect();
        }
        file.floats(&theirs, shape, &values);
    }
    file
}

fn saved(file: &Writer) -> (tempfile::TempDir, std::path::PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.gguf");
    fs::write(&path, file.bytes()).unwrap();
    (dir, path)
}

#[test]
fn models_come_back_as_they_were() {
    let plain = small();
    let linear = Some(RopeScaling::Linear { factor: 2.0 });
    let untied = ModelConfig { tie_word_embeddings: false, rope_scaling: linear, ..small() };
    let all = ModelConfig { attention_bias: AttentionBias::All, mlp_bias: true, ..small() };
    let qwen2 = ModelConfig { attention_bias: AttentionBias::Qkv, rope_theta: 1e6, ..small() };
    for (arch, config) in [("llama", plain), ("llama", untied), ("llama", all), ("qwen2", qwen2)] {
        let parameters = parameters_of(&config, 0.5);
        let (_dir, path) = saved(&written(arch, &config, &parameters));
        assert!(is_gguf(&path));
        assert_eq!(load_config(&path).unwrap(), config);
        assert_eq!(load_model(&path).unwrap(), (config, parameters));
    }
}

#[test]
fn llama_3_s_scaling_is_found_again() {
    let scaling = RopeScaling::Llama3 {
        factor: 8.0,
        low_freq_factor: 1.0,
        high_freq_factor: 4.0,
        original_max_position_embeddings: 8192,
    };
    let plain = ModelConfig { head_dim: 64, rope_theta: 500_000.0, num_hidden_layers: 1, ..small() };
    let config = ModelConfig { rope_scaling: Some(scaling), ..plain.clone() };
    let mut file = written("llama", &plain, &parameters_of(&plain, 0.0));
    let divisors: Vec<f32> = plain
        .rotary_frequencies()
        .iter()
        .zip(config.rotary_frequencies())
        .map(|(plain, stretched)| (plain / stretched) as f32)
        .collect();
    file.floats("rope_freqs.weight", &[32], &divisors);
    let (_dir, path) = saved(&file);
    assert_eq!(load_model(&path).unwrap().0, config);
    file.tensors.pop();
    file.floats("rope_freqs.weight", &[32], &[2.0; 32]);
    let (_dir, path) = saved(&file);
    assert!(load_config(&path).unwrap_err().to_string().contains("factors other than LLaMA 3's"));
}

/// Handmade blocks, decoded as by ggml's dequantize functions.
#[test]
fn numbers_in_few_bits() {
    let half = |value: f32| f16::from_f32(value).to_le_bytes();
    // Low halves count up, high halves down.
    let counted: Vec<u8> = (0..16).map(|i| i | (15 - i) << 4).collect();
    let up_and_down = |f: fn(f32) -> f32| -> Vec<f32> { (0..16).chain((0..16).rev()).map(|i| f(i as f32)).collect() };
    let block = |parts: &[&[u8]]| parts.concat();
    let q4_0 = Encoding::Q4_0.values(&block(&[&half(0.5), &counted]));
    assert_eq!(q4_0, up_and_down(|q| 0.5 * (q - 8.0)));
    let q4_1 = Encoding::Q4_1.values(&block(&[&half(0.5), &half(-1.0), &counted]));
    assert_eq!(q4_1, up_and_down(|q| 0.5 * q - 1.0));
    // The fifth bit of the first and the last value.
    let q5_0 = Encoding::Q5_0.values(&block(&[&half(1.0), &0x8000_0001u32.to_le_bytes(), &counted]));
    assert_eq!((q5_0[0], q5_0[1], q5_0[31]), (0.0, -15.0, 0.0));
    let q5_1 = Encoding::Q5_1.values(&block(&[&half(1.0), &half(3.0), &2u32.to_le_bytes(), &counted]));
    assert_eq!((q5_1[0], q5_1[1], q5_1[31]), (3.0, 20.0, 3.0));
    let signed: Vec<u8> = (0..32).map(|i| (i - 16) as i8 as u8).collect();
    let q8_0 = Encoding::Q8_0.values(&block(&[&half(0.25), &signed]));
    assert_eq!((q8_0[0], q8_0[31]), (-4.0, 3.75));

    // Scales 1 to 8 and minima 8 to 1: the first four in six bits each, the others split into four and two.
    let mut scales = [0u8; 12];
    for part in 0..8 {
        let (scale, min) = (part as u8 + 1, 8 - part as u8);
        if part < 4 {
            scales[part] = scale;
            scales[part + 4] = min;
        } else {
            scales[part + 4] = scale | min << 4;
        }
    }
    // A high bit pair: scale 1 + 16·2 of the fifth group.
    scales[0] |= 2 << 6;
    let low = [0x21u8; 128];
    let q4_k = Encoding::Q4K.values(&block(&[&half(2.0), &half(0.5), &scales, &low]));
    assert_eq!((q4_k[0], q4_k[32], q4_k[64]), (2.0 - 4.0, 2.0 * 2.0 * 2.0 - 3.5, 2.0 * 3.0 - 3.0));
    assert_eq!((q4_k[128], q4_k[255]), (2.0 * 37.0 - 2.0, 2.0 * 8.0 * 2.0 - 0.5));
    let high = [0b1000_0001u8; 32];
    let q5_k = Encoding::Q5K.values(&block(&[&half(2.0), &half(0.5), &scales, &high, &low]));
    assert_eq!((q5_k[0], q5_k[32], q5_k[255]), (2.0 * 17.0 - 4.0, 2.0 * 2.0 * 2.0 - 3.5, 2.0 * 8.0 * 18.0 - 0.5));

    let scales: Vec<u8> = (0..16).map(|i| (i - 8) as i8 as u8).collect();
    let high = [0b11_10_01_00u8; 64];
    let q6_k = Encoding::Q6K.values(&block(&[&[0x21; 128], &high, &scales, &half(1.0)]));
    // Groups of 32 take their high bits from the lowest pair up, their low bits from nibble 1, 1, 2, 2.
    assert_eq!((q6_k[0], q6_k[16], q6_k[32]), (-8.0 * (1.0 - 32.0), -7.0 * (1.0 - 32.0), -6.0 * (17.0 - 32.0)));
    assert_eq!(
        (q6_k[64], q6_k[96], q6_k[128], q6_k[255]),
        (-4.0 * (34.0 - 32.0), -2.0 * (50.0 - 32.0), 0.0, 7.0 * 18.0)
    );
    assert_eq!(Encoding::Q4K.bytes(255), None, "only whole blocks");
}

#[test]
fn tokenizers_come_along() {
    let mut file = Writer::default();
    file.key("tokenizer.ggml.model", 8, &text("gpt2"));
    file.key("tokenizer.ggml.pre", 8, &text("smollm"));
    let mut tokens: Vec<String> = Tokenizer::byte_texts();
    tokens.extend(["Ġt", "he", "Ġthe", "<|end|>"].map(str::to_owned));
    file.texts("tokenizer.ggml.tokens", &tokens.iter().map(String::as_str).collect::<Vec<_>>());
    file.texts("tokenizer.ggml.merges", &["Ġ t", "h e", "Ġt he"]);
    let types: Vec<u8> = (0..260).flat_map(|id| if id == 259 { 3i32 } else { 1 }.to_le_bytes()).collect();
    let list = [&5u32.to_le_bytes()[..], &260u64.to_le_bytes(), &types].concat();
    file.key("tokenizer.ggml.token_type", 9, &list);
    file.size("tokenizer.ggml.eos_token_id", 259);
    let (_dir, path) = saved(&file);
    let tokenizer = load_tokenizer(&path).unwrap();
    assert_eq!((tokenizer.vocab_size(), tokenizer.end_of_text()), (260, Some(259)));
    assert_eq!(tokenizer.encode("a the 12<|end|>").unwrap(), [97, 258, 32, 49, 50, 259]);

    // SentencePiece: the pair with the better score first, bytes for anything without a token.
    let mut file = Writer::default();
    file.key("tokenizer.ggml.model", 8, &text("llama"));
    let bytes: Vec<String> = (0..256).map(|byte| format!("<0x{byte:02X}>")).collect();
    let pieces = ["<unk>", "</s>", "▁", "a", "b", "▁a", "ab", "▁ab"];
    let tokens: Vec<&str> = pieces.iter().copied().chain(bytes.iter().map(String::as_str)).collect();
    file.texts("tokenizer.ggml.tokens", &tokens);
    let scores = (0..264).flat_map(|id| if id == 6 { -1.0f32 } else { -(id as f32) - 2.0 }.to_le_bytes());
    let list = [&6u32.to_le_bytes()[..], &264u64.to_le_bytes(), &scores.collect::<Vec<u8>>()].concat();
    file.key("tokenizer.ggml.scores", 9, &list);
    let types: Vec<u8> = (0..264)
        .flat_map(|id| {
            match id {
                0 => 2i32,
                1 => 3,
                8.. => 6,
                _ => 1,
            }
            .to_le_bytes()
        })
        .collect();
    file.key("tokenizer.ggml.token_type", 9, &[&5u32.to_le_bytes()[..], &264u64.to_le_bytes(), &types].concat());
    file.size("tokenizer.ggml.eos_token_id", 1);
    let (_dir, path) = saved(&file);
    let tokenizer = load_tokenizer(&path).unwrap();
    assert_eq!(tokenizer.encode("ab a\n").unwrap(), [7, 5, 8 + 10]);
    assert_eq!(tokenizer.decode(&[7, 5, 8 + 10]).unwrap(), "ab a\n");
}

#[test]
fn messages() {
    let config = small();
    let parameters = parameters_of(&config, 0.5);
    let whole = written("llama", &config, &parameters).bytes();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.gguf");
    let message = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        load_model(&path).unwrap_err().to_string()
    };
    assert!(message(b"GGML").ends_with("is not a GGUF file: it does not begin with `GGUF`"));
    assert!(message(&whole[..100]).contains("is not a complete GGUF file"), "{}", message(&whole[..100]));
    assert!(message(&whole[..whole.len() - 64]).contains("reaches past the end of the file: is it whole?"));
    assert!(message(&[b"GGUF", &1u32.to_le_bytes()[..]].concat()).contains("version 1; 2 and 3 are read"));
    let huge = [b"GGUF", &3u32.to_le_bytes()[..], &u64::MAX.to_le_bytes()].concat();
    assert!(message(&huge).contains("items of 24 bytes or more, but there is room for 0"), "{}", message(&huge));
    assert!(message(&written("gemma", &config, &parameters).bytes()).contains("architecture gemma; llama and qwen2"));
    let mut few = written("llama", &config, &parameters);
    few.tensors.retain(|(name, ..)| name != "blk.1.ffn_up.weight");
    assert!(message(&few.bytes()).ends_with("blk.1.ffn_up.weight is missing"));
    few.floats("blk.1.ffn_up.weight", &[1], &[0.0]);
    assert!(message(&few.bytes()).contains("blk.1.ffn_up.weight has shape [1], but the settings require [12, 8]"));
    few.tensors.last_mut().unwrap().2 = 10;
    assert!(message(&few.bytes()).contains("in an unsupported encoding (ggml's type 10)"));
    let mut scalar = written("llama", &config, &parameters);
    scalar.tensors.retain(|(name, ..)| name != "token_embd.weight");
    scalar.floats("token_embd.weight", &[], &[0.0]);
    assert!(message(&scalar.bytes()).contains("token_embd.weight has shape []; a matrix is expected"));
}
