//! Text to token ids and back, with Hugging Face's `tokenizers` and its file format.

mod stream_decoder;

use std::collections::HashSet;

use serde_json::Value;
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainerBuilder};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, DecoderWrapper, PreTokenizerWrapper};

use crate::{Error, Result};

pub use super::byte_level::END_OF_TEXT;
use super::byte_level::{CONFIG_FILE, byte_characters, bytes_file, default_config};
pub use stream_decoder::StreamDecoder;

/// A tokenizer that Hugging Face's `AutoTokenizer` can load as well.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    /// `tokenizer_config.json` beside `tokenizer.json`.
    config: Value,
    kind: Kind,
    vocab_size: usize,
    end_of_text: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    /// Ids are byte values; neither way needs the library.
    Bytes,
    /// GPT-2's pre-tokenizer, which lets a text be cut at lines without changing its ids.
    GptByteLevel,
    Other,
}

impl Tokenizer {
    /// 256 ids, each a byte's value.
    ///
    /// As a file it is a byte-level BPE without merges.
    pub fn bytes() -> Self {
        Self::from_json(&bytes_file().to_string()).expect("the file is ours")
    }

    /// A byte-level BPE of `documents` with GPT-2's pre-tokenizer; the same documents give the same tokenizer.
    ///
    /// Id 0 is [`END_OF_TEXT`], ids 1 to 256 are bytes, the rest merges.
    /// A text too short for `vocab_size - 257` merges that occur twice gives fewer.
    ///
    /// # Errors
    /// A `vocab_size` below 257.
    pub fn train_bpe(documents: &[String], vocab_size: usize, progress: &mut dyn FnMut(&str)) -> Result<Self> {
        if vocab_size < 257 {
            let message = format!(
                "is {vocab_size}, but the tokenizer \"bpe\" needs 257 at least, for every byte and the end of text; \
                 set it to 512 or more, or data.tokenizer=\"bytes\""
            );
            return Err(Error::config("model.vocab_size", message));
        }
        let n_bytes: usize = documents.iter().map(String::len).sum();
        progress(&format!("training a tokenizer of {vocab_size} entries on {:.1} MB of text", n_bytes as f64 / 1e6));
        keep_to_one_thread_in_a_browser();
        let mut inner = tokenizers::Tokenizer::new(BPE::default());
        let gpt2 = ByteLevel::default().add_prefix_space(false);
        inner.with_pre_tokenizer(Some(gpt2)).with_decoder(Some(gpt2));
        let trainer = BpeTrainerBuilder::new()
            .vocab_size(vocab_size)
            .min_frequency(2)
            .show_progress(false)
            .initial_alphabet(byte_characters().into_iter().collect::<HashSet<char>>())
            .special_tokens(vec![AddedToken::from(END_OF_TEXT, true)])
            .build();
        let pieces = documents.iter().flat_map(|document| pieces(document));
        inner.train(&mut TrainerWrapper::from(trainer), pieces).map_err(failed("train the tokenizer"))?;
        let file = inner.to_string(false).map_err(failed("write the trained tokenizer"))?;
        let trained = Self::from_json(&file)?;
        if trained.vocab_size < vocab_size {
            progress(&format!(
                "the text is too short for {vocab_size} entries: the tokenizer has {}, the other ids stay unused",
                trained.vocab_size
            ));
        }
        Ok(trained)
    }

