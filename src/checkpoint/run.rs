//! The checkpoints of a run: each a model directory with the extra state that exact resumption needs.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::model::{self, read_model, save_model, write_json};
use super::tensors::{NamedTensor, read_tensors, write_tensors};
use crate::config::ModelConfig;
use crate::data::dataset::DataIdentity;
use crate::files::{self, PARTIAL, verify_checksums, write_checksums};
use crate::{Error, Result};

/// The state besides tensors that exact resumption needs: trainer.json.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainerState {
    /// Number of completed updates.
    pub step: u64,
    /// Tokens seen, which is the position in the data.
    pub tokens: u64,
    /// The seed of the run.
    pub seed: u64,
    /// The run's config.toml.
    pub config_toml: String,
    /// Mean loss of the last step's batch, reported by a resumed run with no steps left.
    #[serde(default)]
    pub last_loss: Option<f64>,
    /// The lowest evaluation loss so far, in nats per token.
    pub best_eval_loss: Option<f64>,
    /// The training data; `None` in checkpoints of earlier versions.
    #[serde(default)]
    pub data: Option<DataIdentity>,
}

/// The contents of a checkpoint, borrowed for saving.
#[derive(Clone, Copy, Debug)]
pub struct Checkpoint<'a> {
    /// The model's sizes.
    pub config: &'a ModelConfig,
    /// Its weights, named as in [`ModelConfig::parameters`].
    pub parameters: &'a [NamedTensor],
    /// The optimizer's tensors, with the optimizer's own names.
    pub optimizer_state: &'a [NamedTensor],
    /// The remaining state.
    pub state: &'a TrainerState,
    /// Names and texts of tokenizer.json and related files.
    pub tokenizer_files: &'a [(String, String)],
    /// The end-of-text token.
    pub eos: Option<u32>,
}

/// Everything that resuming needs.
#[derive(Clone, Debug, PartialEq)]
pub struct Resumed {
    /// The model's sizes.
    pub config: ModelConfig,
    /// Its weights, in the order of [`ModelConfig::parameters`].
    pub parameters: Vec<NamedTensor>,
    /// The optimizer's tensors, as saved.
    pub optimizer_state: Vec<NamedTensor>,
    /// The remaining state.
    pub state: TrainerState,
}

/// Writes `checkpoints/step-00000200` and returns its path.
///
/// The checkpoint is written as `.step-00000200.partial`, synced and renamed; after an error the partial directory is
/// removed. An existing checkpoint of the same step is first renamed to `.step-00000200.replaced` and removed at the
/// end. If the program dies between the two renames, that checkpoint is still found, and the next save restores its
/// name.
pub fn save_checkpoint(run_dir: &Path, checkpoint: &Checkpoint) -> Result<PathBuf> {
    save_folder(run_dir, checkpoint.state.step, |dir| write_checkpoint(dir, checkpoint))
}

/// Reads a checkpoint written by [`save_checkpoint`] from its directory.
///
/// Errors: a file does not match its SHA-256 in the checkpoint's `SHA256SUMS`, or cannot be read.
pub fn load_checkpoint(dir: &Path) -> Result<Resumed> {
    let state = load_state(dir)?;
    let (config, parameters) = read_model(dir)?;
    let optimizer_state = read_tensors(&dir.join(OPTIMIZER))?;
    verify_checksums(dir, |_| true)?;
    Ok(Resumed { config, parameters, optimizer_state, state })
}

/// Reads a checkpoint's state besides tensors.
pub fn load_state(dir: &Path) -> Result<TrainerState> {
    let state_path = dir.join(STATE);
    let state = fs::read(&state_path).map_err(|source| match source.kind() {
        ErrorKind::NotFound => Error::checkpoint(dir, format!("has no {STATE}, so training cannot resume from it")),
        _ => Error::io("read", &state_path)(source),
    })?;
    serde_json::from_slice(&state)
        .map_err(|e| Error::checkpoint(&state_path, format!("cannot be read, resume from another checkpoint: {e}")))
}

