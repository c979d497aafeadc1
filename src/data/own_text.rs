//! Documents from the user's own files: plain text, Markdown, JSON Lines, and folders of those.

use std::path::{Path, PathBuf};

use crate::{Error, Result};

const EXTENSIONS: [&str; 3] = ["txt", "md", "jsonl"];

/// The documents of a file or folder: one a text file, one a line of JSON Lines.
pub(super) fn load(path: &Path, text_field: &str) -> Result<Vec<String>> {
    if !path.exists() {
        return Err(Error::Data(format!(
            "data.source names {}, which does not exist (nor is it a built-in corpus: austen, public-domain, rust-book)",
            path.display()
        )));
    }
    let mut documents = Vec::new();
    for file in files(path)? {
        let text = read_text(&file)?;
        if has_extension(&file, "jsonl") {
            documents.extend(json_lines(&text, text_field, &file)?);
        } else {
            documents.push(text);
        }
    }
    documents.retain(|document| !document.trim().is_empty());
    if documents.is_empty() {
        let what = if path.is_dir() { " holds no text: no .txt, .md or .jsonl with words in it" } else { " is empty" };
        return Err(Error::Data(format!("{}{what}", path.display())));
    }
    Ok(documents)
}

/// The file itself, whatever it is called, or the text files of a folder and the folders in it, sorted.
fn files(path: &Path) -> Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(path).map_err(Error::io("read", path))? {
        entries.push(entry.map_err(Error::io("read", path))?.path());
    }
    entries.sort();
    let mut found = Vec::new();
    for entry in entries {
        if entry.is_dir() {
            found.extend(files(&entry)?);
        } else if EXTENSIONS.iter().any(|extension| has_extension(&entry, extension)) {
            found.push(entry);
        }
    }
    Ok(found)
}

fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|own| own.eq_ignore_ascii_case(extension))
}

fn read_text(path: &Path) -> Result<String> {
    let bytes = std::fs::read(path).map_err(Error::io("read", path))?;
    if let Some(kind) = kind_of(&bytes) {
        return Err(Error::Data(format!("{} is {kind}", path.display())));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let offset = error.utf8_error().valid_up_to();
        Error::Data(format!(
            "{} is not UTF-8: byte {offset} is 0x{:02x}. If it is text in another encoding, convert it, for example: \
             iconv -f latin1 -t utf-8",
            path.display(),
            error.as_bytes()[offset]
        ))
    })?;
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

/// What a file is by its first bytes, if it is no UTF-8, and what to do about it.
fn kind_of(bytes: &[u8]) -> Option<&'static str> {
    const KINDS: [(&[u8], &str); 8] = [
        (b"\xff\xfe", "UTF-16 text: convert it by `iconv -f utf-16 -t utf-8`"),
        (b"\xfe\xff", "UTF-16 text: convert it by `iconv -f utf-16 -t utf-8`"),
        (b"PAR1", "a Parquet file: write its text column as JSON Lines first"),
        (b"\x1f\x8b", "compressed by gzip: unpack it first"),
        (b"\x28\xb5\x2f\xfd", "compressed by zstd: unpack it first"),
        (b"\xfd7zXZ\x00", "compressed by xz: unpack it first"),
        (b"PK\x03\x04", "a ZIP archive: unpack it first"),
        (b"%PDF", "a PDF: extract its text first"),
    ];
    KINDS.iter().find(|(magic, _)| bytes.starts_with(magic)).map(|(_, kind)| *kind)
}

fn json_lines(text: &str, text_field: &str, path: &Path) -> Result<Vec<String>> {
    let mut documents = Vec::new();
    for (i, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let at = format!("{}:{}", path.display(), i + 1);
        let value: serde_json::Value =
            serde_json::from_str(line).map_err(|error| Error::Data(format!("{at}: not JSON: {error}")))?;
        let Some(document) = value.get(text_field).and_then(|field| field.as_str()) else {
            let keys = value.as_object().map(|object| object.keys().cloned().collect::<Vec<_>>().join(", "));
            let keys = keys.unwrap_or_else(|| "none: it is not an object".into());
            return Err(Error::Data(format!(
                "{at}: no text in the field \"{text_field}\" (its fields: {keys}); set data.text_field"
            )));
        };
        documents.push(document.to_owned());
    }
    Ok(documents)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
        folder
    }

    fn message(folder: &tempfile::TempDir, name: &str) -> String {
        load(&folder.path().join(name), "text").unwrap_err().to_string()
    }

    #[test]
    fn a_folder_is_read_recursively_in_order() {
        let folder = folder(&[
            ("b.md", b"\xef\xbb\xbfbee"),
            ("a/z.TXT", "zédé".as_bytes()),
            ("a/y.txt", b"why"),
            ("c.jsonl", b"{\"text\": \"one\"}\n\n{\"n\": 1, \"text\": \"two\\n\"}\n"),
            ("image.png", b"\xff\xfe"),
            ("empty.txt", b" \n"),
        ]);
        assert_eq!(load(folder.path(), "text").unwrap(), ["why", "zédé", "bee", "one", "two\n"]);
    }

    #[test]
    fn messages_name_the_place() {
        let folder = folder(&[
            ("latin.txt", b"caf\xe9"),
            ("empty.txt", b""),
            ("field.jsonl", b"{\"text\": \"a\"}\n{\"body\": \"b\", \"id\": 2}"),
            ("broken.jsonl", b"{\"text\": "),
            ("list.jsonl", b"[1]"),
            ("images/x.png", b""),
        ]);
        assert!(message(&folder, "nowhere.txt").contains("nowhere.txt, which does not exist"));
        assert!(message(&folder, "latin.txt").contains("latin.txt is not UTF-8: byte 3 is 0xe9"));
        assert!(message(&folder, "empty.txt").ends_with("empty.txt is empty"));
        assert!(message(&folder, "images").contains("holds no text"));
        let field = message(&folder, "field.jsonl");
        assert!(field.contains("field.jsonl:2: no text in the field \"text\" (its fields: body, id)"), "{field}");
        assert!(message(&folder, "broken.jsonl").contains("broken.jsonl:1: not JSON"));
        assert!(message(&folder, "list.jsonl").contains("it is not an object"));
    }

    #[test]
    fn files_of_other_kinds_are_told_as_such() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        for (bytes, expected) in [
            (&b"\xff\xfeh\0i\0"[..], "a.txt is UTF-16 text: convert it by `iconv -f utf-16"),
            (b"PAR1\x15\x04", "a.txt is a Parquet file"),
            (b"\x1f\x8b\x08", "a.txt is compressed by gzip"),
            (b"caf\xe9", "a.txt is not UTF-8: byte 3 is 0xe9"),
        ] {
            std::fs::write(&path, bytes).unwrap();
            let error = load(&path, "text").unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