    /// A `tokenizer.json`, with the `tokenizer_config.json` beside it where there is one.
    ///
    /// # Errors
    /// A file that cannot be read or is none of Hugging Face's tokenizers.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn from_file(path: impl AsRef<std::path::Path>) -> Result<Self> {
        let path = path.as_ref();
        let file = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
        let in_file = |error: Error| Error::Tokenizer(format!("{}: {error}", path.display()));
        let mut tokenizer = Self::from_json(&file).map_err(in_file)?;
        let config_path = path.with_file_name(CONFIG_FILE);
        if config_path.exists() {
            let config = std::fs::read(&config_path).map_err(Error::io("read", &config_path))?;
            tokenizer.config = serde_json::from_slice(&config)
                .map_err(|error| Error::Tokenizer(format!("{}: not JSON: {error}", config_path.display())))?;
            tokenizer.end_of_text = end_of_text(&tokenizer.inner, &tokenizer.config);
        }
        Ok(tokenizer)
    }

    /// The text of a `tokenizer.json`.
    ///
    /// # Errors
    /// It is none of Hugging Face's tokenizers.
    pub fn from_json(json: &str) -> Result<Self> {
        keep_to_one_thread_in_a_browser();
        let inner = tokenizers::Tokenizer::from_bytes(json).map_err(failed("read it as a tokenizer.json"))?;
        let vocab = inner.get_vocab(true);
        let vocab_size = vocab.values().max().map_or(0, |id| *id as usize + 1);
        let is_bytes =
            vocab.len() == 256 && (0..).zip(byte_characters()).all(|(id, c)| vocab.get(&c.to_string()) == Some(&id));
        let kind = if is_bytes {
            Kind::Bytes
        } else if splits_like_gpt2(&inner) {
            Kind::GptByteLevel
        } else {
            Kind::Other
        };
        let end_of_text = end_of_text(&inner, &Value::Null);
        let config = default_config(end_of_text.and_then(|id| inner.id_to_token(id)));
        Ok(Self { inner, config, kind, vocab_size, end_of_text })
    }

    /// The ids of `text`, without special tokens around it.
    ///
    /// # Errors
    /// The tokenizer has no id for a part of the text and no token for unknown ones.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let pieces = match self.kind {
            Kind::Bytes => return Ok(text.bytes().map(u32::from).collect()),
            Kind::GptByteLevel => pieces(text).collect(),
            Kind::Other => vec![text],
        };
        let encodings = self.inner.encode_batch_fast(pieces, false).map_err(failed("encode the text"))?;
        let n_ids = encodings.iter().map(|encoding| encoding.get_ids().len()).sum();
        let mut ids = Vec::with_capacity(n_ids);
        encodings.iter().for_each(|encoding| ids.extend_from_slice(encoding.get_ids()));
        Ok(ids)
    }

    /// The text of `ids`, special tokens included; bytes that are not UTF-8 become U+FFFD.
    ///
    /// # Errors
    /// An id outside the vocabulary.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        if let Some(id) = ids.iter().find(|id| **id as usize >= self.vocab_size) {
            return Err(self.no_such_id(*id));
        }
        if self.kind == Kind::Bytes {
            let bytes: Vec<u8> = ids.iter().map(|id| *id as u8).collect();
            return Ok(String::from_utf8_lossy(&bytes).into_owned());
        }
        self.inner.decode(ids, false).map_err(failed("decode"))
    }

    /// One more than the largest id: what a model's `vocab_size` must reach.
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// The id that ends a document, if there is one.
    pub fn end_of_text(&self) -> Option<u32> {
        self.end_of_text
    }

    /// The text of its `tokenizer.json`; the same tokenizer gives the same text.
    pub fn to_json(&self) -> String {
        self.inner.to_string(true).expect("what was read from JSON can be written as JSON")
    }

    /// `tokenizer.json` and `tokenizer_config.json` with their texts: what a model's folder holds of it.
    pub fn files(&self) -> Vec<(String, String)> {
        vec![("tokenizer.json".into(), self.to_json()), (CONFIG_FILE.into(), format!("{:#}\n", self.config))]
    }

    /// Writes `tokenizer.json` and `tokenizer_config.json` into the folder `dir`.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn save(&self, dir: impl AsRef<std::path::Path>) -> Result<()> {
        for (name, text) in self.files() {
            let path = dir.as_ref().join(name);
            std::fs::write(&path, text).map_err(Error::io("write", &path))?;
        }
        Ok(())
    }

    /// Whether every id is a byte's value, as with [`Tokenizer::bytes`].
    pub fn is_bytes(&self) -> bool {
        self.kind == Kind::Bytes
    }

    fn no_such_id(&self, id: u32) -> Error {
        Error::Tokenizer(format!("id {id} is outside the tokenizer's vocabulary of {}", self.vocab_size))
    }
}

