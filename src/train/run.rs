//! A complete run in its folder: steps, evaluations, checkpoints, resumption.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use web_time::Instant;

use super::changes::{SettingChange, setting_changes};
use super::event::Event;
use super::ranks::Exchanged;
use super::report::StepReport;
use super::run_dir::{CONFIG, RunDir};
use super::snapshot::Snapshot;
use super::spectra_log::SpectraLog;
use super::trainer::Trainer;
use super::variants::keep_variants_of_run;
use crate::checkpoint::{
    Checkpoint, JsonLines, MetricsLog, NamedTensor, Resumed, TrainerState, latest_checkpoint, load_config, load_model,
    load_newest_checkpoint, prune_checkpoints, resolve_model_dir, save_checkpoint,
};
use crate::config::{ModelConfig, Precision, Recompute, RunConfig, RunDefaults};
use crate::data::baseline::bigram_loss;
use crate::data::batches::Batches;
use crate::data::dataset::{DataIdentity, Dataset};
use crate::data::windows::Windows;
use crate::distributed::Group;
use crate::files::write_atomic;
use crate::gpu::{Gpu, GpuHandle, Memory};
use crate::{Error, Result};

/// How a run ended.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// Steps done, including earlier sessions.
    pub steps: u64,
    /// Tokens trained on.
    pub tokens: u64,
    /// Mean loss of the last step's batch.
    pub final_loss: f64,
    /// Mean loss on the validation tokens, nats per token: at the end or, if the run was stopped, at the last
    /// evaluation of this session, if any.
    pub eval_loss: Option<f64>,
    /// The same for a bigram table with add-one smoothing fitted on the training tokens.
    pub baseline_bigram_loss: f64,
    /// For this session, excluding evaluations and checkpoints.
    pub tokens_per_sec: f64,
    /// Bytes allocated on the device.
    pub peak_bytes: u64,
    /// The same, by class.
    pub memory: Memory,
    /// What the backward pass recomputed.
    pub recompute: Recompute,
    /// Precision of activations: `f32` or `f16`.
    pub precision: Precision,
    /// Steps that changed nothing because gradients overflowed under the loss scale, including earlier sessions.
    pub skipped_steps: u64,
    /// The last checkpoint.
    pub checkpoint: PathBuf,
    /// Whether it stopped before its last step.
    pub stopped: bool,
    /// With several ranks, what rank 0 exchanged with the others in this session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exchanged: Option<Exchanged>,
}

/// Describes the process that last trained a run: the contents of session.json.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Session {
    /// Version of this program.
    pub version: String,
    /// The adapter's name.
    pub adapter: String,
    /// Backend, driver and version.
    pub driver: String,
    /// Precision of activations: `f32` or `f16`.
    pub precision: String,
    /// What the backward pass recomputes.
    pub recompute: String,
    /// Bytes allocated on the device.
    pub device_bytes: u64,
    /// Loss of a bigram table on the validation tokens, nats per token.
    pub baseline_bigram_loss: f64,
}

/// When a run pauses.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pauses {
    /// The run's last step.
    pub steps: u64,
    eval_every: u64,
    save_every: u64,
}

impl Pauses {
    pub fn of(config: &RunConfig) -> Self {
        let (steps, eval_every, save_every) = (config.train.steps, config.eval.every, config.checkpoint.every);
        Self { steps, eval_every, save_every }
    }

    /// Whether it evaluates after `step`; after the last it always does, later.
    pub fn evaluates(&self, step: u64) -> bool {
        self.is_due(self.eval_every, step)
    }

    /// Whether it saves after `step`, as after the last.
    fn saves(&self, step: u64) -> bool {
        self.is_due(self.save_every, step)
    }

    fn is_due(&self, every: u64, step: u64) -> bool {
        every > 0 && step < self.steps && step.is_multiple_of(every)
    }
}

