//! The data of a training run: text that is split, tokenized and cached, or ready-made token shards.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::documents::Documents;
use super::encode::encode;
use super::progress::Progress;
use super::split::{Side, Split, split};
use super::tokenizer::Tokenizer;
use super::tokens::Tokens;
use crate::files::hex;
use crate::{Error, Result};

#[cfg(not(target_arch = "wasm32"))]
pub use load::{TokenizedFolder, cache_tokenizer, load, tokenize};

/// Training tokens and held-out tokens.
#[derive(Debug, Clone)]
pub struct Dataset {
    /// The tokens to train on.
    pub train: Tokens,
    /// The held-out tokens; empty if nothing is held out.
    pub validation: Tokens,
    /// `None` for ready-made tokens.
    pub tokenizer: Option<Tokenizer>,
    /// All ids are below it: the tokenizer's size, or the model's if there is no tokenizer.
    pub vocab_size: usize,
    /// The corpus.
    pub name: String,
    /// The license, for display.
    pub license: String,
    /// The number of documents, or of files for ready-made tokens.
    pub documents: usize,
    /// How it was split, for display.
    pub split: String,
}

/// Identifies text, split and tokenizer by their contents, independent of location and name.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DataIdentity {
    /// The corpus, for messages only.
    pub name: String,
    /// Number of training tokens.
    pub train_tokens: usize,
    /// Number of held-out tokens.
    pub validation_tokens: usize,
    /// Hash of all token ids and of the tokenizer, in hexadecimal.
    pub sha256: String,
}

impl PartialEq for DataIdentity {
    fn eq(&self, other: &Self) -> bool {
        let contents = |of: &Self| (of.train_tokens, of.validation_tokens, of.sha256.clone());
        contents(self) == contents(other)
    }
}

/// `austen (1290296 training and 173944 validation tokens, sha256 0123456789abcdef)`.
impl fmt::Display for DataIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, train_tokens, validation_tokens, sha256 } = self;
        let short = sha256.get(..16).unwrap_or(sha256);
        write!(f, "{name} ({train_tokens} training and {validation_tokens} validation tokens, sha256 {short})")
    }
}

/// The tokenizer for a text.
#[derive(Debug, Clone)]
pub enum TokenizerChoice {
    /// [`Tokenizer::bytes`].
    Bytes,
    /// [`Tokenizer::train_bpe`] on the training documents.
    Bpe,
    /// An existing tokenizer.
    Given(Box<Tokenizer>),
}

impl Dataset {
    /// Splits and tokenizes documents in memory for a model with `vocab_size` entries; needs no files.
    ///
    /// # Errors
    /// See [`Tokenizer`]; also a fraction outside [0, 1), too little text to hold some out, or a tokenizer with more
    /// entries than the model.
    pub fn from_documents(
        documents: Vec<String>,
        name: String,
        license: String,
        choice: TokenizerChoice,
        vocab_size: usize,
        validation_fraction: f64,
    ) -> Result<Self> {
        let split = split_documents(documents.into(), [&name, &name], validation_fraction, &mut |_: &str| ())?;
        let tokenizer = match choice {
            TokenizerChoice::Bytes => Tokenizer::bytes(),
            TokenizerChoice::Bpe => train_bpe(&split, vocab_size, &mut |_: &str| ())?,
            TokenizerChoice::Given(tokenizer) => *tokenizer,
        };
        check_vocab_size(&tokenizer, vocab_size)?;
        let (mut train, mut validation) = (Vec::new(), Vec::new());
        encode(&tokenizer, &split, &mut |_: &str| (), &mut |side, ids| {
            match side {
                Side::Train => train.extend_from_slice(ids),
                Side::Validation => validation.extend_from_slice(ids),
            }
            Ok(())
        })?;
        Ok(Self::new(Tokens::Owned(train), Tokens::Owned(validation), tokenizer, name, license, &split))
    }

    /// Identifies this data; reads all of it once.
    ///
    /// # Errors
    /// If the tokens cannot be read.
    pub fn identity(&self) -> Result<DataIdentity> {
        let mut hash = Sha256::new();
        for tokens in [&self.train, &self.validation] {
            hash.update((tokens.len() as u64).to_le_bytes());
            tokens.for_each_piece(|ids| hash.update(bytemuck::cast_slice(ids)))?;
        }
        hash.update(self.tokenizer.as_ref().map(Tokenizer::to_json).unwrap_or_default());
        Ok(DataIdentity {
            name: self.name.clone(),
            train_tokens: self.train.len(),
            validation_tokens: self.validation.len(),
            sha256: hex(&hash.finalize()),
        })
    }