fn end_of_text(tokenizer: &tokenizers::Tokenizer, config: &Value) -> Option<u32> {
    // A string, or an AddedToken with the string as its content.
    let named = config["eos_token"].as_str().or(config["eos_token"]["content"].as_str());
    let usual = [END_OF_TEXT, "</s>", "<|end_of_text|>", "<eos>"];
    named.into_iter().chain(usual).find_map(|token| tokenizer.token_to_id(token))
}

fn splits_like_gpt2(tokenizer: &tokenizers::Tokenizer) -> bool {
    let pre_tokenizer = matches!(
        tokenizer.get_pre_tokenizer(),
        Some(PreTokenizerWrapper::ByteLevel(level)) if level.use_regex && !level.add_prefix_space
    );
    // Words that are added beside the special tokens may hold line breaks.
    let added = tokenizer.get_added_tokens_decoder();
    let no_line_breaks = added.values().all(|token| !token.content.contains('\n') && !token.lstrip && !token.rstrip);
    pre_tokenizer && no_line_breaks && tokenizer.get_normalizer().is_none() && has_byte_level_decoder(tokenizer)
}

fn has_byte_level_decoder(tokenizer: &tokenizers::Tokenizer) -> bool {
    matches!(tokenizer.get_decoder(), Some(DecoderWrapper::ByteLevel(_)))
}

/// Cuts a long text where GPT-2's pre-tokenizer cuts in any case, so that pieces can be encoded side by side:
/// before a letter that follows a line break that follows something that is no space.
fn pieces(text: &str) -> impl Iterator<Item = &str> {
    const PIECE_BYTES: usize = 1 << 16;
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let bytes = rest.as_bytes();
        let is_cut =
            |at: &usize| bytes[at - 1] == b'\n' && bytes[at - 2].is_ascii_graphic() && bytes[*at].is_ascii_alphabetic();
        let cut = (PIECE_BYTES..bytes.len()).find(is_cut).unwrap_or(bytes.len());
        let (piece, after) = rest.split_at(cut);
        rest = after;
        Some(piece)
    })
}

fn keep_to_one_thread_in_a_browser() {
    if cfg!(target_arch = "wasm32") {
        tokenizers::utils::parallelism::set_parallelism(false);
    }
}

