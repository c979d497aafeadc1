//! Corpora from Debian packages: fetched, decoded, verified and cached.

use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

use super::cache::{digest, set_aside, unwritable, workshop, write};
use super::corpus::Corpus;
use super::progress::Progress;
use super::{apt, rdata, rust_book, sword};
use crate::{Error, Result};

/// Texts under their titles.
type Titled = Vec<(String, String)>;

/// A package and how to extract its text.
struct Package {
    name: &'static str,
    /// The version that `sha256` was computed from.
    version: &'static str,
    /// Its folder in the cache.
    folder: &'static str,
    license: &'static str,
    /// Hash of all documents, by [`digest`].
    sha256: &'static str,
    /// Decodes the documents of the unpacked package.
    decode: fn(&Path) -> Result<Titled>,
}

const AUSTEN: Package = Package {
    name: "r-cran-janeaustenr",
    version: "1.0.0-1",
    folder: "austen",
    license: "the novels are in the public domain; their edition in this package is under the MIT license",
    sha256: "68b9dde59f069f9116ead67a7e98993df410a2c063b3df74fbeb6a33502b8815",
    decode: austen,
};

const TREASURY_OF_DAVID: Package = Package {
    name: "sword-comm-tdavid",
    version: "2.1-1",
    folder: "treasury-of-david",
    license: "public domain",
    sha256: "3b9a01fe397ae6c6d9444471b81a402ed8ff8d8c58c7fe87ca2d06f029dd1d82",
    decode: |root| sword::documents(&root.join("usr/share/sword/modules/comments/zcom/tdavid")),
};

const CONCISE_COMMENTARY: Package = Package {
    name: "sword-comm-mhcc",
    version: "2.0-1",
    folder: "concise-commentary",
    license: "public domain",
    sha256: "bffa4a8a659740d686629f415f4bf3390d9ab599c5ddd01a5ffd1c742e6a37a8",
    decode: |root| sword::documents(&root.join("usr/share/sword/modules/comments/zcom/mhcc")),
};

const WORLD_ENGLISH_BIBLE: Package = Package {
    name: "sword-text-web",
    version: "426.0-1",
    folder: "world-english-bible",
    license: "public domain (its name is a trademark: do not give it to a changed text)",
    sha256: "f6444bcda44d72050402d139e9cc1a1d6dc5dc8d9112494413caaac3e8cdb79e",
    decode: |root| sword::documents(&root.join("usr/share/sword/modules/texts/ztext/engWEB2015eb")),
};

const JARGON_FILE: Package = Package {
    name: "dict-jargon",
    version: "4.4.7-3.1",
    folder: "jargon-file",
    license: "public domain",
    sha256: "aa9c71fc381a741e6cffde30fe3706e12de092d71482397b22939562a3dedb86",
    decode: jargon_file,
};

/// The packages of a built-in corpus, in the order of its documents; `None` for any other name.
///
/// Austen comes last, so that the held-out text at the end is novels, not dictionary entries.
fn packages(corpus: &str) -> Option<&'static [Package]> {
    match corpus {
        "austen" => Some(&[AUSTEN]),
        "public-domain" => Some(&[TREASURY_OF_DAVID, CONCISE_COMMENTARY, WORLD_ENGLISH_BIBLE, JARGON_FILE, AUSTEN]),
        _ => None,
    }
}

/// Whether `source` is a built-in corpus.
pub(super) fn is_builtin(source: &str) -> bool {
    packages(source).is_some()
}

/// Loads a built-in corpus from `cache_dir/corpora`, fetching it first if needed.
pub(super) fn load(corpus: &str, cache_dir: &Path, progress: &mut dyn Progress) -> Result<Corpus> {
    let packages = packages(corpus).expect("the caller asked is_builtin");
    let mut documents = Vec::new();
    let mut licenses: Vec<String> = Vec::new();
    for package in packages {
        let folder = cache_dir.join("corpora").join(package.folder);
        let cached = if folder.exists() { read_cached(&folder, progress)? } else { None };
        documents.extend(match cached {
            Some(documents) => documents,
            None => {
                fetch(package, &folder, cache_dir, progress)?;
                read_cached(&folder, progress)?.ok_or_else(|| {
                    Error::Data(format!("{} does not hold what was just written there", folder.display()))
                })?
            }
        });
        licenses.push(format!("{}: {}", package.folder, package.license));
    }
    Ok(Corpus {
        name: corpus.to_owned(),
        documents: documents.into(),
        license: licenses.join("; "),
        origin: packages.iter().map(|p| p.name).collect::<Vec<_>>().join(", "),
    })
}

