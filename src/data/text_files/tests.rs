use std::io::Write;
use std::path::Path;

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

/// All documents of a path; those without text are empty.
fn load(path: &Path, field: &str) -> Result<Vec<String>> {
    let mut documents = vec![String::new()];
    for (file, _) in find(path, field)?.texts {
        for chunk in file.chunks() {
            let chunk = chunk?;
            *documents.last_mut().unwrap() += &chunk.text;
            documents.extend(chunk.ends_document.then(String::new));
        }
    }
    assert_eq!(documents.pop().as_deref(), Some(""), "every document ends");
    Ok(documents)
}

fn message(folder: &tempfile::TempDir, name: &str) -> String {
    load(&folder.path().join(name), "text").unwrap_err().to_string()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn a_folder_is_read_recursively_in_order() {
    let folder = folder(&[
        ("b.md", b"\xef\xbb\xbfbee"),
        ("a/z.TXT", "zédé".as_bytes()),
        ("a/y.txt", b"why"),
        ("c.jsonl", b"{\"text\": \"one\"}\n\n{\"n\": 1, \"text\": \"two\\n\"}\n"),
        ("d.json", b"[{\"text\": \"three\", \"n\": [1, {}]}, \"four\",\n null]"),
        ("e.csv", b"id,text\n1,five\n2,\"six, \"\"7\"\"\n8\"\n"),
        ("f.tsv", b"text\tid\nnine\t1\n"),
        ("image.png", b"\xff\xfe"),
        (".hidden.txt", b"unseen"),
        (".git/x.txt", b"unseen"),
        ("tokenizer.json", b"{}"),
        ("README.md", b"about these tables"),
    ]);
    let expected = ["why", "zédé", "bee", "one", "two\n", "three", "four", "", "five", "six, \"7\"\n8", "nine"];
    assert_eq!(load(folder.path(), "text").unwrap(), expected);
    let note = find(folder.path(), "text").unwrap().note(Path::new("texts"));
    let expected = "texts: 3 files are not text, skipped: 1 .png, 1 README.md, 1 tokenizer.json";
    assert_eq!(note.as_deref(), Some(expected));
}

#[test]
fn what_is_compressed_is_unpacked_whatever_it_is_called() {
    let mut two = gzip(b"one ");
    two.extend(gzip(b"and two"));
    let lines = gzip(b"{\"text\": \"a\"}\n{\"text\": null}\n");
    let files = [("a.txt.gz", &two[..]), ("b.jsonl.gz", &lines), ("dump", &gzip(b"packed")), ("broken.gz", &two[..20])];
    let folder = folder(&files);
    assert_eq!(load(&folder.path().join("a.txt.gz"), "text").unwrap(), ["one and two"]);
    assert_eq!(load(&folder.path().join("b.jsonl.gz"), "text").unwrap(), ["a", ""]);
    assert_eq!(load(&folder.path().join("dump"), "text").unwrap(), ["packed"]);
    assert!(message(&folder, "broken.gz").starts_with("cannot read "), "{}", message(&folder, "broken.gz"));
}

#[test]
fn a_long_text_comes_in_chunks_that_keep_characters_whole() {
    let text = "naïve 😀 ".repeat(100_000);
    let folder = folder(&[("a.txt", text.as_bytes())]);
    let found = find(folder.path(), "text").unwrap();
    let chunks: Vec<_> = found.texts[0].0.chunks().map(Result::unwrap).collect();
    assert!(chunks.len() > 3 && chunks.iter().all(|chunk| chunk.text.len() <= (1 << 18) + 3), "{}", chunks.len());
    assert_eq!(load(folder.path(), "text").unwrap(), [text]);
}

#[test]
fn messages_name_the_place() {
    let far = [&b"a".repeat(300_000)[..], b"caf\xe9"].concat();
    let folder = folder(&[
        ("latin.txt", b"caf\xe9"),
        ("far.txt", &far),
        ("cut.txt", b"caf\xc3"),
        ("field.jsonl", b"{\"text\": \"a\"}\n{\"body\": \"b\", \"id\": 2}"),
        ("broken.jsonl", b"{\"text\": "),
        ("list.jsonl", b"[1]"),
        ("numbers.json", b"[{\"text\": \"a\"}, 2]"),
        ("table.csv", b"id,body\n1,a\n"),
        ("ragged.csv", b"id,text\n1\n"),
    ]);
    assert!(message(&folder, "nowhere.txt").contains("nowhere.txt, which does not exist"));
    assert!(message(&folder, "latin.txt").contains("latin.txt is not UTF-8: byte 3 is 0xe9"));
    assert!(message(&folder, "far.txt").contains("byte 300003 is 0xe9"), "{}", message(&folder, "far.txt"));
    assert!(message(&folder, "cut.txt").contains("byte 3 is 0xc3"));
    let field = message(&folder, "field.jsonl");
    assert!(field.contains("field.jsonl:2: no text in the field \"text\" (its fields: body, id)"), "{field}");
    assert!(message(&folder, "broken.jsonl").contains("broken.jsonl:1: not JSON"));
    assert!(message(&folder, "list.jsonl").contains("it is not an object"));
    assert!(message(&folder, "numbers.json").contains("numbers.json, value 2: begins with '2', but a document is"));
    assert!(message(&folder, "table.csv").contains("table.csv: no text in the field \"text\" (its fields: id, body)"));
    assert!(message(&folder, "ragged.csv").contains("not a table of one shape"), "{}", message(&folder, "ragged.csv"));
}

#[test]
fn files_of_other_kinds_are_told_as_such() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.txt");
    for (bytes, expected) in [
        (&b"\xff\xfeh\0i\0"[..], "a.txt is UTF-16 text: convert it by `iconv -f utf-16"),
        (b"\xfd7zXZ\0", "a.txt is compressed by xz"),
        (b"PK\x03\x04", "a.txt is a ZIP archive"),
        (b"caf\xe9", "a.txt is not UTF-8: byte 3 is 0xe9"),
    ] {
        std::fs::write(&path, bytes).unwrap();
        let error = load(&path, "text").unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn a_word_of_the_name_tells_the_split() {
    let of = |name: &str| NamedSplit::of(Path::new(name));
    assert_eq!(of("train-00000-of-00005.parquet"), Some(NamedSplit::Train));
    assert_eq!(of("fineweb_val_000000.bin"), Some(NamedSplit::Validation));
    assert_eq!(of("data/validation/a.txt"), Some(NamedSplit::Validation));
    assert_eq!(of("val/a.txt"), Some(NamedSplit::Validation));
    assert_eq!(of("test.jsonl"), Some(NamedSplit::Test));
    assert_eq!(of("medieval.bin"), None);
    assert_eq!(of("training_data.txt"), Some(NamedSplit::Train));
}

#[cfg(feature = "parquet")]
mod parquet_files {
    use std::sync::Arc;

    use ::parquet::basic::Compression;
    use ::parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
    use ::parquet::file::properties::WriterProperties;
    use ::parquet::file::writer::SerializedFileWriter;
    use ::parquet::schema::parser::parse_message_type;

    use super::*;

    /// Row groups of texts; null for `None`.
    fn write(path: &Path, compression: Compression, groups: &[Vec<Option<String>>]) {
        let schema = "message rows { required int64 id; optional binary text (UTF8); }";
        let schema = Arc::new(parse_message_type(schema).unwrap());
        let properties = Arc::new(WriterProperties::builder().set_compression(compression).build());
        let mut writer = SerializedFileWriter::new(std::fs::File::create(path).unwrap(), schema, properties).unwrap();
        for group in groups {
            let mut columns = writer.next_row_group().unwrap();
            let ids: Vec<i64> = (0..).take(group.len()).collect();
            let mut column = columns.next_column().unwrap().unwrap();
            column.typed::<Int64Type>().write_batch(&ids, None, None).unwrap();
            column.close().unwrap();
            let texts: Vec<ByteArray> = group.iter().flatten().map(|text| text.as_str().into()).collect();
            let levels: Vec<i16> = group.iter().map(|text| i16::from(text.is_some())).collect();
            let mut column = columns.next_column().unwrap().unwrap();
            column.typed::<ByteArrayType>().write_batch(&texts, Some(&levels), None).unwrap();
            column.close().unwrap();
            columns.close().unwrap();
        }
        writer.close().unwrap();
    }

    #[test]
    fn rows_come_from_every_row_group_and_compression() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.parquet");
        let row = |i: usize| (i % 7 != 3).then(|| format!("row {i}"));
        let groups: Vec<Vec<_>> = [0..700, 700..701, 701..1000].map(|rows| rows.map(row).collect()).to_vec();
        let expected: Vec<String> = (0..1000).map(|i| row(i).unwrap_or_default()).collect();
        let (zstd, gzip) = (Compression::ZSTD(Default::default()), Compression::GZIP(Default::default()));
        for compression in [Compression::UNCOMPRESSED, Compression::SNAPPY, Compression::LZ4_RAW, zstd, gzip] {
            write(&path, compression, &groups);
            assert_eq!(load(folder.path(), "text").unwrap(), expected, "{compression:?}");
        }
        std::fs::rename(&path, folder.path().join("rows")).unwrap();
        assert_eq!(load(&folder.path().join("rows"), "text").unwrap(), expected, "by its first bytes");
        let error = load(&folder.path().join("rows"), "body").unwrap_err().to_string();
        assert!(error.contains("no text in the field \"body\" (its fields: id, text)"), "{error}");
        let error = load(&folder.path().join("rows"), "id").unwrap_err().to_string();
        assert!(error.contains("the column \"id\" holds INT64, not text"), "{error}");
        std::fs::write(&path, b"PAR1 and no more").unwrap();
        let error = load(&path, "text").unwrap_err().to_string();
        assert!(error.contains("a.parquet: cannot be read as Parquet"), "{error}");
    }

    #[test]
    fn zstd_is_unpacked() {
        let folder = folder(&[("a.txt.zst", &zstd::bulk::compress(b"packed", 1).unwrap())]);
        assert_eq!(load(folder.path(), "text").unwrap(), ["packed"]);
    }
}
