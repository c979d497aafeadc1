//! The Trainer, shared by the command line, the window and the page. It never blocks and never prints.
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use multinorm::config::{RunConfig, RunDefaults};
//! use multinorm::data::dataset;
//! use multinorm::gpu::{Gpu, GpuOptions};
//! use multinorm::train::Trainer;
//!
//! # async fn example() -> multinorm::Result<()> {
//! let config = RunConfig::load(None, &[], RunDefaults::Software)?;
//! let dataset = dataset::load(&config.data, config.model.vocab_size, &mut |_: &str| ())?;
//! let gpu = Arc::new(Gpu::open(&GpuOptions::default()).await?);
//! let mut trainer = Trainer::new(gpu, config, Arc::new(dataset)).await?;
//! for _ in 0..100 {
//!     for report in trainer.step().await? {
//!         println!("step {}: loss {:.4}", report.step, report.loss);
//!     }
//! }
//! println!("validation loss {:.4}", trainer.evaluate().await?.loss);
//! # Ok(())
//! # }
//! ```

mod changes;
mod evaluation;
mod event;
mod fit;
#[cfg(not(target_arch = "wasm32"))]
mod follow;
mod matrix_summary;
mod parts;
#[cfg(not(target_arch = "wasm32"))]
mod past;
mod plan;
#[cfg_attr(target_arch = "wasm32", path = "one_rank.rs")]
mod ranks;
mod recording;
mod report;
#[cfg(not(target_arch = "wasm32"))]
mod run;
#[cfg(not(target_arch = "wasm32"))]
mod run_dir;
mod samples;
mod snapshot;
mod spectra;
#[cfg(not(target_arch = "wasm32"))]
mod spectra_log;
mod trainer;
#[cfg(not(target_arch = "wasm32"))]
mod variants;

pub use changes::SettingChange;
pub use evaluation::{Evaluation, Evaluator};
#[cfg(not(target_arch = "wasm32"))]
pub(crate) use evaluation::{write_batch, write_tables};
pub use event::Event;
pub use fit::{Fit, LargestPreset, Presets, ProfileOf, Search, SearchSpace};
#[cfg(not(target_arch = "wasm32"))]
pub use follow::follow;
pub use matrix_summary::{Direction, MatrixSummary};
pub use parts::{forward_passes, update_secs};
#[cfg(not(target_arch = "wasm32"))]
pub use past::{History, PastRun, TextRecord};
pub use plan::Plan;
#[cfg(not(target_arch = "wasm32"))]
pub use ranks::Exchanged;
pub use recording::{Recorded, record_training, record_training_recomputing, record_training_with};
pub use report::StepReport;
#[cfg(not(target_arch = "wasm32"))]
pub use run::{Devices, Session, Summary, check_start, run};
#[cfg(not(target_arch = "wasm32"))]
pub use run_dir::{RunDir, find_run};
pub use samples::GradientSample;
pub use snapshot::Snapshot;
pub use spectra::{Followed, Frame, PassSeen, SpectrumRecord, THUMBNAIL_LIMIT, follow_passes, thumbnail_shape};
pub use trainer::Trainer;
#[cfg(not(target_arch = "wasm32"))]
pub use variants::{
    Measured, keep_variants_of_run, kept_variants, kept_variants_of, measure_variants, measure_variants_within,
    variants_of_run,
};
