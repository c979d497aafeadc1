//! Encodes text to token ids and back, with Hugging Face's `tokenizers` and its file format.

mod pieces;
mod stream_decoder;

use std::collections::HashSet;
use std::num::NonZero;
use std::sync::{Mutex, PoisonError};

use serde_json::Value;
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainerBuilder};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::utils::parallelism::MaybeParallelIterator;
use tokenizers::{AddedToken, DecoderWrapper, PreTokenizerWrapper};

use super::chunk::Chunk;
use super::guard::catch_panic;
use super::progress::Progress;
use crate::{Error, Result};

pub use super::byte_level::END_OF_TEXT;
use super::byte_level::{CONFIG_FILE, byte_characters, bytes_file, default_config};
use pieces::{Cutter, PIECE_BYTES, Rule};
pub use stream_decoder::StreamDecoder;

/// A tokenizer that Hugging Face's `AutoTokenizer` can also load.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    /// The `tokenizer_config.json` next to `tokenizer.json`.
    config: Value,
    kind: Kind,
    vocab_size: usize,
    end_of_text: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    /// Ids are byte values; neither direction needs the library.
    Bytes,
    /// GPT-2's pre-tokenizer: cutting a text before a space does not change its ids.
    GptByteLevel,
    Other,
}

impl Tokenizer {
    /// 256 ids, each a byte's value.
    ///
    /// Its file is a byte-level BPE without merges.
    pub fn bytes() -> Self {
        Self::from_json(&bytes_file().to_string()).expect("the file is ours")
    }

    /// Trains a byte-level BPE with GPT-2's pre-tokenizer on `documents`; the same documents give the same tokenizer.
    ///
    /// Id 0 is [`END_OF_TEXT`], ids 1 to 256 are bytes, the rest are merges. A text without `vocab_size - 257` merges
    /// that occur twice gives fewer.
    ///
    /// # Errors
    /// If `vocab_size` is below 257.
    pub fn train_bpe(documents: &[String], vocab_size: usize, progress: &mut dyn Progress) -> Result<Self> {
        let n_bytes: usize = documents.iter().map(String::len).sum();
        let chunks = documents.iter().map(|document| Ok(Chunk { text: document.into(), ends_document: true }));
        Self::train_bpe_on_chunks(chunks, n_bytes as u64, vocab_size, progress)
    }

