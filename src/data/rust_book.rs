//! "The Rust Programming Language", which rustup installs with its documentation: a text for machines without apt.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::corpus::Corpus;
use super::markup::{Rules, plain_text};
use crate::{Error, Result};

/// HTML as in mdBook's `<main>` element; code keeps its lines.
const HTML: Rules = Rules {
    dropped: &["script", "style", "svg", "button"],
    paragraphs: &["p", "h1", "h2", "h3", "h4", "h5", "h6", "pre", "blockquote", "ul", "ol", "table"],
    lines: &["li", "tr", "br"],
    collapse_space: false,
};

/// The directory of the book's pages, if rustup or the distribution installed it.
pub(super) fn find() -> Option<PathBuf> {
    let sysroot = Command::new("rustc").args(["--print", "sysroot"]).output().ok()?.stdout;
    let sysroot = PathBuf::from(String::from_utf8(sysroot).ok()?.trim());
    let book = sysroot.join("share/doc/rust/html/book");
    book.join("ch01-00-getting-started.html").exists().then_some(book)
}

/// The chapters in order, one document each.
pub(super) fn load() -> Result<Corpus> {
    let folder = find().ok_or_else(|| {
        Error::Data(
            "the Rust book is not installed here: rustup component add rust-docs, or name a text of your own".into(),
        )
    })?;
    let documents = chapters(&folder)?;
    Ok(Corpus {
        name: "rust-book".into(),
        documents: documents.into(),
        license: "MIT OR Apache-2.0".into(),
        origin: folder.display().to_string(),
    })
}

/// Only the pages named `ch…`: `print.html` is the whole book again, and subdirectories have older editions, so
/// held-out text would also be trained on.
fn chapters(folder: &Path) -> Result<Vec<String>> {
    let entries = std::fs::read_dir(folder).map_err(Error::io("read", folder))?;
    let mut pages: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    pages.retain(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("ch") && name.ends_with(".html")
    });
    pages.sort();
    let mut documents = Vec::new();
    for page in pages {
        let html = std::fs::read_to_string(&page).map_err(Error::io("read", &page))?;
        let text = main_text(&html);
        if !text.is_empty() {
            documents.push(text);
        }
    }
    Ok(documents)
}

fn main_text(html: &str) -> String {
    let Some(start) = html.find("<main>") else { return String::new() };
    let end = html[start..].find("</main>").map_or(html.len(), |at| start + at);
    plain_text(&html[start..end], &HTML)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_its_main_part_with_its_code_as_it_stands() {
        let html = "<html><nav>menu</nav><main><h1>Hello</h1>\n<p>Say <code>&amp;str</code>.</p>\
                    <pre>fn main() {\n    run();\n}</pre><script>x()</script></main>footer</html>";
        assert_eq!(main_text(html), "Hello\n\nSay &str.\n\nfn main() {\n    run();\n}\n");
        assert_eq!(main_text("<html>moved</html>"), "");
    }

    #[test]
    fn only_this_editions_chapters_are_read() {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [("print.html", "all"), ("ch02.html", "two"), ("ch01.html", "one"), ("toc.html", "toc")] {
            std::fs::write(folder.path().join(name), format!("<main>{text}</main>")).unwrap();
        }
        std::fs::create_dir(folder.path().join("2018-edition")).unwrap();
        assert_eq!(chapters(folder.path()).unwrap(), ["one\n", "two\n"]);
    }
}
