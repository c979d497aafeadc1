//! Ensures one writer at a time in a run directory.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Seek, Write};
use std::path::{Path, PathBuf};

use super::atomic::{PARTIAL, io_error};
use crate::{Error, Result};

/// Held by the process that writes to a folder; released when dropped, or when the process ends for any reason.
///
/// It is the operating system's lock on the file `.lock` in the folder, whose text identifies the holder.
#[derive(Debug)]
pub struct DirLock {
    file: File,
    folder: PathBuf,
    /// Whether this created the folder, which is removed again if nothing is put into it.
    created: bool,
}

impl DirLock {
    /// Locks a folder, creating it if needed.
    ///
    /// Errors: another process holds the lock, or the folder cannot be created or written.
    pub fn acquire(folder: &Path) -> Result<Self> {
        if let Some(parent) = folder.parent() {
            fs::create_dir_all(parent).map_err(|e| io_error("create", parent, e))?;
        }
        let created = match fs::create_dir(folder) {
            Ok(()) => true,
            Err(error) if error.kind() == ErrorKind::AlreadyExists && folder.is_dir() => false,
            Err(error) => return Err(io_error("create", folder, error)),
        };
        Self::try_lock(folder, created)?.map_err(|holder| {
            let message = format!("is being written by {holder}: wait for its end, or choose another directory");
            Error::checkpoint(folder, message)
        })
    }

    /// Creates and locks the first of `parent/0001`, `parent/0002`, … that does not exist, or that a run has left
    /// empty.
    ///
    /// Creating a folder fails if another process has just created it, so that no two take the same.
    ///
    /// Errors: none of 9999 is free, or a folder cannot be created or written.
    pub fn claim_next(parent: &Path) -> Result<Self> {
        fs::create_dir_all(parent).map_err(|e| io_error("create", parent, e))?;
        for number in 1..10_000 {
            let folder = parent.join(format!("{number:04}"));
            match fs::create_dir(&folder) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                    if !is_unused(&folder) {
                        continue;
                    }
                }
                Err(error) => return Err(io_error("create", &folder, error)),
            }
            // Another process may take it before it is locked.
            if let Ok(lock) = Self::try_lock(&folder, true)?
                && is_unused(&folder)
            {
                return Ok(lock);
            }
        }
        Err(Error::Data(format!("{} is full: choose a directory with --out", parent.display())))
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The lock, or its holder.
    fn try_lock(folder: &Path, created: bool) -> Result<Result<Self, String>> {
        let mut busy = String::new();
        // A process that is just ending removes the file.
        for _ in 0..3 {
            match Self::try_lock_once(folder, created)? {
                Err(None) => busy = "another process".into(),
                Err(Some(holder)) => return Ok(Err(holder)),
                Ok(lock) => return Ok(Ok(lock)),
            }
        }
        Ok(Err(busy))
    }

    /// The lock, or its holder; `None` if the file was removed meanwhile.
    fn try_lock_once(folder: &Path, created: bool) -> Result<Result<Self, Option<String>>> {
        let path = folder.join(LOCK);
        let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = match open {
            // The process that created the folder has just removed it again.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Err(None)),
            open => open.map_err(|e| io_error("write", &path, e))?,
        };
        match file.try_lock() {
            Ok(()) if is_at(&file, &path) => {}
            Ok(()) => return Ok(Err(None)),
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // Windows does not allow reading a locked file.
                return Ok(Err(Some(match file.read_to_string(&mut holder) {
                    Ok(n) if n > 0 => holder.trim().to_owned(),
                    _ => "another process".to_owned(),
                })));
            }
            Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => {
                log::warn!("{} cannot be locked ({error}): start no second run there", folder.display());
            }
            Err(TryLockError::Error(error)) => return Err(io_error("lock", &path, error)),
        }
        let words: Vec<String> = std::env::args().collect();
        let holder = format!("process {} ({})\n", std::process::id(), words.join(" "));
        let written = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(holder.as_bytes()));
        written.map_err(|e| io_error("write", &path, e))?;
        Ok(Ok(Self { file, folder: folder.to_owned(), created }))
    }
}

