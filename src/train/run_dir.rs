//! A run's folder, locked by the process that writes to it, and the checkpoint to resume from.

use std::fs;
use std::path::{Path, PathBuf};

use crate::checkpoint::{
    Resumed, latest_checkpoint, list_checkpoints, load_checkpoint, load_newest_checkpoint, run_of_checkpoint,
    set_aside_checkpoint,
};
use crate::files::{DirLock, is_unused};
use crate::{Error, Result};

/// The folder of a new or resumed run, locked while this exists, so that no second run writes there.
#[derive(Debug)]
pub struct RunDir {
    lock: DirLock,
    /// The checkpoint to resume from; `None` for a new run.
    resumed: Option<Resumed>,
}

impl RunDir {
    /// For a new run in `folder`, created if missing.
    ///
    /// Errors: the folder holds a run with a checkpoint, or other files, or another process is writing to it.
    pub fn create(folder: &Path) -> Result<Self> {
        refuse_used(folder)?; // before anything is written there
        let lock = DirLock::acquire(folder)?;
        refuse_used(folder)?; // again, now that nobody else can write
        Ok(Self { lock, resumed: None })
    }

    /// For a new run in the first free folder of `parent/0001`, `parent/0002`, …
    pub fn create_next(parent: &Path) -> Result<Self> {
        Ok(Self { lock: DirLock::claim_next(parent)?, resumed: None })
    }

    /// For resuming a run: from its newest undamaged checkpoint if `path` is its folder, or from the checkpoint at
    /// `path`.
    ///
    /// Errors: no run there, a run being written by another process, no checkpoint, or no readable one.
    pub fn resume(path: &Path) -> Result<Self> {
        let (folder, checkpoint) = find_run(path)?;
        let lock = DirLock::acquire(&folder)?;
        let resumed = match checkpoint {
            Some(checkpoint) => load_checkpoint(&checkpoint)?,
            None => load_newest_checkpoint(&folder)?,
        };
        Ok(Self { lock, resumed: Some(resumed) })
    }

    /// Resumes the run in `folder` if it has a checkpoint, otherwise starts a new one there.
    pub fn resume_or_create(folder: &Path) -> Result<Self> {
        if latest_checkpoint(folder)?.is_some() { Self::resume(folder) } else { Self::create(folder) }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.lock.folder()
    }

    /// The settings, as CONFIG.toml text, that a resumed run was last trained with; `None` for a new run.
    pub fn settings(&self) -> Option<&str> {
        self.resumed.as_ref().map(|resumed| resumed.state.config_toml.as_str())
    }

    /// Takes the checkpoint to resume from; `None` for a new run.
    pub(super) fn take_checkpoint(&mut self) -> Option<Resumed> {
        self.resumed.take()
    }

    /// Renames checkpoints of later steps: they are damaged, or belong to steps being rolled back, and would collide
    /// with the run's next checkpoints.
    pub(super) fn set_aside_after(&self, step: u64) -> Result<()> {
        for (later, checkpoint) in list_checkpoints(self.path())? {
            if later > step {
                set_aside_checkpoint(&checkpoint)?;
            }
        }
        Ok(())
    }
}

/// The run's folder for `path`, and the checkpoint if `path` names one.
///
/// Errors: no run there.
pub fn find_run(path: &Path) -> Result<(PathBuf, Option<PathBuf>)> {
    let run = run_of_checkpoint(path)?;
    let folder = run.as_deref().unwrap_or(path);
    if !folder.join(CONFIG).exists() {
        let message =
            "holds no run to resume (there is no config.toml): name a run directory, or start a run with `--out`";
        return Err(Error::checkpoint(path, message));
    }
    Ok((folder.to_owned(), run.is_some().then(|| path.to_owned())))
}

pub(super) const CONFIG: &str = "config.toml";

/// Refuses a folder with a run that can be resumed, or with anything but a run.
fn refuse_used(folder: &Path) -> Result<()> {
    if let Some(last) = latest_checkpoint(folder)? {
        let message =
            format!("holds a run already ({}): go on with `--resume`, or choose another `--out`", last.display());
        return Err(Error::checkpoint(folder, message));
    }
    if is_unused(folder) || folder.join(CONFIG).exists() {
        return Ok(());
    }
    let message = match fs::read_dir(folder) {
        Ok(entries) => {
            let mut names: Vec<String> =
                entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
            names.sort();
            let more = if names.len() > 3 { ", …" } else { "" };
            names.truncate(3);
            format!("holds other files ({}{more}) and no run: choose a new or an empty directory", names.join(", "))
        }
        Err(_) => "is not a directory: choose another".into(),
    };
    Err(Error::checkpoint(folder, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_run_takes_no_folder_of_others() {
        let parent = tempfile::tempdir().unwrap();
        let at = |name: &str| parent.path().join(name);
        let refusal = |name: &str| RunDir::create(&at(name)).unwrap_err().to_string();
        for name in ["a", "b", "c", "d"] {
            fs::create_dir_all(at("photos")).unwrap();
            fs::write(at("photos").join(name), "").unwrap();
        }
        assert!(refusal("photos").contains("holds other files (a, b, c, …) and no run"), "{}", refusal("photos"));
        assert!(!at("photos/.lock").exists());
        fs::write(at("file"), "").unwrap();
        assert!(refusal("file").contains("is not a directory"), "{}", refusal("file"));
        fs::create_dir_all(at("run/checkpoints/step-00000002")).unwrap();
        assert!(refusal("run").contains("holds a run already"), "{}", refusal("run"));
        // A run killed before its first checkpoint starts over.
        fs::create_dir(at("early")).unwrap();
        fs::write(at("early/config.toml"), "").unwrap();
        let folder = RunDir::create(&at("early")).unwrap();
        assert!(folder.settings().is_none());
        assert!(refusal("early").contains("is being written by process"), "{}", refusal("early"));
        RunDir::create(&at("new")).unwrap();
    }

    #[test]
    fn a_run_is_found_by_its_folder_and_by_its_checkpoint() {
        let parent = tempfile::tempdir().unwrap();
        let run = parent.path().join("run");
        let checkpoint = run.join("checkpoints/step-00000002");
        fs::create_dir_all(&checkpoint).unwrap();
        let refusal = find_run(&run).unwrap_err().to_string();
        assert!(refusal.contains("holds no run to resume"), "{refusal}");
        fs::write(run.join("config.toml"), "").unwrap();
        assert_eq!(find_run(&run).unwrap(), (run.clone(), None));
        assert_eq!(find_run(&checkpoint).unwrap(), (run.clone(), Some(checkpoint.clone())));
        let missing = run.join("checkpoints/step-00000004");
        let refusal = find_run(&missing).unwrap_err().to_string();
        assert!(refusal.contains("there is no such checkpoint; the run has step-00000002"), "{refusal}");
    }

    #[test]
    fn later_checkpoints_are_set_aside() {
        let run = tempfile::tempdir().unwrap();
        fs::write(run.path().join("config.toml"), "").unwrap();
        for step in 1..=3 {
            fs::create_dir_all(run.path().join(format!("checkpoints/step-0000000{step}"))).unwrap();
        }
        let folder = RunDir { lock: DirLock::acquire(run.path()).unwrap(), resumed: None };
        folder.set_aside_after(1).unwrap();
        let steps: Vec<u64> = list_checkpoints(run.path()).unwrap().into_iter().map(|(step, _)| step).collect();
        assert_eq!(steps, [1]);
        assert!(run.path().join("checkpoints/step-00000002.set-aside").is_dir());
    }
}
