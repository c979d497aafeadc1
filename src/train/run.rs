//! A run from beginning to end, in its folder: steps, evaluations, checkpoints, resumption.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;
use serde_json::{Map, Value, json};
use web_time::Instant;

use super::evaluation::Evaluation;
use super::event::Event;
use super::report::StepReport;
use super::spectra_log::SpectraLog;
use super::trainer::{Snapshot, Trainer};
use super::variants::keep_variants_of_run;
use crate::checkpoint::{
    Checkpoint, MetricsLog, NamedTensor, Resumed, TrainerState, latest_checkpoint, load_checkpoint, load_config,
    load_model, prune_checkpoints, resolve_model_dir, save_checkpoint, write_atomic,
};
use crate::config::{ModelConfig, Precision, Recompute, RunConfig};
use crate::data::baseline::bigram_loss;
use crate::data::batches::Batches;
use crate::data::dataset::Dataset;
use crate::data::windows::Windows;
use crate::gpu::{Gpu, Memory};
use crate::{Error, Result};

/// Where a run stands.
#[derive(Clone, Debug)]
pub struct RunPlace {
    /// The run's folder.
    pub folder: PathBuf,
    /// Whether to go on from its newest checkpoint.
    pub resume: bool,
}

impl RunPlace {
    /// The checkpoint to go on from.
    ///
    /// Errors: none to go on from, or a run where a new one shall begin.
    pub fn check(&self) -> Result<Option<PathBuf>> {
        let refuse = |message: String| Err(Error::checkpoint(&self.folder, message));
        match (self.resume, latest_checkpoint(&self.folder)?) {
            (true, None) => refuse("there is no checkpoint to resume from; start with `--out` instead".into()),
            (false, Some(last)) => refuse(format!(
                "holds a run already ({}): go on with `--resume`, or choose another `--out`",
                last.display()
            )),
            (_, last) => Ok(last),
        }
    }
}

/// How a run ended.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// Steps done, of this and earlier sessions.
    pub steps: u64,
    /// Tokens trained on.
    pub tokens: u64,
    /// Mean loss of the last step's batch.
    pub final_loss: f64,
    /// Mean loss on the validation tokens at the end, nats a token.
    pub eval_loss: f64,
    /// The same of a bigram table with add-one smoothing fitted on the training tokens.
    pub baseline_bigram_loss: f64,
    /// Of this session, evaluations and checkpoints aside.
    pub tokens_per_sec: f64,
    /// Bytes allocated on the device.
    pub peak_bytes: u64,
    /// The same, by class.
    pub memory: Memory,
    /// What the backward pass computed again.
    pub recompute: Recompute,
    /// What activations were in: `f32` or `f16`.
    pub precision: Precision,
    /// Steps that changed nothing because gradients overflowed under the loss scale, of this and earlier sessions.
    pub skipped_steps: u64,
    /// The last checkpoint.
    pub checkpoint: PathBuf,
    /// Whether it was stopped before its last step.
    pub stopped: bool,
}

/// Trains `config` on `dataset` in `place` until its last step, or until `stop` is set; then the step is finished and
/// a checkpoint written.
///
/// Errors: a folder that holds another run, a full disk, a device that fails, a loss that is NaN. The last whole
/// checkpoint stays in each case, and the message names it.
pub async fn run(
    gpu: Arc<Gpu>,
    config: RunConfig,
    dataset: Arc<Dataset>,
    place: &RunPlace,
    stop: &AtomicBool,
    on_event: &mut dyn FnMut(Event),
) -> Result<Summary> {
    let mut run = Run::begin(gpu, config, dataset, place, on_event).await?;
    let result = run.go(stop, on_event).await;
    result.map_err(|error| match (error, latest_checkpoint(&place.folder)) {
        (Error::NonFinite(message), Ok(Some(last))) => {
            Error::NonFinite(format!("{message}. The last good checkpoint is {}", last.display()))
        }
        (Error::NonFinite(message), _) => Error::NonFinite(format!("{message}. No checkpoint was written yet")),
        (error, _) => error,
    })
}

struct Run<'a> {
    trainer: Trainer,
    dataset: Arc<Dataset>,
    folder: &'a Path,
    log: MetricsLog,
    spectra: Option<SpectraLog>,
    baseline_bigram_loss: f64,
    final_loss: f64,
    /// Seconds and tokens of steps, this session.
    train_secs: f64,
    train_tokens: u64,
    best_eval_loss: Option<f64>,
}