    /// Trains and evaluates on the same tokens, without text: for benchmarks and overfitting.
    pub fn unsplit(name: &str, tokens: Tokens, vocab_size: usize) -> Self {
        Self {
            train: tokens.clone(),
            validation: tokens,
            tokenizer: None,
            vocab_size,
            name: name.into(),
            license: String::new(),
            documents: 1,
            split: "none: the training tokens are evaluated".into(),
        }
    }

    fn new(
        train: Tokens,
        validation: Tokens,
        tokenizer: Tokenizer,
        name: String,
        license: String,
        split: &Split,
    ) -> Self {
        let (vocab_size, documents) = (tokenizer.vocab_size(), split.n_documents());
        let split = split.words.clone();
        Self { train, validation, tokenizer: Some(tokenizer), vocab_size, name, license, documents, split }
    }
}

/// Reads all documents once, reports and skips unusable ones, and splits the rest.
fn split_documents(
    documents: Documents,
    [name, origin]: [&str; 2],
    fraction: f64,
    progress: &mut dyn Progress,
) -> Result<Split> {
    let surveyed = documents.survey(progress)?;
    if surveyed.lengths.is_empty() {
        return Err(Error::Data(format!("{origin} is empty: it has no text")));
    }
    for (count, what) in [
        (surveyed.n_blank, "have no text and are skipped"),
        (surveyed.n_twice, "occur more than once; each is used once"),
    ] {
        if count > 0 {
            progress.line(&format!("{count} documents of {name} {what}"));
        }
    }
    split(surveyed, fraction)
}

fn train_bpe(split: &Split, vocab_size: usize, progress: &mut dyn Progress) -> Result<Tokenizer> {
    let is_train = |found: &Result<(Side, _)>| !matches!(found, Ok((Side::Validation, _)));
    let chunks = split.chunks().take_while(is_train).map(|found| found.map(|(_, chunk)| chunk));
    Tokenizer::train_bpe_on_chunks(chunks, split.train_bytes, vocab_size, progress)
}

fn check_vocab_size(tokenizer: &Tokenizer, vocab_size: usize) -> Result<()> {
    let needed = tokenizer.vocab_size();
    if needed <= vocab_size {
        return Ok(());
    }
    let message = format!("is {vocab_size}, but the tokenizer has {needed} entries: set it to {needed} or more");
    Err(Error::config("model.vocab_size", message))
}

