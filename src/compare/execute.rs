//! Executes a plan: runs everything once, each run in its own directory, and writes the results so far after each run.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::cost::Cost;
use super::files::write_json;
use super::plan::{Plan, RunId};
use super::record::{Outcome, RunRecord};
use super::report;
use super::result::{About, Comparison, Corpus, best_factors, comparison};
use super::spectra;
use super::sweep::LrFactors;
use crate::checkpoint::prune_checkpoints;
use crate::config::OptimizerConfig;
use crate::data::dataset::Dataset;
use crate::files::{DirLock, write_atomic};
use crate::gpu::GpuHandle;
use crate::train::{self, RunDir, SpectrumRecord, keep_variants_of_run};
use crate::{Error, Result};

/// A comparison directory, locked while this is held, so that no other comparison writes to it.
#[derive(Debug)]
pub struct ComparisonFolder {
    lock: DirLock,
    command: String,
}

impl ComparisonFolder {
    /// Locks the directory, creating it if needed; `command` is the command line as typed, for the report.
    ///
    /// Errors: another comparison is writing to the directory, or it cannot be created or written.
    pub fn open(folder: &Path, command: String) -> Result<Self> {
        Ok(Self { lock: DirLock::acquire(folder)?, command })
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        self.lock.folder()
    }

    /// The command line as typed.
    pub fn command(&self) -> &str {
        &self.command
    }
}