    /// Like [`Tokenizer::train_bpe`], on `n_bytes` of text in chunks.
    pub(super) fn train_bpe_on_chunks<'a>(
        chunks: impl Iterator<Item = Result<Chunk<'a>>> + Send,
        n_bytes: u64,
        vocab_size: usize,
        progress: &mut dyn Progress,
    ) -> Result<Self> {
        if vocab_size < 257 {
            let message = format!(
                "is {vocab_size}, but the tokenizer \"bpe\" needs 257 at least, for every byte and the end of text; \
                 set it to 512 or more, or data.tokenizer=\"bytes\""
            );
            return Err(Error::config("model.vocab_size", message));
        }
        progress
            .line(&format!("training a tokenizer of {vocab_size} entries on {:.1} MB of text", n_bytes as f64 / 1e6));
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
        let failure = Mutex::new(None);
        let pieces = training_pieces(chunks, n_bytes, &failure, progress);
        ask_library("train the tokenizer", || inner.train(&mut TrainerWrapper::from(trainer), pieces).map(|_| ()))?;
        if let Some(error) = failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(error);
        }
        let file = inner.to_string(false).map_err(failed("write the trained tokenizer"))?;
        let trained = Self::from_json(&file)?;
        if trained.vocab_size < vocab_size {
            progress.line(&format!(
                "the text is too short for {vocab_size} entries: the tokenizer has {}, the other ids stay unused",
                trained.vocab_size
            ));
        }
        Ok(trained)
    }

    /// Reads a `tokenizer.json`, and the `tokenizer_config.json` next to it if there is one.
    ///
    /// # Errors
    /// If a file cannot be read or is not a Hugging Face tokenizer.
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

    /// Reads the `tokenizer.json` of a directory, if it has one.
    ///
    /// # Errors
    /// See [`Tokenizer::from_file`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn of_folder(dir: &std::path::Path) -> Result<Option<Self>> {
        let path = dir.join("tokenizer.json");
        if path.exists() { Self::from_file(path).map(Some) } else { Ok(None) }
    }

    /// Parses the text of a `tokenizer.json`.
    ///
    /// # Errors
    /// If it is not a Hugging Face tokenizer.
    pub fn from_json(json: &str) -> Result<Self> {
        keep_to_one_thread_in_a_browser();
        let inner = ask_library("read it as a tokenizer.json", || tokenizers::Tokenizer::from_bytes(json))?;
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

    /// Like [`Tokenizer::from_json`]; `end` is the end-of-text token.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn from_json_with_end(json: &str, end: Option<&str>) -> Result<Self> {
        let mut tokenizer = Self::from_json(json)?;
        if let Some(end) = end {
            tokenizer.config = default_config(Some(end.to_owned()));
            tokenizer.end_of_text = end_of_text(&tokenizer.inner, &tokenizer.config);
        }
        Ok(tokenizer)
    }

    /// GPT-2's text for each byte: the tokens in every byte-level vocabulary.
    #[cfg(test)]
    pub(crate) fn byte_texts() -> Vec<String> {
        byte_characters().iter().map(char::to_string).collect()
    }

    /// Encodes `text`, without adding special tokens.
    ///
    /// # Errors
    /// If the tokenizer has neither an id for some part of the text nor an unknown token.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        if self.kind == Kind::Bytes {
            return Ok(text.bytes().map(u32::from).collect());
        }
        let (mut cutter, mut pieces) = (self.cutter(), Vec::new());
        cutter.push(text, &mut pieces);
        cutter.finish(&mut pieces);
        let mut ids = Vec::new();
        for batch in pieces.chunks(batch_bytes() / PIECE_BYTES) {
            self.encode_pieces(batch)?.iter().for_each(|piece| ids.extend_from_slice(piece));
        }
        Ok(ids)
    }

    /// Cuts a text that arrives in chunks into pieces for [`Tokenizer::encode_pieces`].
    pub(super) fn cutter(&self) -> Cutter<'_> {
        Cutter::new(match self.kind {
            Kind::Bytes => Rule::Anywhere,
            Kind::GptByteLevel => Rule::BeforeSpace,
            Kind::Other => Rule::Asked(&self.inner),
        })
    }

    /// Encodes all pieces in parallel.
    ///
    /// # Errors
    /// See [`Tokenizer::encode`].
    pub(super) fn encode_pieces(&self, pieces: &[String]) -> Result<Vec<Vec<u32>>> {
        if self.kind == Kind::Bytes {
            return Ok(pieces.iter().map(|piece| piece.bytes().map(u32::from).collect()).collect());
        }
        let encode = |piece: &String| Ok(self.inner.encode_fast(piece.as_str(), false)?.get_ids().to_vec());
        ask_library("encode the text", || pieces.into_maybe_par_iter().map(encode).collect())
    }

    /// Decodes `ids`, including special tokens; invalid UTF-8 becomes U+FFFD.
    ///
    /// # Errors
    /// If an id is outside the vocabulary.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        if let Some(id) = ids.iter().find(|id| **id as usize >= self.vocab_size) {
            return Err(self.no_such_id(*id));
        }
        if self.kind == Kind::Bytes {
            let bytes: Vec<u8> = ids.iter().map(|id| *id as u8).collect();
            return Ok(String::from_utf8_lossy(&bytes).into_owned());
        }
        ask_library("decode", || self.inner.decode(ids, false))
    }

    /// One more than the largest id: the minimum of a model's `vocab_size`.
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// The id of the end-of-text token, if there is one.
    pub fn end_of_text(&self) -> Option<u32> {
        self.end_of_text
    }

    /// The text of its `tokenizer.json`; deterministic.
    pub fn to_json(&self) -> String {
        self.inner.to_string(true).expect("what was read from JSON can be written as JSON")
    }

    /// `tokenizer.json` and `tokenizer_config.json` with their texts, as stored with a model.
    pub fn files(&self) -> Vec<(String, String)> {
        vec![("tokenizer.json".into(), self.to_json()), (CONFIG_FILE.into(), format!("{:#}\n", self.config))]
    }

    /// Writes `tokenizer.json` and `tokenizer_config.json` into the directory `dir`.
    ///
    /// # Errors
    /// If a file cannot be written.
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
    // Added tokens besides the special ones may contain line breaks.
    let added = tokenizer.get_added_tokens_decoder();
    let no_line_breaks = added.values().all(|token| !token.content.contains('\n') && !token.lstrip && !token.rstrip);
    pre_tokenizer && no_line_breaks && tokenizer.get_normalizer().is_none() && has_byte_level_decoder(tokenizer)
}

