//! Everything a training run reads: text split, tokenized and cached, or ready-made token shards.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::split::{Split, split};
use super::tokenizer::Tokenizer;
use super::tokens::Tokens;
use crate::files::hex;
use crate::{Error, Result};

#[cfg(not(target_arch = "wasm32"))]
pub use load::{keep_tokenizer, load};

/// Tokens to train on and tokens held out.
#[derive(Debug, Clone)]
pub struct Dataset {
    /// What the model learns from.
    pub train: Tokens,
    /// What it never sees; empty where nothing is held out.
    pub validation: Tokens,
    /// `None` for ready-made tokens.
    pub tokenizer: Option<Tokenizer>,
    /// Every id is below it: the tokenizer's size, or the model's where there is no tokenizer.
    pub vocab_size: usize,
    /// The corpus.
    pub name: String,
    /// Its terms of use, in words.
    pub license: String,
    /// How many documents it had; for ready-made tokens how many files.
    pub documents: usize,
    /// How it was split, in words.
    pub split: String,
}

/// Tells one text, split and tokenizer from another by their contents, wherever they lie and whatever they are called.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DataIdentity {
    /// The corpus, for messages alone.
    pub name: String,
    /// How many tokens the model learns from.
    pub train_tokens: usize,
    /// How many are held out.
    pub validation_tokens: usize,
    /// Of all token ids and of the tokenizer, in hexadecimal.
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

/// Where the tokenizer of a text comes from.
#[derive(Debug, Clone)]
pub enum TokenizerChoice {
    /// [`Tokenizer::bytes`].
    Bytes,
    /// [`Tokenizer::train_bpe`] on the training documents.
    Bpe,
    /// One that exists already.
    Given(Box<Tokenizer>),
}

impl Dataset {
    /// Splits and tokenizes documents in memory, for a model of `vocab_size` entries; needs no files.
    ///
    /// # Errors
    /// As [`split`] and [`Tokenizer`], and a tokenizer with more entries than the model.
    pub fn from_documents(
        documents: Vec<String>,
        name: String,
        license: String,
        choice: TokenizerChoice,
        vocab_size: usize,
        validation_fraction: f64,
    ) -> Result<Self> {
        let n_documents = documents.len();
        let split = split(documents, validation_fraction)?;
        let tokenizer = match choice {
            TokenizerChoice::Bytes => Tokenizer::bytes(),
            TokenizerChoice::Bpe => Tokenizer::train_bpe(&split.train, vocab_size, &mut |_| ())?,
            TokenizerChoice::Given(tokenizer) => *tokenizer,
        };
        check_vocab_size(&tokenizer, vocab_size)?;
        let (train, validation) = encode_split(&tokenizer, &split)?;
        let (train, validation) = (Tokens::Owned(train), Tokens::Owned(validation));
        Ok(Self::new(train, validation, tokenizer, name, license, n_documents, split.words))
    }

    /// What tells this data from another; reads all of it once.
    ///
    /// # Errors
    /// Tokens that cannot be read.
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

    /// The same tokens to learn from and to evaluate on, without text behind them: for benchmarks and overfitting.
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
        documents: usize,
        split: String,
    ) -> Self {
        let vocab_size = tokenizer.vocab_size();
        Self { train, validation, tokenizer: Some(tokenizer), vocab_size, name, license, documents, split }
    }
}

fn check_vocab_size(tokenizer: &Tokenizer, vocab_size: usize) -> Result<()> {
    let needed = tokenizer.vocab_size();
    if needed <= vocab_size {
        return Ok(());
    }
    let message = format!("is {vocab_size}, but the tokenizer has {needed} entries: set it to {needed} or more");
    Err(Error::config("model.vocab_size", message))
}

fn encode_split(tokenizer: &Tokenizer, split: &Split) -> Result<(Vec<u32>, Vec<u32>)> {
    let mut train = encode_documents(tokenizer, &split.train)?;
    if split.cuts_a_document {
        train.pop(); // the separator: that document does not end here
    }
    Ok((train, encode_documents(tokenizer, &split.validation)?))
}

/// The ids of all documents, each followed by the end of text, or by a line break where the tokenizer has none.
fn encode_documents(tokenizer: &Tokenizer, documents: &[String]) -> Result<Vec<u32>> {
    let separator = match tokenizer.end_of_text() {
        Some(id) => vec![id],
        None => tokenizer.encode("\n")?.last().map(|id| vec![*id]).unwrap_or_default(),
    };
    let mut ids = Vec::new();
    for document in documents {
        ids.extend(tokenizer.encode(document)?);
        ids.extend(&separator);
    }
    Ok(ids)
}

