//! Loads the data that `[data]` names: texts, tokenized and cached, or ready-made shards.

use std::path::{Path, PathBuf};

use super::{Dataset, check_vocab_size, split_documents, train_bpe};
use crate::data::cache::{cached_folder, digest, new_folder, write};
use crate::data::corpus::Corpus;
use crate::data::encode::encode;
use crate::data::progress::Progress;
use crate::data::shards::{ShardWriter, Shards};
use crate::data::sources;
use crate::data::split::{Side, Split};
use crate::data::text_files::NamedSplit;
use crate::data::tokenizer::Tokenizer;
use crate::data::tokens::Tokens;
use crate::settings::DataConfig;
use crate::{Error, Result};

const TOKENIZER: &str = "tokenizer.json";
/// A single shard per side, up to the largest count that its header can store.
const CACHED_SHARD: usize = i32::MAX as usize;

/// Loads the data that `config` names, for a model with `vocab_size` entries.
///
/// Caches a trained tokenizer and the token ids in [`DataConfig::cache_dir`], under a hash of everything they depend
/// on. Reads texts in chunks, three times if a tokenizer is trained on them: they may be larger than memory.
///
/// # Errors
/// See [`sources::load`] and [`Tokenizer`]; also a tokenizer with more entries than the model, or shards mixed with
/// texts.
pub fn load(config: &DataConfig, vocab_size: usize, progress: &mut dyn Progress) -> Result<Dataset> {
    let shards = config.source.iter().map(|source| sources::shards(source, &config.text_field));
    let shards = shards.collect::<Result<Vec<_>>>()?;
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

fn load_text(config: &DataConfig, vocab_size: usize, progress: &mut dyn Progress) -> Result<Dataset> {
    let (name, license, split) = split_text(config, progress)?;
    let tokenizer = tokenizer(config, &split, vocab_size, progress)?;
    check_vocab_size(&tokenizer, vocab_size)?;
    let key = digest([tokenizer.to_json(), format!("{:?}", tokenizer.end_of_text()), split.key()]);
    let folder = config.cache_dir().join("tokens").join(&key[..32]);
    cached_folder(&folder, progress, |part, progress| {
        write_shards(part, &tokenizer, &split, CACHED_SHARD, progress).map(|_| ())
    })?;
    let (train, validation) = sides(&folder)?;
    let open = |paths: &[PathBuf]| Ok(Tokens::Mapped(Shards::open(paths, tokenizer.vocab_size())?));
    let (train, validation) = (open(&train)?, open(&validation)?);
    Ok(Dataset::new(train, validation, tokenizer, name, license, &split))
}

fn split_text(config: &DataConfig, progress: &mut dyn Progress) -> Result<(String, String, Split)> {
    let corpus = sources::load(&config.source, &config.text_field, &config.cache_dir(), progress)?;
    let Corpus { name, documents, license, origin } = corpus;
    let split = split_documents(documents, [&name, &origin], config.validation_fraction, progress)?;
    Ok((name, license, split))
}

fn tokenizer(config: &DataConfig, split: &Split, vocab_size: usize, progress: &mut dyn Progress) -> Result<Tokenizer> {
    match config.tokenizer.as_str() {
        "bytes" => Ok(Tokenizer::bytes()),
        "bpe" => trained_bpe(split, vocab_size, &config.cache_dir(), progress),
        path if Path::new(path).exists() => Tokenizer::from_file(path),
        other => {
            let message = format!("is \"{other}\": neither \"bytes\" nor \"bpe\" nor a tokenizer.json that exists");
            Err(Error::config("data.tokenizer", message))
        }
    }
}

fn trained_bpe(split: &Split, vocab_size: usize, cache_dir: &Path, progress: &mut dyn Progress) -> Result<Tokenizer> {
    let hash = digest([split.key()]);
    let folder = cache_dir.join("tokenizers").join(format!("bpe-{vocab_size}-{}", &hash[..16]));
    cached_folder(&folder, progress, |part, progress| {
        write(&part.join(TOKENIZER), train_bpe(split, vocab_size, progress)?.to_json())
    })?;
    Tokenizer::from_file(folder.join(TOKENIZER))
}

/// Copies a tokenizer into the cache, because its directory may be removed; returns the copy's `tokenizer.json`.
///
/// # Errors
/// If the cache cannot be written.
pub fn cache_tokenizer(tokenizer: &Tokenizer, cache_dir: &Path) -> Result<PathBuf> {
    let files = tokenizer.files();
    let hash = digest(files.iter().map(|(_, text)| text));
    let folder = cache_dir.join("tokenizers").join(&hash[..16]);
    cached_folder(&folder, &mut |line: &str| log::warn!("{line}"), |part, _| {
        files.iter().try_for_each(|(name, text)| write(&part.join(name), text))
    })?;
    Ok(folder.join(TOKENIZER))
}

/// The result of [`tokenize`].
#[derive(Debug, Clone)]
pub struct TokenizedFolder {
    /// Training shards and held-out shards.
    pub shards: [Vec<PathBuf>; 2],
    /// Token ids in each.
    pub n_tokens: [u64; 2],
    /// Bytes of text in each.
    pub n_bytes: [u64; 2],
    /// Number of documents.
    pub documents: usize,
    /// How the text was split, for display.
    pub split: String,
    /// Entries of the tokenizer, which is saved with the shards.
    pub vocab_size: usize,
}

/// Tokenizes the text that `config` names into shards in the new directory `out`, together with the tokenizer.
///
/// To train on them, set `data.source` to that directory.
///
/// # Errors
/// See [`load`]; also a directory that already exists.
pub fn tokenize(
    config: &DataConfig,
    vocab_size: usize,
    ids_per_shard: usize,
    out: &Path,
    progress: &mut dyn Progress,
) -> Result<TokenizedFolder> {
    if out.exists() {
        let message = "already exists, and shards of two texts would mix: name a new directory";
        return Err(Error::Data(format!("{} {message}", out.display())));
    }
    let (_, _, split) = split_text(config, progress)?;
    let tokenizer = tokenizer(config, &split, vocab_size, progress)?;
    let mut shards = Default::default();
    new_folder(out, |part| {
        tokenizer.files().iter().try_for_each(|(name, text)| write(&part.join(name), text))?;
        shards = write_shards(part, &tokenizer, &split, ids_per_shard, progress)?;
        Ok(())
    })?;
    let (train, validation) = sides(out)?;
    Ok(TokenizedFolder {
        shards: [train, validation],
        n_tokens: shards,
        n_bytes: [split.train_bytes, split.validation_bytes],
        documents: split.n_documents(),
        split: split.words,
        vocab_size: tokenizer.vocab_size(),
    })
}

/// Returns the number of ids on each side.
fn write_shards(
    folder: &Path,
    tokenizer: &Tokenizer,
    split: &Split,
    ids_per_shard: usize,
    progress: &mut dyn Progress,
) -> Result<[u64; 2]> {
    let megabytes = (split.train_bytes + split.validation_bytes) as f64 / 1e6;
    progress.line(&format!("tokenizing {megabytes:.1} MB of text"));
    let [mut train, mut validation] =
        ["train", "val"].map(|stem| ShardWriter::new(folder, stem, tokenizer.vocab_size(), ids_per_shard));
    encode(tokenizer, split, progress, &mut |side, ids| match side {
        Side::Train => train.write(ids),
        Side::Validation => validation.write(ids),
    })?;
    Ok([train.finish()?.1, validation.finish()?.1])
}

/// The shards of a directory written by this program: training, then held-out.
fn sides(folder: &Path) -> Result<(Vec<PathBuf>, Vec<PathBuf>)> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(Error::io("read", folder))? {
        paths.push(entry.map_err(Error::io("read", folder))?.path());
    }
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "bin"));
    paths.sort();
    Ok(paths.into_iter().partition(|path| NamedSplit::of(path) == Some(NamedSplit::Train)))
}