impl<'a> Run<'a> {
    async fn begin(
        gpu: Arc<Gpu>,
        config: RunConfig,
        dataset: Arc<Dataset>,
        place: &'a RunPlace,
        on_event: &mut dyn FnMut(Event),
    ) -> Result<Self> {
        let folder = place.folder.as_path();
        let resumed = place.check()?.map(|last| load_checkpoint(&last)).transpose()?;
        if dataset.validation.len() <= config.train.sequence_length {
            // The same words for both ways of having no held-out text.
            Windows::new(&dataset.validation, 1, config.train.sequence_length, None)?;
        }
        // A text too short for one window fails here, before anything is written.
        Batches::new(&dataset.train, config.train.batch_size, config.train.sequence_length, config.train.seed)?;
        let max_tokens = config.eval.max_tokens;
        let windows = Windows::new(&dataset.validation, 1, config.train.sequence_length, Some(max_tokens))?;
        let n_predicted = windows.n_predicted();
        let weights = if resumed.is_some() { None } else { first_weights(&config)? };
        let vocab_size = config.model.vocab_size;
        let baseline = bigram_loss(&dataset.train, &dataset.validation, vocab_size, Some(n_predicted))?;

        let mut trainer = Trainer::new(gpu.clone(), config, dataset.clone()).await?;
        let (mut best_eval_loss, mut final_loss) = (None, f64::NAN);
        if let Some(resumed) = resumed {
            best_eval_loss = resumed.state.best_eval_loss;
            final_loss = resumed.state.last_loss.unwrap_or(f64::NAN);
            trainer.restore(&checked_snapshot(resumed, trainer.config(), &dataset)?)?;
        } else if let Some(weights) = weights {
            trainer.set_weights(&weights);
        }
        std::fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
        write_atomic(&folder.join("config.toml"), trainer.config().to_toml().as_bytes())?;
        keep_variants_of_run(folder, &gpu.profile)?;
        let first_step = trainer.step_number();
        let log = if place.resume { MetricsLog::resume(folder, first_step)? } else { MetricsLog::create(folder)? };
        let wants_spectra = trainer.config().spectra.every > 0;
        let spectra = wants_spectra.then(|| SpectraLog::open(folder, place.resume, first_step)).transpose()?;
        on_event(Event::Ready {
            memory: trainer.memory().clone(),
            recompute: trainer.recompute(),
            precision: trainer.precision(),
            first_step,
            baseline_bigram_loss: baseline,
        });
        Ok(Self {
            trainer,
            dataset,
            folder,
            log,
            spectra,
            baseline_bigram_loss: baseline,
            final_loss,
            train_secs: 0.0,
            train_tokens: 0,
            best_eval_loss,
        })
    }

    async fn go(&mut self, stop: &AtomicBool, on_event: &mut dyn FnMut(Event)) -> Result<Summary> {
        let (steps, eval_every, save_every, keep) = {
            let config = self.trainer.config();
            (config.train.steps, config.eval.every, config.checkpoint.every, config.checkpoint.keep)
        };
        let due = |every: u64, step: u64| every > 0 && step.is_multiple_of(every);
        let mut clock = Instant::now();
        while self.trainer.step_number() < steps && !stop.load(Ordering::Relaxed) {
            let reports = self.trainer.step().await?;
            self.take(&reports, on_event)?;
            let step = self.trainer.step_number();
            if step == steps || !(due(eval_every, step) || due(save_every, step)) {
                continue;
            }
            self.pause(&mut clock, on_event).await?;
            if due(eval_every, step) {
                self.evaluate(on_event).await?;
            }
            if due(save_every, step) {
                self.save(on_event).await?;
                prune_checkpoints(self.folder, keep)?;
            }
            clock = Instant::now();
        }
        self.pause(&mut clock, on_event).await?;
        let step = self.trainer.step_number();
        let evaluation = self.evaluate(on_event).await?;
        let checkpoint = self.save(on_event).await?;
        prune_checkpoints(self.folder, keep)?;
        Ok(Summary {
            steps: step,
            tokens: step * self.trainer.config().train.tokens_per_step() as u64,
            final_loss: self.final_loss,
            eval_loss: evaluation.loss,
            baseline_bigram_loss: self.baseline_bigram_loss,
            tokens_per_sec: self.train_tokens as f64 / self.train_secs,
            peak_bytes: self.trainer.memory().total(),
            memory: self.trainer.memory().clone(),
            recompute: self.trainer.recompute(),
            precision: self.trainer.precision(),
            skipped_steps: self.trainer.skipped_steps(),
            checkpoint,
            stopped: step < steps,
        })
    }