/// The device, and the group that this process is rank 0 of, if there is one.
pub struct Devices<'a> {
    /// Where a lost device is replaced.
    pub gpu: &'a GpuHandle,
    /// The ranks; the others call [`super::follow`].
    pub group: Option<Arc<Group>>,
}

impl<'a> From<&'a GpuHandle> for Devices<'a> {
    fn from(gpu: &'a GpuHandle) -> Self {
        Self { gpu, group: None }
    }
}

/// Trains `config` on `dataset` in `folder` until its last step, or until `stop` is set; it then finishes the step and
/// writes a checkpoint. After a device loss it continues on another device, from the last checkpoint or from the
/// beginning, and ends with bit-identical results.
///
/// Errors: a checkpoint of another text, model or optimizer; a full disk; a device that fails, or is lost three times
/// without a step in between; a NaN loss. In each case the last complete checkpoint remains, and the message names it.
pub async fn run(
    devices: impl Into<Devices<'_>>,
    config: RunConfig,
    dataset: Arc<Dataset>,
    mut folder: RunDir,
    stop: &AtomicBool,
    on_event: &mut dyn FnMut(Event),
) -> Result<Summary> {
    let Devices { gpu, group } = devices.into();
    let is_alone = group.is_none();
    let mut run = Run::begin(gpu.get(), config, Data { dataset, group }, &mut folder, on_event).await?;
    let mut result = run.go(stop, on_event).await;
    let (mut n_losses, mut steps_until_loss) = (0, 0);
    // The other ranks could not be brought back to the step that this one would go on from.
    while let (true, Err(Error::DeviceLost { adapter, message })) = (is_alone, &result) {
        n_losses = if run.n_steps == steps_until_loss { n_losses + 1 } else { 1 };
        steps_until_loss = run.n_steps;
        if n_losses == MOST_LOSSES {
            let (adapter, message) =
                (adapter.clone(), format!("{message}, {MOST_LOSSES} times without a step. {ADVICE}"));
            result = Err(Error::DeviceLost { adapter, message });
            break;
        }
        result = match run.recover(gpu, message, on_event).await {
            Ok(()) => run.go(stop, on_event).await,
            Err(error) => Err(error),
        };
    }
    result.map_err(|error| match (error, latest_checkpoint(folder.path())) {
        (Error::NonFinite(message), Ok(Some(last))) => {
            Error::NonFinite(format!("{message}. The last good checkpoint is {}", last.display()))
        }
        (Error::NonFinite(message), _) => Error::NonFinite(format!("{message}. No checkpoint was written yet")),
        (error, _) => error,
    })
}

/// Consecutive device losses, without a step in between, that end a run.
const MOST_LOSSES: u32 = 3;
const ADVICE: &str = "The run can be resumed. If it happens again: update the driver, lower train.micro_batch_size so \
                      that a dispatch takes less time, and check that the card does not overheat or lack power";

/// What a run trains on, and with whom.
struct Data {
    dataset: Arc<Dataset>,
    group: Option<Arc<Group>>,
}

struct Run<'a> {
    trainer: Trainer,
    dataset: Arc<Dataset>,
    data: DataIdentity,
    folder: &'a Path,
    log: MetricsLog,
    spectra: Option<SpectraLog>,
    texts: Option<JsonLines>,
    baseline_bigram_loss: f64,
    final_loss: f64,
    /// Steps reported this session, including repeated ones.
    n_steps: u64,
    /// Steps since the clock was last stopped, and earlier steps with their seconds.
    untimed_steps: u64,
    timed_steps: u64,
    train_secs: f64,
    eval_loss: Option<f64>,
    best_eval_loss: Option<f64>,
}

