//! The documents that `data.source` names: a built-in corpus, or the user's own files.

use std::path::{Path, PathBuf};

use super::corpus::Corpus;
use super::documents::Documents;
use super::progress::Progress;
use super::text_files::{NamedSplit, TextFile, find};
use super::{builtin, rust_book};
use crate::{Error, Result};

/// Loads all documents of `sources`: `austen`, `public-domain`, `rust-book`, or paths of files and folders.
///
/// Built-in corpora are fetched once and then read from `cache_dir/corpora`; files are read on demand. If some files
/// are named as training text and others as validation text (`train-00000.parquet`, `validation.jsonl`), the latter are
/// held out and files named as tests are skipped.
///
/// # Errors
/// If a source is missing, has no text, or cannot be fetched; the message says which.
pub fn load(sources: &[String], text_field: &str, cache_dir: &Path, progress: &mut dyn Progress) -> Result<Corpus> {
    if sources.is_empty() {
        return Err(Error::config("data.source", "is empty: name a corpus (\"austen\") or a file (\"my.txt\")"));
    }
    let mut parts = Vec::new();
    let mut files = Vec::new();
    for source in sources {
        if let Some(corpus) = load_builtin(source, cache_dir, progress)? {
            parts.push((corpus, 0));
            continue;
        }
        let path = Path::new(source);
        let found = find(path, text_field)?;
        found.note(path).into_iter().for_each(|note| progress.line(&note));
        if found.texts.is_empty() {
            let kinds = ".txt, .md, .rst, .jsonl, .json, .csv, .tsv or .parquet, compressed or not";
            return Err(Error::Data(format!("{} holds no text: no {kinds}", path.display())));
        }
        let corpus = Corpus {
            documents: Documents::default(),
            name: path.file_stem().map_or(source.into(), |stem| stem.to_string_lossy().into_owned()),
            license: "your own text, on its own terms".into(),
            origin: source.clone(),
        };
        parts.push((corpus, found.texts.len()));
        files.extend(found.texts);
    }
    let has = |wanted| files.iter().any(|(_, role)| *role == Some(wanted));
    let is_split = has(NamedSplit::Train) && has(NamedSplit::Validation);
    let n_tests = files.iter().filter(|(_, role)| *role == Some(NamedSplit::Test)).count();
    if is_split && n_tests > 0 {
        progress.line(&format!("{n_tests} files are named as tests and are skipped"));
    }
    let mut files = files.into_iter();
    let documents = parts.iter_mut().map(|(corpus, n_files)| {
        let own = files.by_ref().take(*n_files);
        std::mem::take(&mut corpus.documents).and(of_files(own, is_split))
    });
    let documents = documents.reduce(Documents::and).unwrap_or_default();
    let join = |of: fn(&Corpus) -> &str, with: &str| {
        let mut words: Vec<&str> = parts.iter().map(|(part, _)| of(part)).collect();
        words.dedup();
        words.join(with)
    };
    Ok(Corpus {
        name: join(|part| &part.name, "+"),
        license: join(|part| &part.license, "; "),
        origin: join(|part| &part.origin, ", "),
        documents,
    })
}

/// The token shards that `source` names; empty if it names texts.
pub(super) fn shards(source: &str, text_field: &str) -> Result<Vec<PathBuf>> {
    let is_text = builtin::is_builtin(source) || source == RUST_BOOK;
    Ok(if is_text { Vec::new() } else { find(Path::new(source), text_field)?.shards })
}

const RUST_BOOK: &str = "rust-book";

fn load_builtin(source: &str, cache_dir: &Path, progress: &mut dyn Progress) -> Result<Option<Corpus>> {
    if builtin::is_builtin(source) {
        return builtin::load(source, cache_dir, progress).map(Some);
    }
    if source == RUST_BOOK { rust_book::load().map(Some) } else { Ok(None) }
}

fn of_files(files: impl Iterator<Item = (TextFile, Option<NamedSplit>)>, is_split: bool) -> Documents {
    let (mut train, mut held_out) = (Vec::new(), Vec::new());
    for (file, role) in files {
        match role.filter(|_| is_split) {
            Some(NamedSplit::Test) => {}
            Some(NamedSplit::Validation) => held_out.push(file),
            Some(NamedSplit::Train) | None => train.push(file),
        }
    }
    Documents::of_files(train, held_out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::create_dir_all(folder.path().join(name).parent().unwrap()).unwrap();
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        folder
    }

    fn load_quietly(sources: &[String]) -> (Corpus, Vec<String>) {
        let mut said = Vec::new();
        let corpus = load(sources, "text", Path::new("."), &mut |line: &str| said.push(line.to_owned())).unwrap();
        (corpus, said)
    }

    #[test]
    fn sources_are_joined() {
        let folder = folder(&[("a.txt", "one"), ("b.txt", "two")]);
        let path = |name: &str| folder.path().join(name).display().to_string();
        let (corpus, _) = load_quietly(&[path("b.txt"), path("a.txt")]);
        assert_eq!(corpus.name, "b+a");
        assert_eq!(corpus.documents.whole().unwrap(), ["two", "one"]);
        assert_eq!(corpus.license, "your own text, on its own terms");
        assert!(corpus.origin.contains("a.txt"));
    }

    #[test]
    fn files_that_are_named_as_validation_text_are_held_out() {
        let files =
            [("train-00000.txt", "one"), ("validation.txt", "two"), ("test.txt", "three"), ("train-00001.txt", "four")];
        let whole = folder(&files);
        let (corpus, said) = load_quietly(&[whole.path().display().to_string()]);
        assert_eq!(corpus.documents.whole().unwrap(), ["one", "four", "two"]);
        assert_eq!(corpus.documents.survey(&mut |_: &str| ()).unwrap().first_held_out, Some(2));
        assert_eq!(said, ["1 files are named as tests and are skipped"]);

        // Only if there is also a file named as training text; otherwise the names mean nothing.
        let without = folder(&files[1..3]);
        let (corpus, said) = load_quietly(&[without.path().display().to_string()]);
        assert_eq!(corpus.documents.whole().unwrap(), ["three", "two"]);
        assert_eq!((corpus.documents.survey(&mut |_: &str| ()).unwrap().first_held_out, said.len()), (None, 0));
    }

    #[test]
    fn what_is_left_out_is_counted() {
        let folder =
            folder(&[("a.txt", "one"), ("x.png", ""), ("deep/y.png", ""), ("weights.bin", ""), ("LICENSE", "")]);
        let (corpus, said) = load_quietly(&[folder.path().display().to_string()]);
        assert_eq!(corpus.documents.whole().unwrap(), ["one"]);
        assert!(said[0].ends_with("4 files are not text, skipped: 1 .bin, 2 .png, 1 without an ending"), "{said:?}");
    }

    #[test]
    fn no_source_is_an_error_of_the_setting() {
        let error = load(&[], "text", Path::new("."), &mut |_: &str| ()).unwrap_err();
        assert!(error.to_string().starts_with("data.source: is empty"), "{error}");
    }
}