    /// Waits for the steps on their way, and stops the clock.
    async fn pause(&mut self, clock: &mut Instant, on_event: &mut dyn FnMut(Event)) -> Result<()> {
        let reports = self.trainer.drain().await?;
        self.take(&reports, on_event)?;
        self.trainer.check()?;
        self.train_secs += clock.elapsed().as_secs_f64();
        Ok(())
    }

    fn take(&mut self, reports: &[StepReport], on_event: &mut dyn FnMut(Event)) -> Result<()> {
        for report in reports {
            self.final_loss = report.loss;
            self.train_tokens += self.trainer.config().train.tokens_per_step() as u64;
            self.log.write(&object(json!(report)))?;
            on_event(Event::Step(report.clone()));
        }
        let samples = self.trainer.take_samples();
        match &mut self.spectra {
            Some(spectra) => spectra.push(samples, &mut |record| on_event(Event::Spectrum(Box::new(record)))),
            None => Ok(()),
        }
    }

    async fn evaluate(&mut self, on_event: &mut dyn FnMut(Event)) -> Result<Evaluation> {
        let evaluation = self.trainer.evaluate().await?;
        let step = self.trainer.step_number();
        let tokens = step * self.trainer.config().train.tokens_per_step() as u64;
        let (loss, perplexity) = (evaluation.loss, evaluation.perplexity);
        let record = json!({ "step": step, "tokens": tokens, "eval_loss": loss, "perplexity": perplexity });
        self.log.write(&object(record))?;
        self.best_eval_loss = Some(self.best_eval_loss.map_or(loss, |best| best.min(loss)));
        on_event(Event::Evaluated { step, evaluation });
        Ok(evaluation)
    }

    async fn save(&mut self, on_event: &mut dyn FnMut(Event)) -> Result<PathBuf> {
        // Of the steps before a checkpoint nothing may be missing when the run goes on from it.
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
            data_fingerprint: fingerprint(&self.dataset),
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

/// Whether a run can begin with the weights of `train.init_from`, by that model's sizes alone: before data is prepared.
///
/// Errors: no model there, one of other sizes, and one with adapters.
pub fn check_start(config: &RunConfig) -> Result<()> {
    let Some(from) = &config.train.init_from else { return Ok(()) };
    let dir = resolve_model_dir(Path::new(from))?;
    let found = load_config(&dir)?;
    if found.adapter.is_some() {
        let message = "holds adapters, too, which would be lost: go on with that run by `--resume`";
        return Err(Error::checkpoint(&dir, message));
    }
    let wanted = &config.model;
    // Neither says how the weights are to be read.
    let same = ModelConfig {
        initializer_range: wanted.initializer_range,
        max_position_embeddings: wanted.max_position_embeddings,
        adapter: wanted.adapter,
        ..found
    };
    if same != *wanted {
        let message = format!(
            "the model in {} is not that of [model]: leave [model] out and name it with `--from`, which takes its sizes over",
            dir.display()
        );
        return Err(Error::config("train.init_from", message));
    }
    Ok(())
}

/// The weights that a run begins with, where they are another model's.
///
/// Errors: as [`check_start`], and weights that cannot be read.
fn first_weights(config: &RunConfig) -> Result<Option<Vec<Vec<f32>>>> {
    check_start(config)?;
    let Some(from) = &config.train.init_from else { return Ok(None) };
    let (_, tensors) = load_model(&resolve_model_dir(Path::new(from))?)?;
    Ok(Some(tensors.into_iter().map(|tensor| tensor.values).collect()))
}

/// A checkpoint as a trainer takes it.
///
/// Errors: one of another text, tokenizer or model than these.
pub(super) fn checked_snapshot(resumed: Resumed, config: &RunConfig, dataset: &Dataset) -> Result<Snapshot> {
    let fingerprint = fingerprint(dataset);
    if resumed.state.data_fingerprint != fingerprint {
        return Err(Error::Data(format!(
            "the run was trained on {}, and the data is now {fingerprint}: resume with the same text and tokenizer",
            resumed.state.data_fingerprint
        )));
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

/// What a resumed run must find again: the corpus, its sizes, and the tokens at a few places.
fn fingerprint(dataset: &Dataset) -> String {
    let (n_train, n_validation) = (dataset.train.len(), dataset.validation.len());
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut ids = [0u32; 1];
    for probe in 0..64 {
        // A token that cannot be read here stops the run at its first step, with the cause.
        if dataset.train.copy_to(probe * n_train / 64, &mut ids).is_ok() {
            hash = (hash ^ u64::from(ids[0])).wrapping_mul(0x100_0000_01b3);
        }
    }
    format!("{} ({n_train} training and {n_validation} validation tokens, {hash:016x})", dataset.name)
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => unreachable!("a struct or an object literal"),
    }
}