impl<'a> Run<'a> {
    async fn begin(
        gpu: Arc<Gpu>,
        config: RunConfig,
        Data { dataset, group }: Data,
        place: &'a mut RunDir,
        on_event: &mut dyn FnMut(Event),
    ) -> Result<Self> {
        let resumed = place.take_checkpoint();
        let resumes = resumed.is_some();
        let folder = place.path();
        let changes = resumed.as_ref().map_or(Ok(Vec::new()), |resumed| changes_since(resumed, &config))?;
        let data = dataset.identity()?;
        if dataset.validation.len() <= config.train.sequence_length {
            // The same message whenever there is no held-out text.
            Windows::new(&dataset.validation, 1, config.train.sequence_length, None)?;
        }
        // Fail before writing anything if the text is too short for one window.
        Batches::new(&dataset.train, config.train.batch_size, config.train.sequence_length, config.train.seed)?;
        let max_tokens = config.eval.max_tokens;
        let windows = Windows::new(&dataset.validation, 1, config.train.sequence_length, Some(max_tokens))?;
        let n_predicted = windows.n_predicted();
        if !resumes {
            check_start(&config)?;
        }
        let vocab_size = config.model.vocab_size;
        let baseline = bigram_loss(&dataset.train, &dataset.validation, vocab_size, Some(n_predicted))?;

        let mut trainer = Trainer::on_ranks(gpu.clone(), config, dataset.clone(), group).await?;
        let Start { best_eval_loss, final_loss } = start(&mut trainer, resumed, &data)?;
        trainer.share_start().await?;
        let first_step = trainer.step_number();
        // A resumed run keeps the file it started with.
        if !resumes {
            write_atomic(&folder.join(CONFIG), trainer.config().to_toml().as_bytes())?;
        }
        keep_variants_of_run(folder, &gpu.profile)?;
        place.set_aside_after(first_step)?;
        if !changes.is_empty() {
            let changed: Map<String, Value> =
                changes.iter().map(|of| (of.key.clone(), json!([of.before, of.now]))).collect();
            let record = object(json!({ "step": first_step, "changed": changed }));
            JsonLines::resume(&folder.join(CHANGES), first_step)?.write(&record)?;
        }
        let log = if resumes { MetricsLog::resume(folder, first_step)? } else { MetricsLog::create(folder)? };
        let wants_spectra = trainer.config().spectra.every > 0;
        let spectra = wants_spectra.then(|| SpectraLog::open(folder, resumes, first_step)).transpose()?;
        let wants_texts = trainer.config().eval.text_tokens > 0;
        let texts = wants_texts.then(|| JsonLines::open(&folder.join(TEXTS), resumes, first_step)).transpose()?;
        let session = Session {
            version: env!("CARGO_PKG_VERSION").into(),
            adapter: gpu.adapter_name.clone(),
            driver: gpu.driver.clone(),
            precision: trainer.precision().name().into(),
            recompute: trainer.recompute().name().into(),
            device_bytes: trainer.memory().total(),
            baseline_bigram_loss: baseline,
        };
        write_atomic(&folder.join(SESSION), format!("{}\n", json!(session)).as_bytes())?;
        on_event(Event::Ready {
            memory: trainer.memory().clone(),
            recompute: trainer.recompute(),
            precision: trainer.precision(),
            first_step,
            baseline_bigram_loss: baseline,
            changes,
        });
        Ok(Self {
            trainer,
            dataset,
            data,
            folder,
            log,
            spectra,
            texts,
            baseline_bigram_loss: baseline,
            final_loss,
            n_steps: 0,
            untimed_steps: 0,
            timed_steps: 0,
            train_secs: 0.0,
            eval_loss: None,
            best_eval_loss,
        })
    }

