//! The cache between runs: a file appears under its name only when it is complete.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use sha2::{Digest, Sha256};

use super::progress::Progress;
use crate::files::{hex, verify_checksums, write_checksums};
use crate::{Error, Result};

/// The SHA-256 of `parts` including their boundaries, in hexadecimal.
pub(super) fn digest<T: AsRef<[u8]>>(parts: impl IntoIterator<Item = T>) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.as_ref().len() as u64).to_le_bytes());
        hash.update(part);
    }
    hex(&hash.finalize())
}

/// A cached folder: the existing one if its files match their checksums, else one whose files `fill` writes.
pub(super) fn cached_folder(
    folder: &Path,
    progress: &mut dyn Progress,
    fill: impl FnOnce(&Path, &mut dyn Progress) -> Result<()>,
) -> Result<()> {
    if folder.exists() {
        match verify_checksums(folder, |_| true) {
            Ok(()) => return Ok(()),
            Err(error @ Error::Checkpoint { .. }) => set_aside(folder, &error.to_string(), progress)?,
            Err(error) => return Err(error),
        }
    }
    new_folder(folder, |part| fill(part, progress)).map_err(unwritable)
}

/// Creates a folder of files written by `fill`, with checksums; it appears only when complete.
pub(super) fn new_folder(folder: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let workshop = workshop(folder)?;
    let part = workshop.folder.join("whole");
    std::fs::create_dir(&part).map_err(Error::io("create", &part))?;
    fill(&part)?;
    write_checksums(&part)?;
    workshop.deliver(&part, folder)
}

/// Names the setting if the cache cannot be written.
pub(super) fn unwritable(error: Error) -> Error {
    match error {
        Error::Io { action: action @ ("create" | "write" | "rename"), path, source } => {
            let message =
                format!("cannot {action} {}: {source}; set it to a directory that can be written", path.display());
            Error::config("data.cache_dir", message)
        }
        other => other,
    }
}

/// Renames a damaged cached folder to `NAME.damaged`, so that it is recreated.
pub(super) fn set_aside(folder: &Path, reason: &str, progress: &mut dyn Progress) -> Result<()> {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let aside = folder.with_file_name(format!("{name}.damaged"));
    progress.line(&format!("{reason}; it is recreated, and the old one is kept as {}", aside.display()));
    if aside.exists() {
        std::fs::remove_dir_all(&aside).map_err(Error::io("remove", &aside))?;
    }
    std::fs::rename(folder, &aside).map_err(Error::io("rename", folder))
}

/// Creates a temporary folder next to `path`, to become `path` when finished; removed when dropped.
///
/// Next to it, because renames are atomic only within one file system; numbered, because two runs may fill one cache.
pub(super) fn workshop(path: &Path) -> Result<Workshop> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let folder = path.with_file_name(format!(".{name}.{}-{count}", std::process::id()));
    std::fs::create_dir_all(&folder).map_err(Error::io("create", &folder))?;
    Ok(Workshop { folder })
}

/// A temporary folder; see [`workshop`].
pub(super) struct Workshop {
    pub folder: PathBuf,
}

impl Workshop {
    /// Moves the finished `part` of this folder to `path`, unless another run was faster.
    pub fn deliver(&self, part: &Path, path: &Path) -> Result<()> {
        match std::fs::rename(part, path) {
            Err(_) if path.exists() => Ok(()),
            done => done.map_err(Error::io("rename", path)),
        }
    }
}

impl Drop for Workshop {
    fn drop(&mut self) {
        // A leftover folder costs only space.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Writes a new file.
pub(super) fn write(path: &Path, bytes: impl AsRef<[u8]>) -> Result<()> {
    std::fs::write(path, bytes).map_err(Error::io("write", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_sees_boundaries() {
        assert_ne!(digest(["ab", "c"]), digest(["a", "bc"]));
        // sha256 of the empty input
        assert_eq!(digest::<&str>([]), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    }

    #[test]
    fn a_damaged_folder_is_made_again() {
        let cache = tempfile::tempdir().unwrap();
        let folder = cache.path().join("tokens");
        let mut said = Vec::new();
        let mut fetch = |text: &str| {
            let mut made = false;
            let fill = |part: &Path, _: &mut dyn Progress| {
                made = true;
                write(&part.join("a.bin"), text)
            };
            cached_folder(&folder, &mut |line: &str| said.push(line.to_owned()), fill).unwrap();
            (made, std::fs::read_to_string(folder.join("a.bin")).unwrap())
        };
        assert_eq!(fetch("one"), (true, "one".into()));
        assert_eq!(fetch("two"), (false, "one".into()));
        std::fs::write(folder.join("a.bin"), "ona").unwrap();
        assert_eq!(fetch("three"), (true, "three".into()));
        assert!(said[0].contains("a.bin: is damaged or was changed") && said[0].contains("is recreated"), "{said:?}");
        assert_eq!(std::fs::read_to_string(cache.path().join("tokens.damaged/a.bin")).unwrap(), "ona");
    }

    #[test]
    fn a_folder_appears_whole_and_the_first_writer_wins() {
        let cache = tempfile::tempdir().unwrap();
        let path = cache.path().join("corpus");
        for text in ["first", "second"] {
            let workshop = workshop(&path).unwrap();
            let part = workshop.folder.join("new");
            std::fs::create_dir(&part).unwrap();
            write(&part.join("a.txt"), text).unwrap();
            workshop.deliver(&part, &path).unwrap();
        }
        assert_eq!(std::fs::read_to_string(path.join("a.txt")).unwrap(), "first");
        assert_eq!(std::fs::read_dir(cache.path()).unwrap().count(), 1, "the workshops are gone");
    }
}
