//! The tokenizer in a GGUF file, as Hugging Face's tokenizer.json.

use std::collections::HashMap;

use serde_json::{Map, Value as Json, json};

use super::reader::{Gguf, Value, missing};
use crate::data::tokenizer::Tokenizer;
use crate::{Error, Result};

/// Token types of llama.cpp: unknown, control and user-defined tokens are matched before all others.
const UNKNOWN: i64 = 2;
const CONTROL: i64 = 3;
const USER_DEFINED: i64 = 4;

pub fn tokenizer(file: &Gguf) -> Result<Tokenizer> {
    let kind = file.text_if_any("tokenizer.ggml.model")?.ok_or_else(|| missing("tokenizer.ggml.model"))?;
    let tokens = file.texts("tokenizer.ggml.tokens")?;
    let types = match file.get("tokenizer.ggml.token_type") {
        Some(Value::Wholes(types)) if types.len() == tokens.len() => types.clone(),
        None => vec![1; tokens.len()],
        Some(_) => return Err(Error::Data("tokenizer.ggml.token_type has other tokens than there are".into())),
    };
    let mut json = match kind {
        "gpt2" => byte_level(file)?,
        "llama" => sentence_piece(file, tokens)?,
        other => return Err(Error::Data(format!("has a tokenizer of the kind {other}; gpt2 and llama are read"))),
    };
    let vocab: Map<String, Json> = tokens.iter().cloned().zip((0..).map(Json::from)).collect();
    if vocab.len() != tokens.len() {
        return Err(Error::Data("two tokens of its tokenizer have one text".into()));
    }
    json["model"]["vocab"] = vocab.into();
    let is_added = |kind: i64| [UNKNOWN, CONTROL, USER_DEFINED].contains(&kind);
    let added =
        tokens.iter().zip(&types).enumerate().filter(|(_, (_, kind))| is_added(**kind)).map(|(id, (content, kind))| {
            json!({
                "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": *kind != USER_DEFINED,
            })
        });
    json["added_tokens"] = added.collect::<Vec<_>>().into();
    let end = file.size_if_any("tokenizer.ggml.eos_token_id")?.and_then(|id| tokens.get(id));
    Tokenizer::from_json_with_end(&json.to_string(), end.map(String::as_str))
}

/// Byte-level BPE, with the pre-tokenizer named in the file.
fn byte_level(file: &Gguf) -> Result<Json> {
    let byte_level = |use_regex: bool| json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": use_regex });
    let split = |regex: &str| {
        json!({ "type": "Sequence", "pretokenizers": [
            { "type": "Split", "pattern": { "Regex": regex }, "behavior": "Isolated", "invert": false },
            byte_level(false),
        ]})
    };
    let words = |digits: &str| {
        format!(
            "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{{L}}\\p{{N}}]?\\p{{L}}+|{digits}| ?[^\\s\\p{{L}}\\p{{N}}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
        )
    };
    let name = file.text_if_any("tokenizer.ggml.pre")?.unwrap_or("default");
    let pre_tokenizer = match name {
        "gpt-2" => byte_level(true),
        "smollm" => json!({ "type": "Sequence", "pretokenizers": [
            { "type": "Digits", "individual_digits": true },
            byte_level(true),
        ]}),
        "llama-bpe" | "llama3" | "llama-v3" => split(&words("\\p{N}{1,3}")),
        "qwen2" => split(&words("\\p{N}")),
        other => {
            return Err(Error::Data(format!(
                "cuts words as {other} does; gpt-2, smollm, llama-bpe and qwen2 are known: take the model in Hugging Face's \
                 format, or name a tokenizer.json"
            )));
        }
    };
    let merges = file.texts("tokenizer.ggml.merges")?;
    Ok(json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "pre_tokenizer": pre_tokenizer,
        "post_processor": null, "decoder": byte_level(true),
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null, "end_of_word_suffix": null,
            "fuse_unk": false, "byte_fallback": false, "ignore_merges": name == "llama-bpe", "merges": merges,
        },
    }))
}

/// SentencePiece's BPE: a space becomes ▁, one is prepended to every text, and anything without a token becomes bytes.
/// It merges the pair whose token has the highest score.
fn sentence_piece(file: &Gguf, tokens: &[String]) -> Result<Json> {
    let scores = match file.get("tokenizer.ggml.scores") {
        Some(Value::Reals(scores)) if scores.len() == tokens.len() => scores,
        _ => return Err(Error::Data("tokenizer.ggml.scores are not one for each token".into())),
    };
    let ids: HashMap<&str, usize> = tokens.iter().map(String::as_str).zip(0..).collect();
    let mut merges: Vec<(usize, usize, usize)> = Vec::new();
    for (id, token) in tokens.iter().enumerate() {
        for (at, _) in token.char_indices().skip(1) {
            let (left, right) = token.split_at(at);
            if let (Some(left), Some(right)) = (ids.get(left), ids.get(right)) {
                merges.push((id, *left, *right));
            }
        }
    }
    merges.sort_by(|a, b| scores[b.0].total_cmp(&scores[a.0]).then(a.cmp(b)));
    let merges: Vec<[&str; 2]> =
        merges.iter().map(|(_, left, right)| [tokens[*left].as_str(), tokens[*right].as_str()]).collect();
    let unknown = file.size_if_any("tokenizer.ggml.unknown_token_id")?.and_then(|id| tokens.get(id));
    let adds_space = !matches!(file.get("tokenizer.ggml.add_space_prefix"), Some(Value::Bool(false)));
    let prepend = json!({ "type": "Prepend", "prepend": "▁" });
    let replace = json!({ "type": "Replace", "pattern": { "String": " " }, "content": "▁" });
    let strip = json!({ "type": "Strip", "content": " ", "start": 1, "stop": 0 });
    let mut decoders = vec![
        json!({ "type": "Replace", "pattern": { "String": "▁" }, "content": " " }),
        json!({ "type": "ByteFallback" }),
        json!({ "type": "Fuse" }),
    ];
    let normalizers = if adds_space { vec![prepend, replace] } else { vec![replace] };
    decoders.extend(adds_space.then_some(strip));
    Ok(json!({
        "version": "1.0", "truncation": null, "padding": null,
        "normalizer": { "type": "Sequence", "normalizers": normalizers },
        "pre_tokenizer": null, "post_processor": null, "decoder": { "type": "Sequence", "decoders": decoders },
        "model": {
            "type": "BPE", "dropout": null, "unk_token": unknown, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true, "ignore_merges": false, "merges": merges,
        },
    }))
}