fn failed(what: &str) -> impl FnOnce(tokenizers::Error) -> Error {
    move |error| Error::Tokenizer(format!("cannot {what}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) const ODD: &str = "naïve 😀👩‍👩‍👧 \u{0}\t\r\n\n  \u{feff}日本語\u{301} <|endofte don't  \n x";

    pub(crate) fn prose() -> Vec<String> {
        let sentence = |i: usize| format!("It is a truth acknowledged {i} times,\nthat a single man wants a wife.\n\n");
        vec![(0..300).map(sentence).collect(), "Another text, naïve and short.".into()]
    }

    fn trained(vocab_size: usize) -> Tokenizer {
        Tokenizer::train_bpe(&prose(), vocab_size, &mut |_| ()).unwrap()
    }

    #[test]
    fn bytes_are_their_own_ids() {
        let bytes = Tokenizer::bytes();
        let ids = bytes.encode("aé\n").unwrap();
        assert_eq!(ids, [97, 0xc3, 0xa9, 10]);
        assert_eq!((bytes.vocab_size(), bytes.end_of_text()), (256, None));
        assert_eq!(bytes.decode(&[104, 0xff, 105]).unwrap(), "h\u{fffd}i");
        // The library, which transformers uses, must agree with the short cut.
        assert_eq!(bytes.inner.encode(ODD, false).unwrap().get_ids(), bytes.encode(ODD).unwrap());
        let all: Vec<u32> = (0..256).collect();
        assert_eq!(bytes.inner.decode(&all, false).unwrap(), bytes.decode(&all).unwrap());
    }

    #[test]
    fn odd_texts_come_back_exactly() {
        for tokenizer in [Tokenizer::bytes(), trained(300)] {
            for text in [ODD, "", " ", "\n", &prose()[0]] {
                assert_eq!(tokenizer.decode(&tokenizer.encode(text).unwrap()).unwrap(), text);
            }
        }
    }

    #[test]
    fn training_learns_merges_and_is_deterministic() {
        let tokenizer = trained(300);
        assert_eq!(tokenizer.vocab_size(), 300);
        assert_eq!(tokenizer.end_of_text(), Some(0));
        assert_eq!(tokenizer.encode(END_OF_TEXT).unwrap(), [0]);
        assert_eq!(tokenizer.encode("a!").unwrap().len(), 2);
        let text = &prose()[0];
        assert!(tokenizer.encode(text).unwrap().len() < text.len() / 2);
        for _ in 0..3 {
            assert_eq!(trained(300).to_json(), tokenizer.to_json());
        }
    }

    #[test]
    fn a_text_cut_into_pieces_has_the_same_ids() {
        let text = prose()[0].repeat(8) + ODD;
        assert!(pieces(&text).count() > 2);
        assert_eq!(pieces(&text).collect::<String>(), text);
        let tokenizer = trained(400);
        assert_eq!(tokenizer.encode(&text).unwrap(), tokenizer.inner.encode(text, false).unwrap().get_ids());
        // "\n\n" is one entry only at the end of a text: no piece may end there.
        let ends = ["x\n\n".to_owned(), "y\n\n".to_owned()];
        let tokenizer = Tokenizer::train_bpe(&ends, 258, &mut |_| ()).unwrap();
        assert_eq!(tokenizer.encode("x\n\n").unwrap().len(), 2);
        let text = "word\n\n".repeat(20_000);
        assert_eq!(tokenizer.encode(&text).unwrap(), tokenizer.inner.encode(text, false).unwrap().get_ids());
    }

    #[test]
    fn files_come_back_as_they_were() {
        let folder = tempfile::tempdir().unwrap();
        for tokenizer in [Tokenizer::bytes(), trained(300)] {
            tokenizer.save(&folder).unwrap();
            let again = Tokenizer::from_file(folder.path().join("tokenizer.json")).unwrap();
            assert_eq!(again.to_json(), tokenizer.to_json());
            assert_eq!((again.kind, again.end_of_text), (tokenizer.kind, tokenizer.end_of_text));
            assert_eq!(again.config["tokenizer_class"], "PreTrainedTokenizerFast");
        }
        let config = r#"{"eos_token": {"content": "wife"}, "model_max_length": 512}"#;
        std::fs::write(folder.path().join(CONFIG_FILE), config).unwrap();
        let other = Tokenizer::from_file(folder.path().join("tokenizer.json")).unwrap();
        assert_eq!(other.config["model_max_length"], 512, "somebody else's settings are kept");
    }

    #[test]
    fn messages() {
        let small = Tokenizer::train_bpe(&prose(), 256, &mut |_| ()).unwrap_err().to_string();
        assert!(small.starts_with("model.vocab_size: is 256, but"), "{small}");
        let mut said = Vec::new();
        Tokenizer::train_bpe(&["abab".into()], 400, &mut |line| said.push(line.to_owned())).unwrap();
        assert!(said[1].contains("too short for 400 entries: the tokenizer has 258,"), "{said:?}");
        let id = Tokenizer::bytes().decode(&[256]).unwrap_err().to_string();
        assert_eq!(id, "id 256 is outside the tokenizer's vocabulary of 256");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokenizer.json");
        let missing = Tokenizer::from_file(&path).unwrap_err().to_string();
        assert!(missing.starts_with("cannot read "), "{missing}");
        std::fs::write(&path, "{}").unwrap();
        let foreign = Tokenizer::from_file(&path).unwrap_err().to_string();
        assert!(foreign.contains("tokenizer.json: cannot read it as a tokenizer.json"), "{foreign}");
    }
}
