//! What is kept between runs: every file appears under its name only when it is whole.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use sha2::{Digest, Sha256};

use crate::{Error, Result};

/// The SHA-256 of `parts` with their boundaries, in hexadecimal.
pub(super) fn digest<T: AsRef<[u8]>>(parts: impl IntoIterator<Item = T>) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.as_ref().len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A fresh folder beside `path`, gone when dropped, for what is to become `path`.
///
/// Beside it, because a rename is only atomic inside one file system; numbered, because two runs may fill one cache.
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
    /// Moves the finished `part` of this folder to `path`; where another run was faster, its work stays.
    pub fn deliver(&self, part: &Path, path: &Path) -> Result<()> {
        match std::fs::rename(part, path) {
            Err(_) if path.exists() => Ok(()),
            done => done.map_err(Error::io("rename", path)),
        }
    }
}

impl Drop for Workshop {
    fn drop(&mut self) {
        // A folder that stays behind costs space only; there is nobody left to tell.
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
        // sha256 of nothing at all
        assert_eq!(digest::<&str>([]), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
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