fn has_byte_level_decoder(tokenizer: &tokenizers::Tokenizer) -> bool {
    matches!(tokenizer.get_decoder(), Some(DecoderWrapper::ByteLevel(_)))
}

/// Bytes of text to encode at a time: enough for all cores. The library needs a hundred times as much memory.
pub(super) fn batch_bytes() -> usize {
    let n_threads = std::thread::available_parallelism().map_or(1, NonZero::get);
    PIECE_BYTES * (4 * n_threads).max(16)
}

/// Pieces of text for the trainer, which counts their words; a read error ends the iterator and is kept.
fn training_pieces<'a>(
    mut chunks: impl Iterator<Item = Result<Chunk<'a>>> + Send,
    n_bytes: u64,
    failure: &Mutex<Option<Error>>,
    progress: &mut dyn Progress,
) -> impl Iterator<Item = String> + Send {
    let mut cutter = Cutter::new(Rule::BeforeSpace);
    let (mut done, mut is_over) = (0, false);
    let mut pieces = Vec::new();
    std::iter::from_fn(move || {
        while pieces.is_empty() && !is_over {
            match chunks.next() {
                Some(Ok(Chunk { text, ends_document })) => {
                    done += text.len() as u64;
                    progress.bytes("learning words", done, Some(n_bytes));
                    cutter.push(&text, &mut pieces);
                    if ends_document {
                        cutter.finish(&mut pieces);
                    }
                }
                Some(Err(error)) => {
                    *failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                    is_over = true;
                }
                None => {
                    cutter.finish(&mut pieces);
                    is_over = true;
                }
            }
        }
        // The word counts do not depend on the order.
        pieces.pop().map(|piece| without_long_words(&piece))
    })
}

/// Cuts words longer than a few hundred bytes: the trainer searches a whole word for merges, and a megabyte of base64
/// would be one word.
fn without_long_words(text: &str) -> String {
    const LONGEST_WORD: usize = 256;
    let mut cut = String::with_capacity(text.len());
    let (mut length, mut kind) = (0, None);
    for c in text.chars() {
        // A GPT-2 word is all letters, all digits, or all neither.
        let own = (!c.is_whitespace()).then(|| (c.is_alphabetic(), c.is_numeric()));
        length = if own == kind { length + c.len_utf8() } else { c.len_utf8() };
        kind = own;
        if own.is_some() && length > LONGEST_WORD {
            cut.push('\n');
            length = c.len_utf8();
        }
        cut.push(c);
    }
    cut
}