    /// Resumes from the last checkpoint, or from the beginning, on a device that replaces the lost one.
    async fn recover(&mut self, gpu: &GpuHandle, message: &str, on_event: &mut dyn FnMut(Event)) -> Result<()> {
        let config = self.trainer.config().clone();
        let has_checkpoint = latest_checkpoint(self.folder)?.is_some();
        let resumed = has_checkpoint.then(|| load_newest_checkpoint(self.folder)).transpose()?;
        let step = resumed.as_ref().map_or(0, |resumed| resumed.state.step);
        self.trainer = Trainer::new(gpu.reopen().await?, config, self.dataset.clone()).await?;
        let Start { best_eval_loss, final_loss } = start(&mut self.trainer, resumed, &self.data)?;
        (self.best_eval_loss, self.final_loss) = (best_eval_loss, final_loss);
        self.log = MetricsLog::resume(self.folder, step)?;
        if self.spectra.is_some() {
            self.spectra = Some(SpectraLog::open(self.folder, true, step)?);
        }
        if self.texts.is_some() {
            self.texts = Some(JsonLines::resume(&self.folder.join(TEXTS), step)?);
        }
        self.untimed_steps = 0;
        on_event(Event::DeviceLost { message: message.to_owned(), step });
        Ok(())
    }

    async fn go(&mut self, stop: &AtomicBool, on_event: &mut dyn FnMut(Event)) -> Result<Summary> {
        let (pauses, keep) = (Pauses::of(self.trainer.config()), self.trainer.config().checkpoint.keep);
        let mut clock = Instant::now();
        while self.trainer.step_number() < pauses.steps && !self.trainer.stops(stop.load(Ordering::Relaxed)) {
            let reports = self.trainer.step().await?;
            self.take(&reports, on_event)?;
            let step = self.trainer.step_number();
            if !(pauses.evaluates(step) || pauses.saves(step)) {
                continue;
            }
            self.pause(&mut clock, on_event).await?;
            if pauses.evaluates(step) {
                self.evaluate(on_event).await?;
            }
            if pauses.saves(step) {
                self.save(on_event).await?;
                prune_checkpoints(self.folder, keep)?;
            }
            clock = Instant::now();
        }
        self.pause(&mut clock, on_event).await?;
        let step = self.trainer.step_number();
        let stopped = step < pauses.steps;
        // Stopping must not wait for an evaluation: `docker stop` allows ten seconds.
        if !stopped {
            self.evaluate(on_event).await?;
        }
        let checkpoint = self.save(on_event).await?;
        prune_checkpoints(self.folder, keep)?;
        let tokens = |steps: u64| steps * self.trainer.config().train.tokens_per_step() as u64;
        Ok(Summary {
            steps: step,
            tokens: tokens(step),
            final_loss: self.final_loss,
            eval_loss: self.eval_loss,
            baseline_bigram_loss: self.baseline_bigram_loss,
            tokens_per_sec: tokens(self.timed_steps) as f64 / self.train_secs,
            peak_bytes: self.trainer.memory().total(),
            memory: self.trainer.memory().clone(),
            recompute: self.trainer.recompute(),
            precision: self.trainer.precision(),
            skipped_steps: self.trainer.skipped_steps(),
            checkpoint,
            stopped,
            exchanged: self.trainer.exchanged(),
        })
    }

    /// Waits for the steps in flight, and stops the clock.
    async fn pause(&mut self, clock: &mut Instant, on_event: &mut dyn FnMut(Event)) -> Result<()> {
        let reports = self.trainer.drain().await?;
        self.take(&reports, on_event)?;
        self.trainer.check()?;
        self.train_secs += clock.elapsed().as_secs_f64();
        self.timed_steps += std::mem::take(&mut self.untimed_steps);
        Ok(())
    }

    fn take(&mut self, reports: &[StepReport], on_event: &mut dyn FnMut(Event)) -> Result<()> {
        for report in reports {
            self.final_loss = report.loss;
            self.n_steps += 1;
            self.untimed_steps += 1;
            self.log.write(&object(json!(report)))?;
            on_event(Event::Step(report.clone()));
        }
        let samples = self.trainer.take_samples();
        match &mut self.spectra {
            Some(spectra) => spectra.push(samples, &mut |record| on_event(Event::Spectrum(Box::new(record)))),
            None => Ok(()),
        }
    }

