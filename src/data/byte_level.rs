//! Shared by byte-level tokenizers, with or without the `tokenizers` library: characters for bytes, and their files.

use std::collections::HashMap;

use serde_json::{Value, json};

/// The special token with id 0 in a trained tokenizer: it ends every document.
pub const END_OF_TEXT: &str = "<|endoftext|>";

/// Stored next to tokenizer.json.
pub(super) const CONFIG_FILE: &str = "tokenizer_config.json";

/// GPT-2's printable character for each byte (`bytes_to_unicode` in its encoder.py).
pub(super) fn byte_characters() -> [char; 256] {
    let is_printable = |byte: u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    let mut substitutes = (256..).filter_map(char::from_u32);
    std::array::from_fn(|i| {
        let byte = i as u8;
        if is_printable(byte) { char::from(byte) } else { substitutes.next().expect("there are enough characters") }
    })
}

/// The tokenizer.json of 256 ids, each a byte's value: a byte-level BPE without merges.
pub(super) fn bytes_file() -> Value {
    let vocab: HashMap<String, usize> = byte_characters().iter().map(|c| c.to_string()).zip(0..).collect();
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
        "normalizer": null, "post_processor": null,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false},
        "decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false},
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
            "vocab": vocab, "merges": [],
        },
    })
}

/// What `AutoTokenizer` needs besides the tokenizer: the class, the special tokens, and no clean-up of spaces, which
/// would make its decoding differ from ours.
pub(super) fn default_config(end_of_text: Option<String>) -> Value {
    let mut config = json!({"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": false});
    if let Some(token) = end_of_text {
        config["eos_token"] = token.into();
    }
    config
}

/// Takes from `pending` everything that later bytes cannot change.
pub(super) fn take_characters(pending: &mut Vec<u8>) -> String {
    let mut text = String::new();
    let mut n_taken = 0;
    for chunk in pending.utf8_chunks() {
        text.push_str(chunk.valid());
        n_taken += chunk.valid().len();
        let is_last = n_taken + chunk.invalid().len() == pending.len();
        if chunk.invalid().is_empty() || is_last && is_incomplete(chunk.invalid()) {
            break;
        }
        text.push(char::REPLACEMENT_CHARACTER);
        n_taken += chunk.invalid().len();
    }
    pending.drain(..n_taken);
    text
}

/// Whether more bytes could complete these to a character.
fn is_incomplete(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}