/// Reads the newest undamaged checkpoint of a run, and logs a warning for each damaged one.
///
/// Errors: there is no checkpoint, or none can be read.
pub fn load_newest_checkpoint(run_dir: &Path) -> Result<Resumed> {
    let newest = list_checkpoints(run_dir)?;
    let n_checkpoints = newest.len();
    let mut reason = String::new();
    for (_, dir) in newest.into_iter().rev() {
        match load_checkpoint(&dir) {
            Err(error @ Error::Checkpoint { .. }) => {
                log::warn!("the checkpoint {} cannot be used: {error}", dir.display());
                reason = error.to_string();
            }
            loaded => return loaded,
        }
    }
    let message = match n_checkpoints {
        0 => "there is no checkpoint to resume from; start with `--out` instead".to_owned(),
        1 => format!("its one checkpoint cannot be used: {reason}"),
        n => format!("none of its {n} checkpoints can be used; the oldest: {reason}"),
    };
    Err(Error::checkpoint(run_dir, message))
}

/// The complete checkpoint with the highest step.
pub fn latest_checkpoint(run_dir: &Path) -> Result<Option<PathBuf>> {
    Ok(list_checkpoints(run_dir)?.pop().map(|(_, dir)| dir))
}

/// Step and directory of every complete checkpoint, in order of steps; empty if there is no directory yet.
pub fn list_checkpoints(run_dir: &Path) -> Result<Vec<(u64, PathBuf)>> {
    let mut found = BTreeMap::new();
    for (path, kind, step) in step_folders(&run_dir.join(CHECKPOINTS))? {
        match kind {
            Kind::Whole => drop(found.insert(step, path)),
            Kind::Replaced => drop(found.entry(step).or_insert(path)),
            Kind::Partial => {}
        }
    }
    Ok(found.into_iter().collect())
}

/// Removes all checkpoints but the `keep` with the highest steps.
pub fn prune_checkpoints(run_dir: &Path, keep: usize) -> Result<()> {
    // Otherwise a copy set aside would take the place of a removed checkpoint.
    clear_leftovers(&run_dir.join(CHECKPOINTS))?;
    let found = list_checkpoints(run_dir)?;
    found[..found.len().saturating_sub(keep)].iter().try_for_each(|(_, dir)| remove_whole(dir, dir))
}

/// The directory of the run that a checkpoint belongs to; `None` if the path does not look like a checkpoint's.
///
/// Errors: the run does not have that checkpoint.
pub fn run_of_checkpoint(path: &Path) -> Result<Option<PathBuf>> {
    let path = std::path::absolute(path).map_err(Error::io("find", path))?;
    let has_form = path.file_name().is_some_and(|name| name.to_str().is_some_and(|name| parsed(name).is_some()));
    let checkpoints = path.parent().filter(|parent| has_form && parent.ends_with(CHECKPOINTS));
    let Some(run) = checkpoints.and_then(Path::parent) else { return Ok(None) };
    if path.is_dir() {
        return Ok(Some(run.to_owned()));
    }
    let found = list_checkpoints(run)?;
    let names: Vec<_> = found.iter().filter_map(|(_, dir)| dir.file_name()?.to_str()).collect();
    let message = match &names[..] {
        [] => "there is no such checkpoint, and the run has none".to_owned(),
        names => format!("there is no such checkpoint; the run has {}", names.join(", ")),
    };
    Err(Error::checkpoint(path, message))
}

/// Renames a checkpoint to `step-00000200.set-aside`, which is kept but never read; replaces an earlier one.
pub fn set_aside_checkpoint(dir: &Path) -> Result<PathBuf> {
    let name = dir.file_name().unwrap_or_default().to_string_lossy();
    let aside = dir.with_file_name(format!("{}{SET_ASIDE}", name.trim_start_matches('.').trim_end_matches(REPLACED)));
    if aside.exists() {
        remove_whole(&aside, &aside)?;
    }
    fs::rename(dir, &aside).map_err(|e| files::io_error("rename", dir, e))?;
    Ok(aside)
}