/// Files named as validation shards are held out; if there are none, the tail of the others is.
fn load_shards(config: &DataConfig, paths: Vec<PathBuf>, vocab_size: usize) -> Result<Dataset> {
    let role = |path: &Path| NamedSplit::of(Path::new(path.file_name().unwrap_or_default()));
    let has_train = paths.iter().any(|path| role(path) == Some(NamedSplit::Train));
    let tokenizer = own_tokenizer(&config.source, vocab_size)?;
    let documents = paths.len();
    let (mut train, mut validation) = (Vec::new(), Vec::new());
    for path in paths {
        match role(&path) {
            Some(NamedSplit::Validation) => validation.push(path),
            Some(NamedSplit::Test) if has_train => {}
            _ => train.push(path),
        }
    }
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
        tokenizer,
        vocab_size,
        name: config.source.iter().map(stem).collect::<Vec<_>>().join("+"),
        license: "your own tokens, on their own terms".into(),
        documents,
        split,
    })
}

/// The tokenizer saved by [`tokenize`] with the shards, if they are the only source.
fn own_tokenizer(sources: &[String], vocab_size: usize) -> Result<Option<Tokenizer>> {
    let [source] = sources else { return Ok(None) };
    let tokenizer = Tokenizer::of_folder(Path::new(source))?;
    tokenizer.iter().try_for_each(|tokenizer| check_vocab_size(tokenizer, vocab_size))?;
    Ok(tokenizer)
}
