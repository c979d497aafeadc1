//! The effect of each optimizer's passes on a gradient from the end of its best run.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::files::{read_json, write_json};
use super::plan::RunId;
use crate::Result;
use crate::checkpoint::{latest_checkpoint, load_newest_checkpoint};
use crate::config::{Role, RunConfig};
use crate::data::dataset::Dataset;
use crate::gpu::Gpu;
use crate::train::{SpectrumRecord, Trainer};

/// `spectra/NAME.json` in the comparison directory.
#[derive(Serialize, Deserialize)]
struct SpectrumFile {
    /// The run it was taken from.
    run: String,
    record: SpectrumRecord,
}

/// The spectrum saved earlier for this run.
pub(super) fn known(folder: &Path, run: &RunId) -> Result<Option<SpectrumRecord>> {
    let kept: Option<SpectrumFile> = read_json(&path(folder, run))?;
    Ok(kept.filter(|kept| kept.run == run.to_string()).map(|kept| kept.record))
}

/// Takes one more step from a finished run's last weights, follows a gradient through the passes, and saves the result.
///
/// `None` for a run without a checkpoint, or a model without a matrix in its layers.
pub(super) async fn measure(
    gpu: &Arc<Gpu>,
    dataset: &Arc<Dataset>,
    mut config: RunConfig,
    folder: &Path,
    run: &RunId,
) -> Result<Option<SpectrumRecord>> {
    let run_dir = run.folder(folder);
    if latest_checkpoint(&run_dir)?.is_none() {
        return Ok(None);
    }
    let Some(parameter) = chosen(&config) else { return Ok(None) };
    // Fused updates are bit-identical, but leave no gradient behind.
    config.train.fused_update = false;
    config.spectra.every = 1;
    config.spectra.parameters = vec![parameter];
    let mut trainer = Trainer::new(gpu.clone(), config, dataset.clone()).await?;
    trainer.restore(&load_newest_checkpoint(&run_dir)?.into())?;
    trainer.step().await?;
    trainer.drain().await?;
    let sample = trainer.take_samples().pop().expect("a sample of every step");
    let record = SpectrumRecord::of(&sample);
    write_json(&path(folder, run), &SpectrumFile { run: run.to_string(), record: record.clone() })?;
    Ok(Some(record))
}

/// The first linear layer named in `[spectra]`, else the first linear layer.
fn chosen(config: &RunConfig) -> Option<String> {
    let specs = config.model.parameters();
    let linear = || specs.iter().filter(|spec| spec.role == Role::Linear);
    let named = linear().find(|spec| config.spectra.watches(spec));
    named.or_else(|| linear().next()).map(|spec| spec.name.clone())
}

fn path(folder: &Path, run: &RunId) -> PathBuf {
    folder.join("spectra").join(format!("{}.json", run.optimizer))
}