fn fetch(package: &Package, folder: &Path, cache_dir: &Path, progress: &mut dyn Progress) -> Result<()> {
    if !apt::is_available() {
        return Err(no_apt(package.folder, rust_book::find().is_some()));
    }
    let workshop = workshop(folder).map_err(unwritable)?;
    let unpacked = apt::fetch(package.name, &workshop.folder, &cache_dir.join("apt"), progress)?;
    progress.line(&format!("decoding {} {}", package.name, unpacked.version));
    let documents = (package.decode)(&unpacked.root)?;
    let sha256 = digest(documents.iter().map(|(_, text)| text));
    if let Some(warning) = check(package, &unpacked.version, &documents, &sha256)? {
        progress.line(&warning);
    }
    let whole = workshop.folder.join("corpus");
    std::fs::create_dir(&whole).map_err(Error::io("create", &whole))?;
    for (i, (title, text)) in documents.iter().enumerate() {
        write(&whole.join(format!("{:03}-{title}.txt", i + 1)), text)?;
    }
    let copyright = unpacked.root.join("usr/share/doc").join(package.name).join("copyright");
    let copyright = std::fs::read(&copyright).map_err(Error::io("read", &copyright))?;
    let header = format!(
        "License: {}\nPackage: {} {}\n{SHA256_KEY}{sha256}\n\nThe package's own copyright file:\n\n",
        package.license, package.name, unpacked.version
    );
    write(&whole.join(LICENSE_FILE), header + &String::from_utf8_lossy(&copyright))?;
    workshop.deliver(&whole, folder)
}

const LICENSE_FILE: &str = "LICENSE.txt";
const SHA256_KEY: &str = "Sha256: ";

/// The same version must decode to the same text; another version may differ, which is reported as a warning.
fn check(package: &Package, version: &str, documents: &[(String, String)], sha256: &str) -> Result<Option<String>> {
    if sha256 == package.sha256 {
        return Ok(None);
    }
    let n_bytes: usize = documents.iter().map(|(_, text)| text.len()).sum();
    let found = format!("{} documents, {n_bytes} bytes, sha256 {sha256}", documents.len());
    if version == package.version {
        return Err(Error::Data(format!(
            "{} {version} decodes to another text than it should: {found}, expected sha256 {}. \
             The package was changed under its version, or decoded wrongly: please report it.",
            package.name, package.sha256
        )));
    }
    Ok(Some(format!(
        "warning: the version of {} changed from {} to {version}; its text now is {found}. \
         Losses are not comparable with published ones.",
        package.name, package.version
    )))
}

/// Reads the cached documents. If they are damaged, reports it, sets the folder aside and returns `None`.
fn read_cached(folder: &Path, progress: &mut dyn Progress) -> Result<Option<Vec<String>>> {
    let entries = std::fs::read_dir(folder).map_err(Error::io("read", folder))?;
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.retain(|path| path.extension().is_some_and(|e| e == "txt") && !path.ends_with(LICENSE_FILE));
    paths.sort();
    let read = |path: &Path| std::fs::read_to_string(path);
    let documents: std::io::Result<Vec<String>> = paths.iter().map(|path| read(path)).collect();
    let license = read(&folder.join(LICENSE_FILE));
    if let (Ok(documents), Ok(license)) = (documents, license) {
        let recorded = license.lines().find_map(|line| line.strip_prefix(SHA256_KEY));
        if recorded == Some(digest(&documents).as_str()) {
            return Ok(Some(documents));
        }
    }
    set_aside(folder, &format!("the cached corpus {} has changed since it was decoded", folder.display()), progress)?;
    Ok(None)
}

fn no_apt(corpus: &str, has_rust_book: bool) -> Error {
    let book = if has_rust_book {
        "\nOr on the Rust book that rustup installed here: --set data.source='[\"rust-book\"]'"
    } else {
        ""
    };
    Error::Data(format!(
        "the corpus {corpus} comes from a Debian package, and this machine has no apt-get.\n\
         Train on a text of your own: --set data.source='[\"my.txt\"]'{book}"
    ))
}