/// The process that writes to a folder, as described in its lock; `None` if there is none, or locks are not supported.
pub fn lock_holder(folder: &Path) -> Option<String> {
    let path = folder.join(LOCK);
    let mut file = File::open(&path).ok()?;
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => {}
        Ok(()) | Err(TryLockError::Error(_)) => return None,
    }
    let mut holder = String::new();
    // Windows does not allow reading a locked file.
    let is_told = file.read_to_string(&mut holder).is_ok_and(|n| n > 0);
    Some(if is_told { holder.trim().to_owned() } else { "another process".to_owned() })
}

/// Whether a folder does not exist, or has nothing but a lock and partial files from a crash.
pub fn is_unused(folder: &Path) -> bool {
    let counts = |name: &str| name != LOCK && !(name.starts_with('.') && name.ends_with(PARTIAL));
    match fs::read_dir(folder) {
        Ok(mut entries) => entries.all(|entry| entry.is_ok_and(|entry| !counts(&entry.file_name().to_string_lossy()))),
        Err(_) => !folder.exists(),
    }
}

/// Whether an open file still has that name.
fn is_at(file: &File, path: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let place = |of: &fs::Metadata| (of.dev(), of.ino());
        matches!((file.metadata(), fs::metadata(path)), (Ok(file), Ok(named)) if place(&file) == place(&named))
    }
    #[cfg(not(unix))]
    {
        file.metadata().is_ok() && path.exists()
    }
}

const LOCK: &str = ".lock";

impl Drop for DirLock {
    fn drop(&mut self) {
        // Failing to remove or release here does no harm: the lock ends with the process, and anyone who has opened the
        // file meanwhile notices that it is gone.
        let is_unused = self.created && is_unused(&self.folder);
        let _ = fs::remove_file(self.folder.join(LOCK));
        if is_unused {
            let _ = fs::remove_dir(&self.folder);
        }
        let _ = self.file.unlock();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_locked_folder_refuses_a_second_writer_and_says_who_holds_it() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("deep/run");
        let lock = DirLock::acquire(&folder).unwrap();
        let message = DirLock::acquire(&folder).unwrap_err().to_string();
        let holder = format!("is being written by process {}", std::process::id());
        assert!(message.contains(&holder) && message.contains("choose another directory"), "{message}");
        fs::write(folder.join("config.toml"), "").unwrap();
        drop(lock);
        DirLock::acquire(&folder).unwrap();
        assert!(folder.join("config.toml").is_file());
    }

    #[test]
    fn a_folder_into_which_nothing_came_goes_again() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("run");
        drop(DirLock::acquire(&folder).unwrap());
        assert!(!folder.exists());
        fs::create_dir(&folder).unwrap();
        assert!(is_unused(&folder));
        drop(DirLock::acquire(&folder).unwrap());
        assert!(folder.exists(), "it was there before");
        assert!(is_unused(&folder));
        fs::write(folder.join(".config.toml.partial"), "").unwrap();
        assert!(is_unused(&folder));
        fs::write(folder.join("notes.txt"), "").unwrap();
        assert!(!is_unused(&folder));
    }

    #[test]
    fn no_two_claims_get_the_same_folder() {
        let parent = tempfile::tempdir().unwrap();
        let claims: Vec<DirLock> = std::thread::scope(|scope| {
            let claim = || scope.spawn(|| DirLock::claim_next(parent.path()).unwrap());
            let threads: Vec<_> = (0..16).map(|_| claim()).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let mut folders: Vec<_> = claims.iter().map(|claim| claim.folder().to_owned()).collect();
        folders.sort();
        let expected: Vec<_> = (1..=16).map(|number| parent.path().join(format!("{number:04}"))).collect();
        assert_eq!(folders, expected);
    }

    #[test]
    fn a_number_whose_run_left_nothing_is_free_again() {
        let parent = tempfile::tempdir().unwrap();
        fs::create_dir_all(parent.path().join("0001")).unwrap();
        fs::write(parent.path().join("0001/.lock"), "process 1 (killed)").unwrap();
        assert!(DirLock::claim_next(parent.path()).unwrap().folder().ends_with("0001"));
    }

    #[test]
    fn a_file_in_the_folders_place_is_told() {
        let parent = tempfile::tempdir().unwrap();
        fs::write(parent.path().join("run"), "").unwrap();
        let message = DirLock::acquire(&parent.path().join("run")).unwrap_err().to_string();
        assert!(message.starts_with("cannot create "), "{message}");
    }
}
