//! Finds the files of a path that hold documents or token shards, and those to skip.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::bytes::is_parquet;
use super::{Format, TextFile};
use crate::{Error, Result};

/// The files of a source.
#[derive(Debug, Default)]
pub(in crate::data) struct Found {
    /// In reading order.
    pub texts: Vec<(TextFile, Option<NamedSplit>)>,
    /// `.bin` files, used if there are no texts.
    pub shards: Vec<PathBuf>,
    /// The number of other files by extension.
    left_out: BTreeMap<String, usize>,
}

/// The split that a file's name indicates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::data) enum NamedSplit {
    Train,
    Validation,
    Test,
}

/// The file itself, whatever its name, or the files in a folder and its subfolders, sorted.
///
/// Skips names that start with a dot. `field` is the field of rows and objects that holds the text.
pub(in crate::data) fn find(path: &Path, field: &str) -> Result<Found> {
    if !path.exists() {
        return Err(Error::Data(format!(
            "data.source names {}, which does not exist (nor is it a built-in corpus: austen, public-domain, rust-book)",
            path.display()
        )));
    }
    let field: Arc<str> = field.into();
    let mut found = Found::default();
    if !path.is_dir() {
        if ending(path) == "bin" {
            found.shards.push(path.to_owned());
        } else {
            let format = format(path).unwrap_or(if is_parquet(path) { Format::Parquet } else { Format::Plain });
            found
                .texts
                .push((TextFile { path: path.to_owned(), format, field }, NamedSplit::of(Path::new(file_name(path)))));
        }
        return Ok(found);
    }
    let mut visited = HashSet::new();
    visit(path, &mut visited, &mut |file| {
        let name = file_name(file);
        if ending(file) == "bin" {
            found.shards.push(file.to_owned());
        } else if let Some(format) = format(file).filter(|_| !DESCRIPTIONS.contains(&name)) {
            let role = NamedSplit::of(file.strip_prefix(path).unwrap_or(file));
            found.texts.push((TextFile { path: file.to_owned(), format, field: field.clone() }, role));
        } else {
            found.leave_out(file);
        }
    })?;
    // Next to tables, a README is a description.
    if found.texts.iter().any(|(text, _)| text.format != Format::Plain) {
        let is_readme = |text: &TextFile| file_name(&text.path).to_lowercase().starts_with("readme.");
        for (readme, _) in found.texts.extract_if(.., |(text, _)| is_readme(text)).collect::<Vec<_>>() {
            found.leave_out(&readme.path);
        }
    }
    if !found.texts.is_empty() {
        for shard in std::mem::take(&mut found.shards) {
            found.leave_out(&shard);
        }
    }
    Ok(found)
}

/// Files that describe a data set or tokenizer and hold no documents.
const DESCRIPTIONS: [&str; 9] = [
    "added_tokens.json",
    "config.json",
    "dataset_dict.json",
    "dataset_info.json",
    "dataset_infos.json",
    "special_tokens_map.json",
    "state.json",
    "tokenizer.json",
    "tokenizer_config.json",
];

impl Found {
    /// A sentence about the skipped files.
    pub fn note(&self, path: &Path) -> Option<String> {
        let count: usize = self.left_out.values().sum();
        let kinds: Vec<String> = self.left_out.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        let files = if count == 1 { "1 file is" } else { &format!("{count} files are") };
        (count > 0).then(|| format!("{}: {files} not text, skipped: {}", path.display(), kinds.join(", ")))
    }

    fn leave_out(&mut self, file: &Path) {
        let kind = match ending(file).as_str() {
            "" => "without an ending".to_owned(),
            "json" | "md" => file_name(file).to_owned(),
            ending => format!(".{ending}"),
        };
        *self.left_out.entry(kind).or_default() += 1;
    }
}

impl NamedSplit {
    /// Determined by a word of the file's name or of its folder: `fineweb_val_000000.bin`, `train/a.txt`; not
    /// `medieval.txt`.
    pub fn of(path: &Path) -> Option<Self> {
        let word = |word: &str| match word.to_lowercase().as_str() {
            "train" | "training" => Some(Self::Train),
            "val" | "valid" | "validation" | "dev" => Some(Self::Validation),
            "test" => Some(Self::Test),
            _ => None,
        };
        let mut words = file_name(path).split(|c: char| !c.is_alphanumeric());
        let folders = path.parent().into_iter().flat_map(Path::components);
        words.find_map(word).or_else(|| folders.filter_map(|folder| word(folder.as_os_str().to_str()?)).next_back())
    }
}

fn visit(folder: &Path, visited: &mut HashSet<PathBuf>, found: &mut impl FnMut(&Path)) -> Result<()> {
    // A symbolic link may lead back to a parent folder.
    if !visited.insert(folder.canonicalize().map_err(Error::io("read", folder))?) {
        return Ok(());
    }
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(Error::io("read", folder))? {
        entries.push(entry.map_err(Error::io("read", folder))?.path());
    }
    entries.retain(|entry| !file_name(entry).starts_with('.'));
    entries.sort();
    for entry in entries {
        if entry.is_dir() {
            visit(&entry, visited, found)?;
        } else {
            found(&entry);
        }
    }
    Ok(())
}

/// By the name, without a compression extension.
fn format(path: &Path) -> Option<Format> {
    let packed = ending(path);
    let unpacked = if ["gz", "zst"].contains(&packed.as_str()) { ending(&path.with_extension("")) } else { packed };
    Some(match unpacked.as_str() {
        "txt" | "text" | "md" | "markdown" | "rst" => Format::Plain,
        "jsonl" | "ndjson" => Format::JsonLines,
        "json" => Format::Json,
        "csv" => Format::Table(b','),
        "tsv" => Format::Table(b'\t'),
        "parquet" => Format::Parquet,
        _ => return None,
    })
}

fn ending(path: &Path) -> String {
    path.extension().unwrap_or_default().to_string_lossy().to_lowercase()
}

fn file_name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}