    async fn evaluate(&mut self, on_event: &mut dyn FnMut(Event)) -> Result<()> {
        let evaluation = self.trainer.evaluate().await?;
        let step = self.trainer.step_number();
        let tokens = step * self.trainer.config().train.tokens_per_step() as u64;
        let (loss, perplexity) = (evaluation.loss, evaluation.perplexity);
        let record = json!({ "step": step, "tokens": tokens, "eval_loss": loss, "perplexity": perplexity });
        self.log.write(&object(record))?;
        self.eval_loss = Some(loss);
        self.best_eval_loss = Some(self.best_eval_loss.map_or(loss, |best| best.min(loss)));
        on_event(Event::Evaluated { step, evaluation });
        self.write_text(on_event).await
    }

    async fn write_text(&mut self, on_event: &mut dyn FnMut(Event)) -> Result<()> {
        let Some(texts) = &mut self.texts else { return Ok(()) };
        let prompt = self.trainer.config().eval.prompt.clone();
        let Some(text) = self.trainer.write_text(&prompt).await? else { return Ok(()) };
        let step = self.trainer.step_number();
        texts.write(&object(json!({ "step": step, "prompt": prompt, "text": text })))?;
        self.log.write_text(step, &text)?;
        on_event(Event::Wrote { step, text });
        Ok(())
    }

    async fn save(&mut self, on_event: &mut dyn FnMut(Event)) -> Result<PathBuf> {
        // All spectra up to a checkpoint must be written before the run can resume from it.
        if let Some(spectra) = &mut self.spectra {
            spectra.finish(&mut |record| on_event(Event::Spectrum(Box::new(record))))?;
        }
        let snapshot = self.trainer.snapshot().await?;
        let config = self.trainer.config();
        let specs = config.model.parameters();
        let parameters: Vec<NamedTensor> = specs
            .into_iter()
            .zip(snapshot.parameters)
            .map(|(spec, values)| NamedTensor { name: spec.name, shape: spec.shape, values })
            .collect();
        let optimizer_state: Vec<NamedTensor> =
            snapshot.states.into_iter().map(|(name, shape, values)| NamedTensor { name, shape, values }).collect();
        let state = TrainerState {
            step: snapshot.step,
            tokens: snapshot.step * config.train.tokens_per_step() as u64,
            seed: config.train.seed,
            config_toml: config.to_toml(),
            last_loss: Some(self.final_loss).filter(|loss| loss.is_finite()),
            best_eval_loss: self.best_eval_loss,
            data: Some(self.data.clone()),
        };
        let tokenizer = self.dataset.tokenizer.as_ref();
        let folder = save_checkpoint(
            self.folder,
            &Checkpoint {
                config: &config.model,
                parameters: &parameters,
                optimizer_state: &optimizer_state,
                state: &state,
                tokenizer_files: &tokenizer.map(|tokenizer| tokenizer.files()).unwrap_or_default(),
                eos: tokenizer.and_then(|tokenizer| tokenizer.end_of_text()),
            },
        )?;
        on_event(Event::Saved(folder.clone()));
        Ok(folder)
    }
}

/// What a run knows of its losses when it starts or resumes.
struct Start {
    best_eval_loss: Option<f64>,
    final_loss: f64,
}

/// Gives a trainer its starting point, new or resumed.
///
/// Errors: as [`checked_snapshot`] and [`first_weights`].
fn start(trainer: &mut Trainer, resumed: Option<Resumed>, data: &DataIdentity) -> Result<Start> {
    let Some(resumed) = resumed else {
        if let Some(weights) = first_weights(trainer.config())? {
            trainer.set_weights(&weights);
        }
        return Ok(Start { best_eval_loss: None, final_loss: f64::NAN });
    };
    let (best_eval_loss, last_loss) = (resumed.state.best_eval_loss, resumed.state.last_loss);
    trainer.restore(&checked_snapshot(resumed, trainer.config(), data)?)?;
    Ok(Start { best_eval_loss, final_loss: last_loss.unwrap_or(f64::NAN) })
}