/// The events of a comparison, in order.
#[derive(Clone, Debug)]
pub enum Event<'a> {
    /// About to measure memory and time of this optimizer's update.
    Measuring(&'a str),
    /// About to follow a gradient from the end of this optimizer's best run through its passes.
    Following(&'a str),
    /// A run begins or is resumed; runs that had already ended are not reported.
    Begins {
        /// The run.
        run: &'a RunId,
        /// Its position among all runs, from 1.
        number: usize,
        /// The number of runs.
        of: usize,
    },
    /// An event of that run.
    Run {
        /// The run.
        run: &'a RunId,
        /// Its event.
        event: train::Event,
    },
    /// The run ended: it finished all steps, or it diverged.
    Ended(&'a RunRecord),
    /// `compare.json` and `report.html` have been written with the results so far.
    Reported(&'a Path),
}

/// Runs the missing runs of `plan` in `place`, until all are done or `stop` is set. On `stop`, finishes and saves the
/// current step; the same call resumes from there.
///
/// A run that diverges is a result, and the comparison continues. Errors: the directory has another comparison, the
/// disk is full, or the device fails.
pub async fn run(
    gpu: &GpuHandle,
    dataset: Arc<Dataset>,
    plan: &Plan,
    place: &ComparisonFolder,
    stop: &AtomicBool,
    on_event: &mut dyn FnMut(Event<'_>),
) -> Result<Comparison> {
    let opened = gpu.get();
    plan.claim(place.path(), &opened.adapter_name, dataset.identity()?)?;
    keep_variants_of_run(place.path(), &opened.profile)?;
    let mut execution = Execution {
        handle: gpu,
        dataset,
        plan,
        place,
        stop,
        records: Vec::new(),
        costs: BTreeMap::new(),
        spectra: BTreeMap::new(),
    };
    execution.read_what_is_there()?;
    execution.go(on_event).await?;
    execution.report(on_event)
}

struct Execution<'a> {
    handle: &'a GpuHandle,
    dataset: Arc<Dataset>,
    plan: &'a Plan,
    place: &'a ComparisonFolder,
    stop: &'a AtomicBool,
    /// Runs that have ended.
    records: Vec<RunRecord>,
    costs: BTreeMap<String, Cost>,
    spectra: BTreeMap<String, SpectrumRecord>,
}

impl Execution<'_> {
    /// Sweeps all optimizers first, so that the report soon shows each of them; fine-tuning optimizers come after all
    /// others.
    async fn go(&mut self, on_event: &mut dyn FnMut(Event<'_>)) -> Result<()> {
        let mut number = 0;
        for optimizers in [&self.plan.optimizers, &self.plan.fine_tuners] {
            for id in self.plan.sweep().filter(|id| optimizers.contains(&id.optimizer)) {
                number += 1;
                self.measure(&id.optimizer, on_event).await?;
                self.end(&id, number, on_event).await?;
            }
            for optimizer in optimizers {
                let Some(factors) = best_factors(self.plan, &self.records, optimizer) else { continue };
                for id in self.plan.seeds_at(optimizer, factors).skip(1) {
                    number += 1;
                    self.end(&id, number, on_event).await?;
                }
            }
        }
        for optimizer in self.plan.all() {
            self.follow(optimizer, on_event).await?;
        }
        Ok(())
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    async fn measure(&mut self, optimizer: &str, on_event: &mut dyn FnMut(Event<'_>)) -> Result<()> {
        if self.stopped() || self.costs.contains_key(optimizer) {
            return Ok(());
        }
        on_event(Event::Measuring(optimizer));
        let id = RunId { optimizer: optimizer.to_owned(), factors: LrFactors::OWN, seed: self.plan.config.train.seed };
        let config = self.plan.run_config(&id)?;
        let cost = Cost::measure(&self.handle.get(), &self.dataset, &config, self.place.path(), optimizer).await?;
        self.costs.insert(optimizer.to_owned(), cost);
        Ok(())
    }

    /// Follows a gradient of an optimizer's best run through its passes, unless that has been done.
    async fn follow(&mut self, optimizer: &str, on_event: &mut dyn FnMut(Event<'_>)) -> Result<()> {
        let Some(factors) = best_factors(self.plan, &self.records, optimizer) else { return Ok(()) };
        if OptimizerConfig::named(optimizer)?.zeroth_order().is_some() {
            return Ok(()); // no gradients
        }
        let best = RunId { optimizer: optimizer.to_owned(), factors, seed: self.plan.config.train.seed };
        let folder = self.place.path();
        let mut record = spectra::known(folder, &best)?;
        if record.is_none() && !self.stopped() {
            on_event(Event::Following(optimizer));
            let config = self.plan.run_config(&best)?;
            record = spectra::measure(&self.handle.get(), &self.dataset, config, folder, &best).await?;
        }
        self.spectra.extend(record.map(|record| (optimizer.to_owned(), record)));
        Ok(())
    }

    /// Executes a run to its end, unless it has already ended or everything is to stop.
    async fn end(&mut self, id: &RunId, number: usize, on_event: &mut dyn FnMut(Event<'_>)) -> Result<()> {
        if self.stopped() || self.records.iter().any(|run| run.id == *id) {
            return Ok(());
        }
        on_event(Event::Begins { run: id, number, of: self.plan.n_runs() });
        let folder = id.folder(self.place.path());
        let Some(outcome) = self.train(id, &folder, on_event).await? else { return Ok(()) };
        outcome.write(&folder)?;
        // With nothing left to resume, only the last weights are worth their space.
        prune_checkpoints(&folder, 1)?;
        if let Some(record) = RunRecord::read(id, &folder, &self.plan.run_config(id)?)? {
            on_event(Event::Ended(&record));
            self.records.push(record);
        }
        self.report(on_event).map(drop)
    }

    /// How the run ended; `None` if it was stopped.
    async fn train(&self, id: &RunId, folder: &Path, on_event: &mut dyn FnMut(Event<'_>)) -> Result<Option<Outcome>> {
        let run_dir = RunDir::resume_or_create(folder)?;
        let mut forward = |event: train::Event| on_event(Event::Run { run: id, event });
        let dataset = self.dataset.clone();
        let mut config = self.plan.run_config(id)?;
        if self.plan.fine_tunes(&id.optimizer) {
            // If the reference has diverged, there is nothing to start from.
            let Some(start) = self.start()? else { return Ok(None) };
            let from = start.folder(self.place.path());
            config.train.init_from = Some(from.display().to_string());
            config.make_paths_absolute()?;
        }
        match train::run(self.handle, config, dataset, run_dir, self.stop, &mut forward).await {
            Ok(summary) if summary.stopped => Ok(None),
            Ok(summary) => Ok(Some(Outcome::Finished {
                baseline_bigram_loss: summary.baseline_bigram_loss,
                peak_bytes: summary.peak_bytes,
            })),
            Err(Error::NonFinite(message)) => Ok(Some(Outcome::Diverged { message })),
            Err(error) => Err(error),
        }
    }

    /// The reference's best run with the first seed, as of when the first fine-tuning run began.
    fn start(&self) -> Result<Option<RunId>> {
        let known = self.plan.start(self.place.path())?;
        if known.is_some() {
            return Ok(known);
        }
        let optimizer = self.plan.reference();
        let Some(factors) = best_factors(self.plan, &self.records, optimizer) else { return Ok(None) };
        let start = RunId { optimizer: optimizer.to_owned(), factors, seed: self.plan.config.train.seed };
        self.plan.choose_start(self.place.path(), &start)?;
        Ok(Some(start))
    }

    fn read_what_is_there(&mut self) -> Result<()> {
        for optimizer in self.plan.all() {
            let known = Cost::known(self.place.path(), optimizer)?;
            self.costs.extend(known.map(|cost| (optimizer.clone(), cost)));
            for factors in self.plan.factors_of(optimizer).points() {
                for id in self.plan.seeds_at(optimizer, factors) {
                    let folder = id.folder(self.place.path());
                    self.records.extend(RunRecord::read(&id, &folder, &self.plan.run_config(&id)?)?);
                }
            }
        }
        Ok(())
    }

    fn report(&self, on_event: &mut dyn FnMut(Event<'_>)) -> Result<Comparison> {
        let gpu = self.handle.get();
        let about = About {
            plan: self.plan,
            command: self.place.command(),
            adapter: &gpu.adapter_name,
            driver: &gpu.driver,
            software_adapter: gpu.profile.software,
            corpus: Corpus {
                name: self.dataset.name.clone(),
                license: self.dataset.license.clone(),
                training_tokens: self.dataset.train.len(),
                validation_tokens: self.dataset.validation.len(),
                split: self.dataset.split.clone(),
            },
        };
        let start = self.plan.start(self.place.path())?;
        let found = comparison(&about, &self.records, &self.costs, &self.spectra, start)?;
        write_json(&self.place.path().join("compare.json"), &found)?;
        let page = self.place.path().join("report.html");
        write_atomic(&page, report::html(&found).as_bytes())?;
        if let Some(picture) = report::picture(&found) {
            write_atomic(&self.place.path().join("losses.svg"), picture.as_bytes())?;
        }
        if let Some(picture) = report::picture_of_state(&found) {
            write_atomic(&self.place.path().join("state.svg"), picture.as_bytes())?;
        }
        on_event(Event::Reported(&page));
        Ok(found)
    }
}