/// The model directory: `path` itself if it has a config.json or is a GGUF file, else the newest checkpoint of the run
/// `path`.
pub fn resolve_model_dir(path: &Path) -> Result<PathBuf> {
    #[cfg(not(target_arch = "wasm32"))]
    if super::gguf::is_gguf(path) {
        return Ok(path.to_owned());
    }
    if path.join(model::CONFIG).is_file() {
        return Ok(path.to_owned());
    }
    if let Some(newest) = latest_checkpoint(path)? {
        return Ok(newest);
    }
    let message = if !path.exists() {
        "there is no such directory".to_owned()
    } else if !path.is_dir() {
        format!("is a file; name the directory with it and {}", model::CONFIG)
    } else if path.join("config.toml").is_file() {
        format!("this run has no whole checkpoint yet, looked for {CHECKPOINTS}/step-*")
    } else {
        format!("neither a model nor a run: looked for {} and for {CHECKPOINTS}/step-*", model::CONFIG)
    };
    Err(Error::checkpoint(path, message))
}

const CHECKPOINTS: &str = "checkpoints";
const STATE: &str = "trainer.json";
const OPTIMIZER: &str = "trainer.safetensors";
const REPLACED: &str = ".replaced";
const SET_ASIDE: &str = ".set-aside";

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Whole,
    Partial,
    Replaced,
}

fn write_checkpoint(dir: &Path, checkpoint: &Checkpoint) -> Result<()> {
    let Checkpoint { config, parameters, optimizer_state, state, tokenizer_files, eos } = *checkpoint;
    save_model(dir, config, parameters, tokenizer_files, eos)?;
    write_tensors(&dir.join(OPTIMIZER), optimizer_state)?;
    write_json(&dir.join(STATE), state)?;
    write_checksums(dir)
}

fn save_folder(run_dir: &Path, step: u64, fill: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let checkpoints = run_dir.join(CHECKPOINTS);
    fs::create_dir_all(&checkpoints).map_err(|e| files::io_error("create", &checkpoints, e))?;
    clear_leftovers(&checkpoints)?;
    let target = checkpoints.join(step_name(step));
    let partial = files::hidden(&target, PARTIAL);
    let saved = fs::create_dir(&partial)
        .map_err(|e| files::io_error("create", &partial, e))
        .and_then(|()| fill(&partial))
        .and_then(|()| put_in_place(&partial, &target));
    if saved.is_err() {
        // Report the first error; leftovers are removed by the next save.
        let _ = fs::remove_dir_all(&partial);
    }
    saved.map(|()| target)
}

fn put_in_place(partial: &Path, target: &Path) -> Result<()> {
    let rename = |from: &Path, to: &Path| fs::rename(from, to).map_err(|e| files::io_error("rename", from, e));
    let sync = |dir: &Path| files::sync_dir(dir).map_err(|e| files::io_error("write", dir, e));
    sync(partial)?;
    let aside = files::hidden(target, REPLACED);
    let replaces = target.exists();
    if replaces {
        rename(target, &aside)?;
    }
    rename(partial, target).inspect_err(|_| {
        if replaces {
            let _ = fs::rename(&aside, target);
        }
    })?;
    sync(target.parent().expect("a checkpoint lies in a folder"))?;
    if replaces { remove_whole(&aside, target) } else { Ok(()) }
}

/// Removes a checkpoint named `target`, renaming it first so that a crash never leaves half of it under its name.
fn remove_whole(dir: &Path, target: &Path) -> Result<()> {
    let doomed = files::hidden(target, PARTIAL);
    fs::rename(dir, &doomed).map_err(Error::io("rename", dir))?;
    fs::remove_dir_all(&doomed).map_err(Error::io("remove", doomed))
}