/// In order of publication; the last novel, held out by a whole-document split, is 12 % of the text.
const NOVELS: [(&str, &str); 6] = [
    ("sensesensibility", "sense-and-sensibility"),
    ("prideprejudice", "pride-and-prejudice"),
    ("mansfieldpark", "mansfield-park"),
    ("emma", "emma"),
    ("northangerabbey", "northanger-abbey"),
    ("persuasion", "persuasion"),
];

fn austen(root: &Path) -> Result<Titled> {
    let folder = root.join("usr/lib/R/site-library/janeaustenr/data");
    let read = |name: &str| std::fs::read(folder.join(name)).map_err(Error::io("read", folder.join(name)));
    let vectors = rdata::character_vectors(&read("Rdata.rdx")?, &read("Rdata.rdb")?)?;
    let novel = |(key, title): (&str, &str)| {
        let lines = vectors.iter().find(|(name, _)| name == key).map(|(_, lines)| lines);
        let lines = lines.ok_or_else(|| Error::Data(format!("r-cran-janeaustenr no longer holds {key}")))?;
        Ok((title.to_owned(), lines.join("\n") + "\n"))
    };
    NOVELS.into_iter().map(novel).collect()
}

fn jargon_file(root: &Path) -> Result<Titled> {
    let path = root.join("usr/share/dictd/jargon.dict.dz");
    let file = std::fs::File::open(&path).map_err(Error::io("read", &path))?;
    let mut text = String::new();
    // dictzip is gzip with an index in an extra field.
    MultiGzDecoder::new(file).read_to_string(&mut text).map_err(Error::io("read", &path))?;
    Ok(vec![("jargon-file".to_owned(), text)])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The only test of this module that needs apt and a network; without apt it checks the message.
    #[test]
    fn austen_comes_out_of_its_package() {
        let cache = tempfile::tempdir().unwrap();
        let mut said = Vec::new();
        let corpus = load("austen", cache.path(), &mut |line: &str| said.push(line.to_owned()));
        if !apt::is_available() {
            let message = corpus.unwrap_err().to_string();
            assert!(message.contains("no apt-get") && message.contains("data.source"), "{message}");
            return;
        }
        let corpus = corpus.unwrap();
        assert!(said.iter().any(|line| line.contains("fetching the package r-cran-janeaustenr")), "{said:?}");
        let documents = corpus.documents.whole().unwrap();
        assert_eq!(documents.len(), 6);
        assert!(documents[0].starts_with("SENSE AND SENSIBILITY\n\nby Jane Austen\n"));
        assert!(documents[5].starts_with("Persuasion\n"));
        assert!(corpus.license.contains("public domain"), "{}", corpus.license);

        said.clear();
        let again = load("austen", cache.path(), &mut |line: &str| said.push(line.to_owned())).unwrap();
        assert_eq!(again.documents.whole().unwrap(), documents);
        assert_eq!(said, [""; 0], "the second time comes from the cache");

        write(&cache.path().join("corpora/austen/006-persuasion.txt"), "changed").unwrap();
        let again = load("austen", cache.path(), &mut |line: &str| said.push(line.to_owned())).unwrap();
        assert_eq!(again.documents.whole().unwrap(), documents, "it was fetched again");
        assert!(said[0].contains("has changed since it was decoded") && said[0].contains("austen.damaged"), "{said:?}");
    }

    #[test]
    fn the_same_version_must_decode_to_the_same_text() {
        let documents = [("a".to_owned(), "text".to_owned())];
        assert_eq!(check(&AUSTEN, "1.0.0-1", &documents, AUSTEN.sha256).unwrap(), None);
        let error = check(&AUSTEN, "1.0.0-1", &documents, "beef").unwrap_err().to_string();
        assert!(error.contains("1 documents, 4 bytes, sha256 beef, expected sha256"), "{error}");
        let warning = check(&AUSTEN, "1.1.0-1", &documents, "beef").unwrap().unwrap();
        assert!(warning.contains("changed from 1.0.0-1 to 1.1.0-1") && warning.contains("beef"), "{warning}");
        assert_eq!(check(&AUSTEN, "1.1.0-1", &documents, AUSTEN.sha256).unwrap(), None, "the text is what counts");
    }

    #[test]
    fn no_apt_says_what_else_to_train_on() {
        let plain = no_apt("austen", false).to_string();
        assert!(plain.contains("--set data.source='[\"my.txt\"]'") && !plain.contains("rust-book"), "{plain}");
        assert!(no_apt("austen", true).to_string().contains("rust-book"));
    }
}
