//! Compressed SWORD modules: `ot.?zs` gives the positions of the blocks in `ot.?zz`, and likewise for `nt`.
//!
//! A record of the .?zs is three little-endian u32: offset, compressed size, size. A block is a zlib stream of OSIS.
//! The first letter of the extension is the unit of a block: `b` a book, `c` a chapter.

use std::io::Read;
use std::path::Path;

use flate2::read::ZlibDecoder;

use super::markup::{OSIS, attribute, plain_text, positions_of};
use crate::{Error, Result};

/// The documents of a module's folder with their OSIS names: its books, or its chapters if those are its blocks.
pub(super) fn documents(folder: &Path) -> Result<Vec<(String, String)>> {
    let mut documents = Vec::new();
    for testament in ["ot", "nt"] {
        for (unit, element, attributes) in
            [("b", "div", [" sID=", " type=\"book\""]), ("c", "chapter", [" sID=", " osisID="])]
        {
            let sizes = folder.join(format!("{testament}.{unit}zs"));
            if !sizes.exists() {
                continue;
            }
            let blocks = folder.join(format!("{testament}.{unit}zz"));
            let markup = inflate_blocks(&read(&sizes)?, &read(&blocks)?)
                .map_err(|what| Error::Data(format!("{}: {what}", blocks.display())))?;
            documents.extend(split_into_documents(&markup, element, &attributes));
        }
    }
    if documents.is_empty() {
        return Err(Error::Data(format!("{} holds no SWORD module (ot.bzs, ot.czs, …)", folder.display())));
    }
    Ok(documents)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(Error::io("read", path))
}

fn inflate_blocks(sizes: &[u8], blocks: &[u8]) -> Result<String, String> {
    let mut markup = String::new();
    for (i, record) in sizes.chunks_exact(12).enumerate() {
        let field =
            |at: usize| u32::from_le_bytes([record[at], record[at + 1], record[at + 2], record[at + 3]]) as usize;
        let (offset, compressed, size) = (field(0), field(4), field(8));
        if compressed == 0 {
            continue;
        }
        let block = blocks.get(offset..offset.saturating_add(compressed));
        let block = block.ok_or_else(|| format!("block {i} lies outside its {} bytes", blocks.len()))?;
        let mut text = Vec::with_capacity(size);
        ZlibDecoder::new(block).read_to_end(&mut text).map_err(|e| format!("block {i} does not inflate: {e}"))?;
        let text = String::from_utf8(text).map_err(|e| format!("block {i} is not UTF-8: {e}"))?;
        markup.push_str(&text);
    }
    Ok(markup)
}

/// Splits at opening tags, not at blocks: a book whose numbering SWORD does not know spans several blocks, and two
/// books can share one.
fn split_into_documents(markup: &str, element: &str, attributes: &[&str]) -> Vec<(String, String)> {
    let mut cuts = positions_of(markup, element, attributes);
    cuts.insert(0, 0);
    cuts.push(markup.len());
    let mut documents = Vec::new();
    for (i, pair) in cuts.windows(2).enumerate() {
        let part = &markup[pair[0]..pair[1]];
        let text = plain_text(part, &OSIS);
        if text.is_empty() {
            continue;
        }
        let name = if i == 0 { "Preface" } else { attribute(part, "osisID").unwrap_or("untitled") };
        documents.push((name.to_owned(), text));
    }
    documents
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::ZlibEncoder};

    use super::*;

    fn write_module(folder: &Path, stem: &str, blocks: &[&str]) {
        let (mut sizes, mut bytes) = (Vec::new(), Vec::new());
        for block in blocks {
            let mut zlib = ZlibEncoder::new(Vec::new(), Compression::fast());
            zlib.write_all(block.as_bytes()).unwrap();
            let compressed = zlib.finish().unwrap();
            for value in [bytes.len(), compressed.len(), block.len()] {
                sizes.extend((value as u32).to_le_bytes());
            }
            bytes.extend(compressed);
        }
        sizes.extend([0; 12]); // a book missing from the module
        std::fs::write(folder.join(format!("{stem}zs")), sizes).unwrap();
        std::fs::write(folder.join(format!("{stem}zz")), bytes).unwrap();
    }

    fn book(name: &str, text: &str) -> String {
        format!(
            "<div osisID=\"{name}\" sID=\"g\" type=\"book\"/>{text}<div eID=\"g\" osisID=\"{name}\" type=\"book\"/>"
        )
    }

    #[test]
    fn books_are_documents_however_the_blocks_are_cut() {
        let folder = tempfile::tempdir().unwrap();
        let two_books = [book("DanGr", "Bel"), book("Hos", "Hosea")].concat();
        let torn = book("Tob", "Raguel called his wife");
        let (start, end) = torn.split_at(60);
        let stray = "And Raguel died."; // a verse outside SWORD's numbering
        let milestone = "<milestone type=\"x-importer\"/>";
        write_module(
            folder.path(),
            "ot.b",
            &[milestone, &book("Gen", "In the beginning"), start, end, stray, &two_books],
        );
        write_module(folder.path(), "nt.b", &[&book("Matt", "The book<note>n</note>")]);
        let documents = documents(folder.path()).unwrap();
        let names: Vec<&str> = documents.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["Gen", "Tob", "DanGr", "Hos", "Matt"]);
        assert_eq!(documents[1].1, "Raguel called his wife\n\nAnd Raguel died.\n");
        assert_eq!(documents[4].1, "The book\n");
    }

    #[test]
    fn chapters_are_documents_where_they_are_blocks() {
        let folder = tempfile::tempdir().unwrap();
        let chapter = |n: u32| format!("<chapter n=\"{n}\" osisID=\"Ps.{n}\" sID=\"c\"/>Psalm {n}<chapter eID=\"c\"/>");
        write_module(folder.path(), "ot.c", &["My preface", &chapter(1), &chapter(2)]);
        let documents = documents(folder.path()).unwrap();
        let expected = [("Preface", "My preface\n"), ("Ps.1", "Psalm 1\n"), ("Ps.2", "Psalm 2\n")];
        assert_eq!(documents, expected.map(|(name, text)| (name.to_owned(), text.to_owned())));
    }

    #[test]
    fn broken_modules_are_errors() {
        let folder = tempfile::tempdir().unwrap();
        let error = documents(folder.path()).unwrap_err().to_string();
        assert!(error.contains("holds no SWORD module"), "{error}");
        write_module(folder.path(), "ot.b", &["text"]);
        std::fs::write(folder.path().join("ot.bzz"), b"x").unwrap();
        let error = documents(folder.path()).unwrap_err().to_string();
        assert!(error.contains("block 0 lies outside its 1 bytes"), "{error}");
    }
}