/// Finishes what a crash interrupted.
fn clear_leftovers(checkpoints: &Path) -> Result<()> {
    let found = step_folders(checkpoints)?;
    for (path, _, _) in found.iter().filter(|(_, kind, _)| *kind == Kind::Partial) {
        log::info!("removing {}, which a crash left unfinished", path.display());
        fs::remove_dir_all(path).map_err(Error::io("remove", path))?;
    }
    for (path, _, step) in found.iter().filter(|(_, kind, _)| *kind == Kind::Replaced) {
        let target = checkpoints.join(step_name(*step));
        if target.exists() {
            remove_whole(path, &target)?;
        } else {
            fs::rename(path, target).map_err(Error::io("rename", path))?;
        }
    }
    Ok(())
}

/// Path, kind and step of every entry in `checkpoints` with the name of a checkpoint.
fn step_folders(checkpoints: &Path) -> Result<Vec<(PathBuf, Kind, u64)>> {
    let entries = match fs::read_dir(checkpoints) {
        Ok(entries) => entries,
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(Vec::new()),
        Err(e) => return Err(Error::io("read", checkpoints)(e)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(Error::io("read", checkpoints))?.path();
        if let Some((kind, step)) = path.file_name().and_then(|name| parsed(name.to_str()?))
            && path.is_dir()
        {
            found.push((path, kind, step));
        }
    }
    Ok(found)
}

fn parsed(name: &str) -> Option<(Kind, u64)> {
    let (kind, shown) = match name.strip_prefix('.') {
        None => (Kind::Whole, name),
        Some(hidden) => match (hidden.strip_suffix(PARTIAL), hidden.strip_suffix(REPLACED)) {
            (Some(shown), _) => (Kind::Partial, shown),
            (None, Some(shown)) => (Kind::Replaced, shown),
            (None, None) => return None,
        },
    };
    let step = shown.strip_prefix("step-")?.parse().ok()?;
    // A copy made by hand, `step-200`, is not one of ours.
    (shown == step_name(step)).then_some((kind, step))
}

fn step_name(step: u64) -> String {
    format!("step-{step:08}")
}

#[cfg(test)]
mod tests {
    use super::super::testing::{parameters_of, small};
    use super::*;
    use crate::files::tests::names;

    struct Run {
        dir: tempfile::TempDir,
        config: ModelConfig,
    }

    impl Run {
        fn new() -> Self {
            Self { dir: tempfile::tempdir().unwrap(), config: small() }
        }

        fn path(&self) -> &Path {
            self.dir.path()
        }

        fn checkpoints(&self) -> PathBuf {
            self.path().join(CHECKPOINTS)
        }

        fn expected(&self, step: u64, first: f32) -> Resumed {
            let momentum =
                NamedTensor { name: "momentum.a".into(), shape: vec![2], values: vec![first, f32::MIN_POSITIVE] };
            let state = TrainerState {
                step,
                tokens: step * 2048,
                seed: u64::MAX,
                config_toml: "[model]\npreset = \"tiny\"\n".into(),
                last_loss: Some(3.5),
                best_eval_loss: Some(3.25),
                data: Some(DataIdentity {
                    name: "austen ü".into(),
                    train_tokens: 9,
                    validation_tokens: 1,
                    sha256: "ab".into(),
                }),
            };
            let parameters = parameters_of(&self.config, first);
            Resumed { config: self.config.clone(), parameters, optimizer_state: vec![momentum], state }
        }

        /// A checkpoint whose values count from `first`.
        fn save(&self, step: u64, first: f32) -> PathBuf {
            let Resumed { config, parameters, optimizer_state, state } = &self.expected(step, first);
            let tokenizer_files = &[("tokenizer.json".to_owned(), "{}".to_owned())];
            let checkpoint = Checkpoint { config, parameters, optimizer_state, state, tokenizer_files, eos: Some(0) };
            save_checkpoint(self.path(), &checkpoint).unwrap()
        }

        fn steps(&self) -> Vec<u64> {
            list_checkpoints(self.path()).unwrap().into_iter().map(|(step, _)| step).collect()
        }
    }

    #[test]
    fn a_checkpoint_comes_back_whole() {
        let run = Run::new();
        assert_eq!((latest_checkpoint(run.path()).unwrap(), run.steps()), (None, vec![]));
        let dir = run.save(200, 1.0);
        assert_eq!(dir, run.checkpoints().join("step-00000200"));
        let expected = [
            "SHA256SUMS",
            "config.json",
            "generation_config.json",
            "model.safetensors",
            "tokenizer.json",
            "trainer.json",
            "trainer.safetensors",
        ];
        assert_eq!(names(&dir), expected);
        assert_eq!(load_checkpoint(&dir).unwrap(), run.expected(200, 1.0));
        assert_eq!(read_model(&dir).unwrap().1, run.expected(200, 1.0).parameters);
    }

    #[test]
    fn the_newest_is_the_highest_step() {
        let run = Run::new();
        for step in [99_999_999, 100_000_000, 5] {
            run.save(step, 0.0);
        }
        fs::create_dir(run.checkpoints().join("step-200000000 copy")).unwrap();
        fs::create_dir(run.checkpoints().join("step-7")).unwrap();
        fs::write(run.checkpoints().join("step-99999999999"), "a file").unwrap();
        assert_eq!(run.steps(), [5, 99_999_999, 100_000_000]);
        assert!(latest_checkpoint(run.path()).unwrap().unwrap().ends_with("step-100000000"));
    }

    #[test]
    fn an_existing_checkpoint_is_replaced() {
        let run = Run::new();
        run.save(3, 1.0);
        let dir = run.save(3, 2.0);
        assert_eq!(load_checkpoint(&dir).unwrap(), run.expected(3, 2.0));
        assert_eq!(names(&run.checkpoints()), ["step-00000003"]);
    }

    #[test]
    fn a_crash_leaves_the_last_whole_one() {
        let run = Run::new();
        run.save(1, 1.0);
        let unfinished = run.checkpoints().join(".step-00000002.partial");
        fs::create_dir(&unfinished).unwrap();
        fs::write(unfinished.join("model.safetensors"), "half").unwrap();
        assert_eq!(run.steps(), [1]);
        run.save(2, 2.0);
        fs::create_dir(run.checkpoints().join(".step-00000009.partial")).unwrap();
        run.save(3, 3.0);
        assert_eq!(names(&run.checkpoints()), ["step-00000001", "step-00000002", "step-00000003"]);
    }

    #[test]
    fn a_crash_between_the_two_renames_loses_nothing() {
        let run = Run::new();
        let dir = run.save(2, 1.0);
        let aside = run.checkpoints().join(".step-00000002.replaced");
        fs::rename(&dir, &aside).unwrap();
        assert_eq!(latest_checkpoint(run.path()).unwrap().as_ref(), Some(&aside));
        assert_eq!(load_checkpoint(&aside).unwrap(), run.expected(2, 1.0));
        run.save(3, 3.0);
        assert_eq!(names(&run.checkpoints()), ["step-00000002", "step-00000003"]);
        assert_eq!(load_checkpoint(&dir).unwrap(), run.expected(2, 1.0));
        // After the second rename the old one is a leftover, complete or not.
        fs::create_dir(&aside).unwrap();
        // Several, because directories list their names in no particular order.
        for step in 4..20 {
            let target = run.checkpoints().join(step_name(step));
            fs::create_dir(&target).unwrap();
            fs::create_dir(files::hidden(&target, REPLACED)).unwrap();
        }
        for (step, dir) in list_checkpoints(run.path()).unwrap() {
            assert_eq!(dir, run.checkpoints().join(step_name(step)));
        }
        prune_checkpoints(run.path(), 1).unwrap();
        assert_eq!(names(&run.checkpoints()), ["step-00000019"]);
    }

    #[test]
    fn the_newest_stay() {
        let run = Run::new();
        prune_checkpoints(run.path(), 2).unwrap();
        (1..=4).for_each(|step| drop(run.save(step, 0.0)));
        prune_checkpoints(run.path(), 9).unwrap();
        assert_eq!(run.steps(), [1, 2, 3, 4]);
        prune_checkpoints(run.path(), 2).unwrap();
        assert_eq!(names(&run.checkpoints()), ["step-00000003", "step-00000004"]);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_full_disk_leaves_the_old_checkpoint_and_no_partial_one() {
        let run = Run::new();
        let old = run.save(3, 1.0);
        let Resumed { config, parameters, optimizer_state, state } = &run.expected(3, 2.0);
        let checkpoint = Checkpoint { config, parameters, optimizer_state, state, tokenizer_files: &[], eos: None };
        for full in ["model.safetensors", "config.json", "generation_config.json", OPTIMIZER, STATE] {
            let result = save_folder(run.path(), 3, |dir| {
                files::tests::fill_disk_for(&dir.join(full));
                write_checkpoint(dir, &checkpoint)
            });
            let message = result.unwrap_err().to_string();
            assert!(
                message.starts_with("cannot write ") && message.contains(&format!("/{full}: No space")),
                "{message}"
            );
            assert!(message.contains("free some space"), "{message}");
            assert_eq!(names(&run.checkpoints()), ["step-00000003"], "{full}");
            assert_eq!(load_checkpoint(&old).unwrap(), run.expected(3, 1.0), "{full}");
        }
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let run = Run::new();
        fs::write(run.checkpoints(), "a file in the way").unwrap();
        let message = save_folder(run.path(), 1, |_| Ok(())).unwrap_err().to_string();
        assert!(message.starts_with(&format!("cannot create {}: ", run.checkpoints().display())), "{message}");
    }

    #[test]
    fn a_wrong_checkpoint_says_what_is_wrong() {
        let run = Run::new();
        let dir = run.save(1, 1.0);
        let refusal = || load_checkpoint(&dir).unwrap_err().to_string();
        let whole = fs::read(dir.join(OPTIMIZER)).unwrap();
        fs::write(dir.join(OPTIMIZER), &whole[..whole.len() - 4]).unwrap();
        assert!(refusal().contains("trainer.safetensors: holds") && refusal().contains("truncated"), "{}", refusal());
        fs::write(dir.join(STATE), "{\"step\": 1").unwrap();
        assert!(refusal().contains("trainer.json: cannot be read, resume from another"), "{}", refusal());
        fs::remove_file(dir.join(STATE)).unwrap();
        let expected = format!("{}: has no trainer.json, so training cannot resume from it", dir.display());
        assert_eq!(refusal(), expected);
    }

    #[test]
    fn a_model_is_found_from_its_run() {
        let run = Run::new();
        let refusal = |path: &Path| resolve_model_dir(path).unwrap_err().to_string();
        assert!(refusal(run.path()).contains("looked for config.json and for checkpoints/step-*"));
        fs::write(run.path().join("config.toml"), "").unwrap();
        assert!(refusal(run.path()).contains("no whole checkpoint yet"));
        assert!(refusal(&run.path().join("none")).ends_with("none: there is no such directory"));
        assert!(refusal(&run.path().join("config.toml")).contains("is a file; name the directory"));
        let [first, second] = [run.save(1, 1.0), run.save(2, 2.0)];
        assert_eq!(resolve_model_dir(run.path()).unwrap(), second);
        assert_eq!(resolve_model_dir(&first).unwrap(), first);
    }
}