/// The settings that differ from a checkpoint's.
///
/// Errors: one that must stay the same.
fn changes_since(resumed: &Resumed, config: &RunConfig) -> Result<Vec<SettingChange>> {
    let path = Path::new(CONFIG);
    // It contains all settings, so the defaults it is read over hardly matter.
    let before = RunConfig::load(Some((path, &resumed.state.config_toml)), &[], RunDefaults::Software)?;
    setting_changes(&before, config)
}

/// Each line gives a step and the settings changed there, before and after.
const CHANGES: &str = "changes.jsonl";
pub(super) const SESSION: &str = "session.json";
/// Each line gives a step, `eval.prompt` and the text the model generated, including the prompt.
pub(super) const TEXTS: &str = "texts.jsonl";

/// Whether a run can start with the weights of `train.init_from`, judged only by that model's sizes, before data is
/// prepared.
///
/// Errors: no model there, different sizes, or a model with adapters.
pub fn check_start(config: &RunConfig) -> Result<()> {
    let Some(from) = &config.train.init_from else { return Ok(()) };
    let dir = resolve_model_dir(Path::new(from))?;
    let found = load_config(&dir)?;
    if found.adapter.is_some() {
        let message = "holds adapters, too, which would be lost: go on with that run by `--resume`";
        return Err(Error::checkpoint(&dir, message));
    }
    let wanted = &config.model;
    // Neither affects how the weights are read.
    let same = ModelConfig {
        initializer_range: wanted.initializer_range,
        max_position_embeddings: wanted.max_position_embeddings,
        adapter: wanted.adapter,
        ..found
    };
    if same != *wanted {
        let message = format!(
            "the model in {} is not that of [model]: omit [model] and name it with `--from`, which adopts its sizes",
            dir.display()
        );
        return Err(Error::config("train.init_from", message));
    }
    Ok(())
}

/// The weights that a run starts with, if they are another model's.
///
/// Errors: as [`check_start`], and weights that cannot be read.
fn first_weights(config: &RunConfig) -> Result<Option<Vec<Vec<f32>>>> {
    check_start(config)?;
    let Some(from) = &config.train.init_from else { return Ok(None) };
    let (_, tensors) = load_model(&resolve_model_dir(Path::new(from))?)?;
    Ok(Some(tensors.into_iter().map(|tensor| tensor.values).collect()))
}

/// A checkpoint in the form a trainer takes.
///
/// Errors: a checkpoint of another text, tokenizer or model.
pub(super) fn checked_snapshot(resumed: Resumed, config: &RunConfig, data: &DataIdentity) -> Result<Snapshot> {
    match &resumed.state.data {
        Some(trained_on) if trained_on != data => {
            return Err(Error::Data(format!(
                "the run was trained on {trained_on}, but the data is now {data}: resume with the same text and tokenizer"
            )));
        }
        Some(_) => {}
        None => log::warn!("the checkpoint does not say what the run was trained on: check that the data is the same"),
    }
    if resumed.config.adapter != config.model.adapter {
        let message = "the checkpoint's adapters are others, or there are none: resume with the optimizer that the run began with";
        return Err(Error::config("optimizer", message));
    }
    if resumed.config.parameters() != config.model.parameters() {
        return Err(Error::config(
            "model",
            "the checkpoint's model has other parameters: resume with the sizes that the run began with",
        ));
    }
    Ok(resumed.into())
}

impl From<Resumed> for Snapshot {
    fn from(resumed: Resumed) -> Self {
        Self {
            step: resumed.state.step,
            parameters: resumed.parameters.into_iter().map(|tensor| tensor.values).collect(),
            states: resumed.optimizer_state.into_iter().map(|t| (t.name, t.shape, t.values)).collect(),
        }
    }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => unreachable!("a struct or an object literal"),
    }
}
