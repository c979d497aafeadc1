//! The documents that `data.source` names: a built-in corpus, or files of the user's.

use std::collections::HashSet;
use std::path::Path;

use super::corpus::Corpus;
use super::{builtin, own_text, rust_book};
use crate::{Error, Result};

/// All documents of `sources`: `austen`, `public-domain`, `rust-book`, or paths of files and folders.
///
/// Built-in corpora are fetched once and then read from `cache_dir/corpora`.
/// A document that is there twice is kept once, or one copy could be held out and the other trained on.
///
/// # Errors
/// A source that is missing, empty, not UTF-8, not JSON Lines, or cannot be fetched; the message says which.
pub fn load(sources: &[String], text_field: &str, cache_dir: &Path, progress: &mut dyn FnMut(&str)) -> Result<Corpus> {
    let parts = sources.iter().map(|source| load_one(source, text_field, cache_dir, progress));
    let parts = parts.collect::<Result<Vec<_>>>()?;
    if parts.is_empty() {
        return Err(Error::config("data.source", "is empty: name a corpus (\"austen\") or a file (\"my.txt\")"));
    }
    let join = |of: fn(&Corpus) -> &str, with: &str| {
        let mut words: Vec<&str> = parts.iter().map(of).collect();
        words.dedup();
        words.join(with)
    };
    let name = join(|part| &part.name, "+");
    let license = join(|part| &part.license, "; ");
    let origin = join(|part| &part.origin, ", ");
    let mut documents: Vec<String> = parts.into_iter().flat_map(|part| part.documents).collect();
    let n_dropped = drop_duplicates(&mut documents);
    if n_dropped > 0 {
        progress(&format!("{n_dropped} documents of {name} are there more than once; each is used once"));
    }
    Ok(Corpus { name, documents, license, origin })
}

fn load_one(source: &str, text_field: &str, cache_dir: &Path, progress: &mut dyn FnMut(&str)) -> Result<Corpus> {
    if builtin::is_builtin(source) {
        return builtin::load(source, cache_dir, progress);
    }
    if source == "rust-book" {
        return rust_book::load();
    }
    let path = Path::new(source);
    Ok(Corpus {
        documents: own_text::load(path, text_field)?,
        name: path.file_stem().map_or(source.into(), |stem| stem.to_string_lossy().into_owned()),
        license: "your own text, on its own terms".into(),
        origin: source.into(),
    })
}

fn drop_duplicates(documents: &mut Vec<String>) -> usize {
    let n_before = documents.len();
    let mut seen = HashSet::new();
    let is_first: Vec<bool> = documents.iter().map(|document| seen.insert(document.as_str())).collect();
    let mut is_first = is_first.into_iter();
    documents.retain(|_| is_first.next().unwrap_or(true));
    n_before - documents.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_joined_and_duplicates_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        for (name, text) in [("a.txt", "one"), ("b.txt", "two"), ("c.txt", "one")] {
            std::fs::write(path(name), text).unwrap();
        }
        let mut said = Vec::new();
        let sources = [path("b.txt"), path("a.txt"), path("c.txt")];
        let corpus = load(&sources, "text", folder.path(), &mut |line| said.push(line.to_owned())).unwrap();
        assert_eq!(corpus.name, "b+a+c");
        assert_eq!(corpus.documents, ["two", "one"]);
        assert_eq!(corpus.license, "your own text, on its own terms");
        assert!(corpus.origin.contains("a.txt"));
        assert!(said[0].contains("1 documents of b+a+c"), "{said:?}");
    }

    #[test]
    fn no_source_is_an_error_of_the_setting() {
        let error = load(&[], "text", std::path::Path::new("."), &mut |_| ()).unwrap_err();
        assert!(error.to_string().starts_with("data.source: is empty"), "{error}");
    }
}