/// Calls the library, which panics on some malformed files.
fn ask_library<T>(what: &str, call: impl FnOnce() -> tokenizers::Result<T>) -> Result<T> {
    match catch_panic(call) {
        Some(result) => result.map_err(failed(what)),
        None => Err(Error::Tokenizer(format!("cannot {what}: the library that reads tokenizer.json gave up on it"))),
    }
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
        Tokenizer::train_bpe(&prose(), vocab_size, &mut |_: &str| ()).unwrap()
    }

    #[test]
    fn bytes_are_their_own_ids() {
        let bytes = Tokenizer::bytes();
        let ids = bytes.encode("aé\n").unwrap();
        assert_eq!(ids, [97, 0xc3, 0xa9, 10]);
        assert_eq!((bytes.vocab_size(), bytes.end_of_text()), (256, None));
        assert_eq!(bytes.decode(&[104, 0xff, 105]).unwrap(), "h\u{fffd}i");
        // The library, which transformers uses, must agree with the shortcut.
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

    /// The pieces, their ids, and the ids that the library gives the whole text.
    fn cut(tokenizer: &Tokenizer, text: &str) -> (Vec<String>, Vec<u32>, Vec<u32>) {
        let (mut cutter, mut pieces) = (tokenizer.cutter(), Vec::new());
        let mut rest = text;
        while !rest.is_empty() {
            let (chunk, after) = rest.split_at(rest.ceil_char_boundary(rest.len().min(10_007)));
            cutter.push(chunk, &mut pieces);
            rest = after;
        }
        cutter.finish(&mut pieces);
        let ids = tokenizer.encode_pieces(&pieces).unwrap().concat();
        assert_eq!(ids, tokenizer.encode(text).unwrap(), "however it comes");
        (pieces, ids, tokenizer.inner.encode(text, false).unwrap().get_ids().to_vec())
    }

    #[test]
    fn a_text_cut_into_pieces_has_the_same_ids() {
        let tokenizer = trained(400);
        let texts = [
            prose()[0].repeat(8) + ODD,
            "word\n\n".repeat(20_000),
            "one two  three\t four \n ".repeat(9_000),
            "no line ends here ".repeat(9_000),
            format!("{ODD}\n").repeat(3_000),
        ];
        for text in texts {
            let (pieces, ids, expected) = cut(&tokenizer, &text);
            assert!(pieces.len() > 1 && pieces.iter().all(|piece| piece.len() < 70_000), "{}", pieces.len());
            assert_eq!(pieces.concat(), text);
            assert_eq!(ids, expected);
        }
        // "\n\n" is a token only at the end of a text: no piece may end there.
        let ends = ["x\n\n".to_owned(), "y\n\n".to_owned()];
        let tokenizer = Tokenizer::train_bpe(&ends, 258, &mut |_: &str| ()).unwrap();
        assert_eq!(tokenizer.encode("x\n\n").unwrap().len(), 2);
        let (_, ids, expected) = cut(&tokenizer, &"word\n\n".repeat(20_000));
        assert_eq!(ids, expected);
    }

    /// LLaMA 3's pre-tokenizer attaches line breaks to the preceding text; LLaMA 2's tokenizer has none and puts a
    /// space before every text.
    #[test]
    fn other_tokenizers_are_asked_where_a_text_may_be_cut() {
        let mut llama3: Value = serde_json::from_str(&trained(400).to_json()).unwrap();
        llama3["pre_tokenizer"] = serde_json::json!({"type": "Sequence", "pretokenizers": [
            {"type": "Split", "behavior": "Isolated", "invert": false, "pattern": {"Regex":
                "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"}},
            {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false},
        ]});
        let mut llama2 = llama3.clone();
        llama2["pre_tokenizer"] = Value::Null;
        llama2["decoder"] = serde_json::json!({"type": "ByteFallback"});
        llama2["normalizer"] = serde_json::json!({"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": "\u{2581}"}, {"type": "Replace", "pattern": {"String": " "}, "content": "\u{2581}"},
        ]});
        let vocab = [
            "\u{2581}",
            "\n",
            "t",
            "h",
            "e",
            "c",
            "a",
            "\u{2581}t",
            "he",
            "\u{2581}the",
            "at",
            "\u{2581}c",
            "\u{2581}cat",
        ];
        let ids: serde_json::Map<String, Value> =
            vocab.iter().zip(0..).map(|(entry, id)| ((*entry).into(), Value::from(id))).collect();
        llama2["model"]["vocab"] = ids.into();
        llama2["model"]["merges"] = serde_json::json!([
            ["\u{2581}", "t"],
            ["h", "e"],
            ["\u{2581}t", "he"],
            ["a", "t"],
            ["\u{2581}", "c"],
            ["\u{2581}c", "at"]
        ]);
        llama2["added_tokens"] = serde_json::json!([]);
        for (file, text) in [(llama3, "The cat, the hat!\n\nA man (12345 men)\n"), (llama2, "the cat the cat\nthe\n")] {
            let tokenizer = Tokenizer::from_json(&file.to_string()).unwrap();
            assert_eq!(tokenizer.kind, Kind::Other);
            let (pieces, ids, expected) = cut(&tokenizer, &text.repeat(200_000 / text.len()));
            assert!(pieces.len() > 1, "{}", pieces.len());
            assert_eq!(ids, expected);
        }
    }

    #[test]
    fn a_text_without_a_space_ends() {
        let letters: String = (0..3_000_000u64).map(|i| char::from(b'a' + (i * i % 23) as u8)).collect();
        let tokenizer = Tokenizer::train_bpe(&[letters.clone(), letters.clone()], 300, &mut |_: &str| ()).unwrap();
        let ids = tokenizer.encode(&letters).unwrap();
        assert_eq!(tokenizer.decode(&ids).unwrap(), letters);
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
        let small = Tokenizer::train_bpe(&prose(), 256, &mut |_: &str| ()).unwrap_err().to_string();
        assert!(small.starts_with("model.vocab_size: is 256, but"), "{small}");
        let mut said = Vec::new();
        Tokenizer::train_bpe(&["abab".into()], 400, &mut |line: &str| said.push(line.to_owned())).unwrap();
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
