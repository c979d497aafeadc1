//! Atomic file writes.

use std::fs::{self, File};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// Extension of an unfinished file or directory, whose name starts with a dot.
pub(crate) const PARTIAL: &str = ".partial";

/// Writes a file so that a crash at any time leaves either the old or the new one, never a partial one.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<()> {
    write_with(path, |file| file.write_all(bytes))
}

/// Like [`write_atomic`], with the bytes streamed by `fill`.
pub(crate) fn write_with(path: &Path, fill: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) -> Result<()> {
    let partial = hidden(path, PARTIAL);
    write_and_sync(&partial, fill)
        .and_then(|()| fs::rename(&partial, path))
        .and_then(|()| sync_dir(&parent(path)))
        .map_err(|source| {
            // Report the first error; there may be nothing to remove.
            let _ = fs::remove_file(&partial);
            io_error("write", path, source)
        })
}

/// `folder/.name.ending` next to `folder/name`.
pub(crate) fn hidden(path: &Path, ending: &str) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}{ending}"))
}

/// Makes a directory's entries survive a power cut. Only Unix can, and only Unix needs it.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(dir)?.sync_all() } else { Ok(()) }
}

/// [`Error::Io`], with a remedy if there is one.
pub(crate) fn io_error(action: &'static str, path: &Path, source: io::Error) -> Error {
    let remedy = match source.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
            "free some space there or choose another directory"
        }
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => "make the directory writable or choose another",
        _ => return Error::io(action, path)(source),
    };
    Error::io(action, path)(io::Error::new(source.kind(), format!("{source}; {remedy}")))
}

fn write_and_sync(path: &Path, fill: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) -> io::Result<()> {
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path)?);
    fill(&mut file)?;
    // Not by dropping it, which would hide a full disk.
    file.into_inner()?.sync_all()
}

fn parent(path: &Path) -> PathBuf {
    path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The names in a folder, sorted.
    pub(crate) fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).unwrap();
        let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// The next write to `path` finds the disk full.
    #[cfg(target_os = "linux")]
    pub(crate) fn fill_disk_for(path: &Path) {
        std::os::unix::fs::symlink("/dev/full", hidden(path, PARTIAL)).unwrap();
    }

    #[test]
    fn a_file_is_replaced_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        write_atomic(&path, b"a longer old text").unwrap();
        write_atomic(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(names(dir.path()), ["a.json"]);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_full_disk_leaves_the_old_file_and_nothing_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        write_atomic(&path, b"old").unwrap();
        fill_disk_for(&path);
        let message = write_atomic(&path, b"new").unwrap_err().to_string();
        assert!(message.starts_with(&format!("cannot write {}: No space left", path.display())), "{message}");
        assert!(message.ends_with("free some space there or choose another directory"), "{message}");
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(names(dir.path()), ["a.json"]);
    }

    #[test]
    fn a_missing_folder_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("none/a.json");
        let message = write_atomic(&path, b"new").unwrap_err().to_string();
        assert!(message.starts_with(&format!("cannot write {}: No such file", path.display())), "{message}");
    }
}