#[cfg(not(target_arch = "wasm32"))]
mod load;

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::settings::DataConfig;

    fn config(folder: &Path, source: &str, tokenizer: &str) -> DataConfig {
        DataConfig {
            source: vec![folder.join(source).display().to_string()],
            text_field: "text".into(),
            tokenizer: tokenizer.into(),
            validation_fraction: 0.25,
            cache_dir: folder.join("cache"),
        }
    }

    fn read(tokens: &Tokens) -> Vec<u32> {
        let mut ids = vec![0; tokens.len()];
        tokens.copy_to(0, &mut ids).unwrap();
        ids
    }

    fn load_quietly(config: &DataConfig, vocab_size: usize) -> Result<Dataset> {
        load(config, vocab_size, &mut |_: &str| ())
    }

    /// Four documents; the last is a quarter of the text, with its own vocabulary.
    fn texts(folder: &Path) {
        std::fs::create_dir(folder.join("texts")).unwrap();
        for (name, word) in [("a", "alpha "), ("b", "beta "), ("c", "gamma "), ("d", "zygote ")] {
            std::fs::write(folder.join(format!("texts/{name}.txt")), word.repeat(42 / word.len())).unwrap();
        }
    }

    #[test]
    fn bytes_join_documents_by_line_breaks() {
        let folder = tempfile::tempdir().unwrap();
        texts(folder.path());
        let dataset = load_quietly(&config(folder.path(), "texts", "bytes"), 256).unwrap();
        let tokenizer = dataset.tokenizer.unwrap();
        assert_eq!(tokenizer.decode(&read(&dataset.validation)).unwrap(), "zygote ".repeat(6) + "\n");
        assert!(tokenizer.decode(&read(&dataset.train)).unwrap().contains("alpha \nbeta"));
        assert_eq!((dataset.documents, dataset.vocab_size, dataset.name.as_str()), (4, 256, "texts"));
        assert!(dataset.split.starts_with("held out whole: the last 1 of 4 documents"), "{}", dataset.split);
    }

    #[test]
    fn bpe_learns_from_training_documents_alone_and_is_cached() {
        let folder = tempfile::tempdir().unwrap();
        texts(folder.path());
        let config = config(folder.path(), "texts", "bpe");
        let mut said = Vec::new();
        let first = load(&config, 270, &mut |line: &str| said.push(line.to_owned())).unwrap();
        assert_eq!(said.len(), 2 + usize::from(first.vocab_size < 270), "{said:?}");
        let tokenizer = first.tokenizer.as_ref().unwrap();
        assert!(tokenizer.encode("zygote").unwrap().len() >= 5, "the held-out word must not be merged");
        assert!(tokenizer.encode(" alpha").unwrap().len() <= 3);
        assert_eq!(read(&first.validation).last(), Some(&0), "a document ends with the end of text");

        said.clear();
        let second = load(&config, 270, &mut |line: &str| said.push(line.to_owned())).unwrap();
        assert_eq!(said, [""; 0], "the second time comes from the cache");
        assert_eq!((read(&second.train), read(&second.validation)), (read(&first.train), read(&first.validation)));
        assert_eq!(second.tokenizer.unwrap().to_json(), tokenizer.to_json());

        // The cache must not change the data: the same without files.
        let files = ["a", "b", "c", "d"].map(|name| folder.path().join(format!("texts/{name}.txt")));
        let documents = files.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
        let (name, license) = (String::new(), String::new());
        let memory = Dataset::from_documents(documents, name, license, TokenizerChoice::Bpe, 270, 0.25).unwrap();
        assert_eq!((read(&memory.train), read(&memory.validation)), (read(&first.train), read(&first.validation)));
    }

    #[test]
    fn a_cut_document_does_not_end() {
        let text = "one line\n".repeat(10);
        let make =
            |choice| Dataset::from_documents(vec![text.clone()], "n".into(), "l".into(), choice, 300, 0.5).unwrap();
        for dataset in [make(TokenizerChoice::Bytes), make(TokenizerChoice::Bpe)] {
            let tokenizer = dataset.tokenizer.unwrap();
            let ids = [read(&dataset.train), read(&dataset.validation)].concat();
            let separator = if tokenizer.end_of_text().is_some() { "<|endoftext|>" } else { "\n" };
            assert_eq!(tokenizer.decode(&ids).unwrap(), text.clone() + separator);
        }
    }

    #[test]
    fn a_tokenizer_larger_than_the_model_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        texts(folder.path());
        let message = |tokenizer: &str, vocab_size| {
            load_quietly(&config(folder.path(), "texts", tokenizer), vocab_size).unwrap_err().to_string()
        };
        let bytes = message("bytes", 100);
        assert_eq!(bytes, "model.vocab_size: is 100, but the tokenizer has 256 entries: set it to 256 or more");
        Tokenizer::bytes().save(folder.path()).unwrap();
        let file = folder.path().join("tokenizer.json").display().to_string();
        assert_eq!(message(&file, 100), bytes);
        load_quietly(&config(folder.path(), "texts", &file), 256).unwrap();
        let unknown = message("bpee", 300);
        assert!(unknown.starts_with("data.tokenizer: is \"bpee\": neither"), "{unknown}");
    }

    #[test]
    fn shards_are_split_by_name_or_by_their_tail() {
        let folder = tempfile::tempdir().unwrap();
        let shards = folder.path().join("shards");
        std::fs::create_dir(&shards).unwrap();
        let write = |name: &str, ids: &[u16]| {
            let bytes: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
            std::fs::write(shards.join(name), bytes).unwrap();
        };
        write("train_1.bin", &[4, 5, 6, 7]);
        write("train_0.bin", &[0, 1, 2, 3]);
        let tail = load_quietly(&config(folder.path(), "shards", "bpe"), 8).unwrap();
        assert_eq!((read(&tail.train), read(&tail.validation)), (vec![0, 1, 2, 3, 4, 5], vec![6, 7]));
        assert!(tail.tokenizer.is_none());
        assert_eq!((tail.documents, tail.vocab_size), (2, 8));
        write("val.bin", &[1]);
        let named = load_quietly(&config(folder.path(), "shards", "bpe"), 8).unwrap();
        assert_eq!((named.train.len(), read(&named.validation)), (8, vec![1]));
        let one = load_quietly(&config(folder.path(), "shards/train_0.bin", "bpe"), 8).unwrap();
        assert_eq!((one.train.len(), one.validation.len()), (3, 1));
    }

    #[test]
    fn shards_without_training_tokens_or_beside_texts_are_errors() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("val.bin"), [1, 0]).unwrap();
        std::fs::write(folder.path().join("a.txt"), "text").unwrap();
        let mut config = config(folder.path(), "val.bin", "bpe");
        let error = load_quietly(&config, 8).unwrap_err().to_string();
        assert!(error.contains("holds no shard to train on"), "{error}");
        config.source.push(folder.path().join("a.txt").display().to_string());
        let error = load_quietly(&config, 8).unwrap_err().to_string();
        assert!(error.starts_with("data.source: names token shards (.bin) and texts together"), "{error}");
    }
}