#[cfg(not(target_arch = "wasm32"))]
mod load {
    use std::path::{Path, PathBuf};

    use super::{Dataset, check_vocab_size, encode_split};
    use crate::data::cache::{cached_folder, digest, write};
    use crate::data::corpus::Corpus;
    use crate::data::sources;
    use crate::data::split::{Split, split};
    use crate::data::tokenizer::Tokenizer;
    use crate::data::tokens::{Shards, Tokens};
    use crate::settings::DataConfig;
    use crate::{Error, Result};

    /// What `config` names, for a model of `vocab_size` entries.
    ///
    /// A trained tokenizer and the token ids are kept in `config.cache_dir`, under a hash of all they depend on.
    ///
    /// # Errors
    /// As [`sources::load`], [`split()`] and [`Tokenizer`]; a tokenizer with more entries than the model;
    /// shards beside texts.
    pub fn load(config: &DataConfig, vocab_size: usize, progress: &mut dyn FnMut(&str)) -> Result<Dataset> {
        let shards = config.source.iter().map(|source| shard_paths(Path::new(source))).collect::<Result<Vec<_>>>()?;
        let n_sharded = shards.iter().filter(|paths| !paths.is_empty()).count();
        if n_sharded == 0 {
            return load_text(config, vocab_size, progress);
        }
        if n_sharded < shards.len() {
            let message = "names token shards (.bin) and texts together; name one kind";
            return Err(Error::config("data.source", message));
        }
        load_shards(config, shards.concat(), vocab_size)
    }

    fn load_text(config: &DataConfig, vocab_size: usize, progress: &mut dyn FnMut(&str)) -> Result<Dataset> {
        let corpus = sources::load(&config.source, &config.text_field, &config.cache_dir, progress)?;
        let Corpus { name, documents, license, .. } = corpus;
        let n_documents = documents.len();
        let split = split(documents, config.validation_fraction)?;
        let tokenizer = match config.tokenizer.as_str() {
            "bytes" => Tokenizer::bytes(),
            "bpe" => trained_bpe(&split.train, vocab_size, &config.cache_dir, progress)?,
            path if Path::new(path).exists() => Tokenizer::from_file(path)?,
            other => {
                let message = format!("is \"{other}\": neither \"bytes\" nor \"bpe\" nor a tokenizer.json that exists");
                return Err(Error::config("data.tokenizer", message));
            }
        };
        check_vocab_size(&tokenizer, vocab_size)?;
        let (train, validation) = encoded(&tokenizer, &split, &config.cache_dir, progress)?;
        Ok(Dataset::new(train, validation, tokenizer, name, license, n_documents, split.words))
    }

    fn trained_bpe(
        documents: &[String],
        vocab_size: usize,
        cache_dir: &Path,
        progress: &mut dyn FnMut(&str),
    ) -> Result<Tokenizer> {
        let hash = digest(documents);
        let folder = cache_dir.join("tokenizers").join(format!("bpe-{vocab_size}-{}", &hash[..16]));
        cached_folder(&folder, progress, |part, progress| {
            write(&part.join(TOKENIZER), Tokenizer::train_bpe(documents, vocab_size, progress)?.to_json())
        })?;
        Tokenizer::from_file(folder.join(TOKENIZER))
    }

    const TOKENIZER: &str = "tokenizer.json";

    /// Copies a tokenizer to where tokenizers stay, for the folder that it lies in may go: the copy's `tokenizer.json`.
    ///
    /// # Errors
    /// No tokenizer there, or a cache that cannot be written.
    pub fn keep_tokenizer(path: &Path, cache_dir: &Path) -> Result<PathBuf> {
        let files = Tokenizer::from_file(path)?.files();
        let hash = digest(files.iter().map(|(_, text)| text));
        let folder = cache_dir.join("tokenizers").join(&hash[..16]);
        cached_folder(&folder, &mut |line| log::warn!("{line}"), |part, _| {
            files.iter().try_for_each(|(name, text)| write(&part.join(name), text))
        })?;
        Ok(folder.join(TOKENIZER))
    }

    /// The ids of both sides: from shards in the cache, except that bytes are made faster than they are read,
    /// and that ids of large vocabularies do not fit a shard.
    fn encoded(
        tokenizer: &Tokenizer,
        split: &Split,
        cache_dir: &Path,
        progress: &mut dyn FnMut(&str),
    ) -> Result<(Tokens, Tokens)> {
        let vocab_size = tokenizer.vocab_size();
        if tokenizer.is_bytes() || vocab_size > usize::from(u16::MAX) + 1 {
            let (train, validation) = encode_split(tokenizer, split)?;
            return Ok((Tokens::Owned(train), Tokens::Owned(validation)));
        }
        let key = [tokenizer.to_json(), format!("{:?}", (tokenizer.end_of_text(), split.cuts_a_document))];
        let hash = digest([digest(&key), digest(&split.train), digest(&split.validation)]);
        let folder = cache_dir.join("tokens").join(&hash[..32]);
        cached_folder(&folder, progress, |part, progress| {
            let n_bytes: usize = split.train.iter().chain(&split.validation).map(String::len).sum();
            progress(&format!("tokenizing {:.1} MB of text", n_bytes as f64 / 1e6));
            let (train, validation) = encode_split(tokenizer, split)?;
            for (name, ids) in [("train.bin", train), ("val.bin", validation)] {
                let bytes: Vec<u8> = ids.iter().flat_map(|id| (*id as u16).to_le_bytes()).collect();
                if !bytes.is_empty() {
                    write(&part.join(name), bytes)?;
                }
            }
            Ok(())
        })?;
        let open = |name: &str| {
            let path = folder.join(name);
            let paths = if path.exists() { vec![path] } else { Vec::new() };
            Ok(Tokens::Mapped(Shards::open(&paths, vocab_size)?))
        };
        Ok((open("train.bin")?, open("val.bin")?))
    }

    /// The `.bin` files that a source names; none where it names text.
    fn shard_paths(source: &Path) -> Result<Vec<PathBuf>> {
        let is_shard = |path: &Path| path.extension().is_some_and(|extension| extension == "bin") && !path.is_dir();
        if !source.is_dir() {
            return Ok(if is_shard(source) { vec![source.to_owned()] } else { Vec::new() });
        }
        let mut paths = Vec::new();
        for entry in std::fs::read_dir(source).map_err(Error::io("read", source))? {
            let path = entry.map_err(Error::io("read", source))?.path();
            paths.extend(is_shard(&path).then_some(path));
        }
        paths.sort();
        Ok(paths)
    }

    /// Files with `val` in their names are held out; without one, the tail of the others is.
    fn load_shards(config: &DataConfig, paths: Vec<PathBuf>, vocab_size: usize) -> Result<Dataset> {
        let is_validation = |path: &PathBuf| path.file_name().unwrap_or_default().to_string_lossy().contains("val");
        let documents = paths.len();
        let (validation, train): (Vec<_>, Vec<_>) = paths.into_iter().partition(is_validation);
        if train.is_empty() {
            return Err(Error::Data(format!("{} holds no shard to train on (train*.bin)", config.source.join(", "))));
        }
        let all = Tokens::Mapped(Shards::open(&train, vocab_size)?);
        let (train, validation, split) = if validation.is_empty() {
            let n_held_out = (all.len() as f64 * config.validation_fraction).round() as usize;
            let cut = all.len() - n_held_out.min(all.len());
            let words = format!("held out: the contiguous tail, {n_held_out} of {} tokens", all.len());
            (all.slice(0..cut), all.slice(cut..all.len()), words)
        } else {
            let words = format!("held out: the {} shards named val", validation.len());
            (all, Tokens::Mapped(Shards::open(&validation, vocab_size)?), words)
        };
        let stem = |source: &String| Path::new(source).file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Dataset {
            train,
            validation,
            tokenizer: None,
            vocab_size,
            name: config.source.iter().map(stem).collect::<Vec<_>>().join("+"),
            license: "your own tokens, on their own terms".into(),
            documents,
            split,
        })
    }
}

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
        load(config, vocab_size, &mut |_| ())
    }

    /// Four documents of which the last is a quarter, with words of its own.
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
        let first = load(&config, 270, &mut |line| said.push(line.to_owned())).unwrap();
        assert_eq!(said.len(), 2 + usize::from(first.vocab_size < 270), "{said:?}");
        let tokenizer = first.tokenizer.as_ref().unwrap();
        assert!(tokenizer.encode("zygote").unwrap().len() >= 5, "the held-out word must not be merged");
        assert!(tokenizer.encode(" alpha").unwrap().len() <= 3);
        assert_eq!(read(&first.validation).last(), Some(&0), "a document ends with the end of text");

        said.clear();
        let second = load(&config, 270, &mut |line| said.push(line.to_owned())).unwrap();
        assert_eq!(said, [""; 0], "the second time comes from the cache");
        assert_eq!((read(&second.train), read(&second.validation)), (read(&first.train), read(&first.validation)));
        assert_eq!(second.tokenizer.unwrap().to_json(), tokenizer.to_json());

        // The cache must not change what a run sees: the same without files.
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
