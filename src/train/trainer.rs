//! Drives a recorded run: steps, evaluations, snapshots.

use std::sync::Arc;

use web_time::Instant;

use super::evaluation::{Evaluation, Replay, evaluate, write_batch, write_tables};
use super::parts::{Part, parts, queries, replays, step_words};
use super::plan::Plan;
use super::ranks::{self, Group, Layout, Ranks};
use super::recording::{RING_SLOTS, Recorded, kinds, record_training_scaled, record_training_with};
use super::report::StepReport;
use super::samples::{GradientSample, GradientSampler, by_name, states_of};
use super::snapshot::Snapshot;
use crate::config::{Precision, Recompute, RunConfig, ScheduleKind};
use crate::data::batches::Batches;
use crate::data::dataset::Dataset;
use crate::generate::{Decoding, Sampler};
use crate::gpu::{Gpu, KernelTime, Memory, ReadbackRing, Span, Tensor, Throttle, Workspace};
use crate::kernels::loss_scale::LossScale;
use crate::kernels::norms::Statistics;
use crate::llama::{BatchInputs, Llama, Parameter, initial_values};
use crate::optim::{RecordUpdate, State};
use crate::reference::schedule::cosine_with_warmup;
use crate::{Error, Result};

/// Sampling temperature of a text after an evaluation: the default of `multinorm generate`.
const TEMPERATURE: f64 = 0.8;
const TOP_P: f64 = 0.95;

/// A run on a device.
///
/// Steps are submitted without waiting; their reports arrive up to four steps late. Two trainers with the same
/// configuration on the same adapter produce bit-identical results.
pub struct Trainer {
    gpu: Arc<Gpu>,
    config: RunConfig,
    dataset: Arc<Dataset>,
    workspace: Workspace,
    llama: Llama,
    states: Vec<State>,
    recompute: Recompute,
    precision: Precision,
    inputs: BatchInputs,
    eval_inputs: BatchInputs,
    decoding: Option<Decoding>,
    step_tensor: Tensor,
    statistics: Tensor,
    /// Parameters in the order in which their gradients become complete, with the index of each norm in the statistics.
    norms: Vec<(usize, usize)>,
    ring: ReadbackRing,
    eval_ring: ReadbackRing,
    sampler: Option<GradientSampler>,
    /// Arrived, but not yet handed out.
    samples: Vec<GradientSample>,
    /// Steps submitted.
    step: u64,
    /// Steps known so far to have been skipped because gradients overflowed.
    skipped: u64,
    /// Whether a step must know which earlier steps were skipped: scheduled work is due by number of updates.
    waits_for_skips: bool,
    last_report: Option<Instant>,
    /// An error that occurred after the last reported steps.
    failed: Option<Error>,
    /// Reports in flight for steps before a snapshot was restored.
    stale: usize,
    throttle: Option<Throttle>,
    /// The other processes that take a part of every batch.
    ranks: Option<Ranks>,
    spans: Vec<Span>,
}

impl Trainer {
    /// Records, allocates and initializes a run. Call [`Trainer::restore`] to resume from a snapshot.
    ///
    /// If `train.recompute` is `auto` and the device runs out of memory, it tries again with more recomputation.
    ///
    /// Errors: a configuration that cannot be recorded, or that does not fit the device.
    pub async fn new(gpu: Arc<Gpu>, config: RunConfig, dataset: Arc<Dataset>) -> Result<Self> {
        Self::in_group(gpu, config, dataset, None).await
    }

    /// The same as one rank of a group: it takes a part of every batch, and the ranks sum their gradients. All ranks must
    /// do the same in the same order: take steps, evaluate, and first [`Trainer::share_start`].
    ///
    /// Errors: as [`Trainer::new`], and a run that this many ranks cannot share.
    #[cfg(not(target_arch = "wasm32"))]
    pub async fn on_ranks(
        gpu: Arc<Gpu>,
        config: RunConfig,
        dataset: Arc<Dataset>,
        group: Option<Arc<Group>>,
    ) -> Result<Self> {
        Self::in_group(gpu, config, dataset, group).await
    }

    async fn in_group(
        gpu: Arc<Gpu>,
        config: RunConfig,
        dataset: Arc<Dataset>,
        group: Option<Arc<Group>>,
    ) -> Result<Self> {
        config.validate()?;
        let factor = ranks::loss_factor(&config, group.as_deref())?;
        first_that_fits(&kinds(&config), async |recompute| {
            let began = Instant::now();
            let recorded = record_training_scaled(&config, &gpu.profile, recompute, factor)?;
            let record = Span::since("record", began);
            let (gpu, config, dataset, group) = (gpu.clone(), config.clone(), dataset.clone(), group.clone());
            let mut trainer = Self::allocate(gpu, config, dataset, recorded, group).await?;
            trainer.spans.insert(0, record);
            Ok(trainer)
        })
        .await
    }

    /// The same with the caller's optimizer: `record_update` records the update of each parameter.
    ///
    /// Errors: as [`Trainer::new`], and a matrix that does not fit one binding of the device.
    pub async fn with_optimizer(
        gpu: Arc<Gpu>,
        config: RunConfig,
        dataset: Arc<Dataset>,
        record_update: &RecordUpdate<'_>,
    ) -> Result<Self> {
        config.validate()?;
        if config.optimizer.zeroth_order().is_some() {
            let message = "takes losses and no gradient, which the caller's own update wants: name another";
            return Err(Error::config("optimizer.name", message));
        }
        first_that_fits(&kinds(&config), async |recompute| {
            let recorded = record_training_with(&config, &gpu.profile, recompute, record_update)?;
            Self::allocate(gpu.clone(), config.clone(), dataset.clone(), recorded, None).await
        })
        .await
    }

    async fn allocate(
        gpu: Arc<Gpu>,
        config: RunConfig,
        dataset: Arc<Dataset>,
        mut recorded: Recorded,
        group: Option<Arc<Group>>,
    ) -> Result<Self> {
        let layout = group.as_ref().map(|_| Layout::new(&mut recorded, &config.distributed));
        let Recorded { recorder, llama, states, inputs, eval_inputs, decoding, statistics, norms, watched, .. } =
            recorded;
        let (recompute, precision) = (recorded.recompute, recorded.precision);
        let (eval_loss, step) = (recorded.eval_loss, recorded.step);
        let workspace = recorder.allocate(&gpu).await?;
        let mut spans = workspace.spans.clone();
        let began = Instant::now();
        let ring = ReadbackRing::new(&gpu, &statistics, RING_SLOTS).await?;
        let eval_ring = ReadbackRing::new(&gpu, &eval_loss, RING_SLOTS).await?;
        let sampler =
            if watched.is_empty() { None } else { Some(GradientSampler::new(&gpu, watched, &statistics).await?) };
        let specs = config.model.parameters();
        let initial = specs.iter().map(|spec| initial_values(&config.model, spec, config.train.seed));
        llama.write_weights(&gpu, &workspace, initial);
        for inputs in [&inputs, &eval_inputs] {
            write_tables(&gpu, &workspace, inputs);
        }
        if let Some(decoding) = &decoding {
            decoding.write_tables(&gpu, &workspace);
        }
        let ranks = match group.zip(layout) {
            Some((group, layout)) => Some(Ranks::new(group, &gpu, &workspace, &config, layout).await?),
            None => None,
        };
        spans.push(Span::since("initialize", began));
        let waits_for_skips = precision == Precision::F16 && workspace.has_intervals();
        // New buffers are zero, the initial value of optimizer states and statistics.
        Ok(Self {
            gpu,
            config,
            dataset,
            workspace,
            llama,
            states,
            recompute,
            precision,
            inputs,
            eval_inputs,
            decoding,
            step_tensor: step,
            statistics,
            norms,
            ring,
            eval_ring,
            sampler,
            samples: Vec::new(),
            step: 0,
            skipped: 0,
            waits_for_skips,
            last_report: None,
            failed: None,
            stale: 0,
            throttle: None,
            ranks,
            spans,
        })
    }

    /// The resolved configuration.
    pub fn config(&self) -> &RunConfig {
        &self.config
    }

    /// What the backward pass recomputes: the resolved `train.recompute` on this device.
    pub fn recompute(&self) -> Recompute {
        self.recompute
    }

    /// Precision of activations, `f32` or `f16`: the resolved `train.precision` on this device.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Reported steps that changed nothing because gradients overflowed under the loss scale.
    pub fn skipped_steps(&self) -> u64 {
        self.skipped
    }

    /// Steps submitted so far.
    pub fn step_number(&self) -> u64 {
        self.step
    }

    /// Bytes allocated, by class.
    pub fn memory(&self) -> &Memory {
        &self.workspace.memory
    }

    /// From now on limits work in flight on the device to `budget_secs`, so that a window on the same device gets its
    /// turn; `None` submits whole steps. The results stay bit-identical.
    pub fn set_throttle(&mut self, budget_secs: Option<f64>) {
        self.throttle = budget_secs.map(Throttle::new);
    }

    /// Whether [`Trainer::set_throttle`] set a budget.
    pub fn is_throttled(&self) -> bool {
        self.throttle.is_some()
    }

    /// Submits one step, and returns the reports that have arrived meanwhile, oldest first.
    ///
    /// Errors: the device fails, tokens outside the vocabulary, or [`Error::NonFinite`] once a loss or gradient is NaN
    /// or infinite: weights and state then remain as they were before that step. With `train.fused_update` this
    /// guarantee covers only the loss. A gradient is checked just before its own update, so the first bad one leaves
    /// its parameter and all later ones in the backward pass unchanged, while earlier ones have already made their
    /// step, a finite one. In both cases later steps change nothing.
    pub async fn step(&mut self) -> Result<Vec<StepReport>> {
        self.check()?;
        let mut arrived = Vec::new();
        if !self.ring.has_room() {
            arrived.extend(self.ring.take(&self.gpu).await?);
        }
        if self.waits_for_skips {
            while let Some(oldest) = self.ring.take(&self.gpu).await? {
                arrived.push(oldest);
            }
            self.note_skipped(&arrived);
        }
        self.last_report.get_or_insert_with(Instant::now);
        self.submit_step().await?;
        self.send_samples().await?;
        self.meet_ranks().await?;
        while let Some(oldest) = self.ring.try_take(&self.gpu)? {
            arrived.push(oldest);
        }
        self.report(&arrived).await
    }

    /// The error of a step that followed those reported by the last call of [`Trainer::step`] or [`Trainer::drain`];
    /// the next such call returns it too.
    pub fn check(&mut self) -> Result<()> {
        self.failed.take().map_or(Ok(()), Err)
    }

    /// Waits for the reports still in flight.
    ///
    /// If one of their steps went wrong, this returns the reports before it; then call [`Trainer::check`].
    pub async fn drain(&mut self) -> Result<Vec<StepReport>> {
        self.check()?;
        let mut arrived = Vec::new();
        while let Some(oldest) = self.ring.take(&self.gpu).await? {
            arrived.push(oldest);
        }
        if let Some(sampler) = &mut self.sampler {
            while !sampler.is_empty() {
                self.samples.extend(sampler.take(&self.gpu).await?);
            }
        }
        let reports = self.report(&arrived).await;
        self.last_report = None;
        reports
    }

    /// The gradients requested by `spectra` that have arrived since the last call, oldest first.
    pub fn take_samples(&mut self) -> Vec<GradientSample> {
        std::mem::take(&mut self.samples)
    }

    /// The mean loss on the validation tokens, up to `eval.max_tokens`, with the current weights. Ranks share them.
    pub async fn evaluate(&mut self) -> Result<Evaluation> {
        let Self { gpu, workspace, eval_inputs, eval_ring, dataset, config, throttle, ranks, .. } = self;
        let max_tokens = config.eval.max_tokens;
        let replay = Replay { gpu, workspace, inputs: eval_inputs };
        let part = ranks.as_ref().map_or([0, 1], |ranks| [ranks.rank(), ranks.n_ranks()]);
        let (sum, tokens) =
            evaluate(replay, throttle.as_mut(), eval_ring, &dataset.validation, max_tokens, part).await?;
        Evaluation::of(ranks.as_ref().map_or(Ok(sum), |ranks| ranks.sum_f64(sum))?, tokens)
    }

    /// Reads back everything that a step changes.
    pub async fn snapshot(&self) -> Result<Snapshot> {
        let mut snapshot = Snapshot { step: self.step, parameters: Vec::new(), states: Vec::new() };
        for parts in self.llama.by_name() {
            snapshot.parameters.push(self.weight(parts).await?);
        }
        for parts in by_name(&self.states) {
            let values = self.workspace.read_all(&self.gpu, parts.iter().map(|part| &part.tensor)).await?;
            snapshot.states.push((parts[0].name.clone(), whole_shape(parts), values));
        }
        if let Some(ranks) = &self.ranks {
            ranks.add_velocity(&mut snapshot, &self.config);
        }
        Ok(snapshot)
    }

    /// Continues from a snapshot of a run with the same configuration, even after a failed step. Reports in flight are
    /// dropped.
    ///
    /// Errors: the snapshot's optimizer state does not match; nothing is changed then.
    pub fn restore(&mut self, snapshot: &Snapshot) -> Result<()> {
        let wanted: Vec<_> = by_name(&self.states).map(|parts| (parts[0].name.clone(), whole_shape(parts))).collect();
        let own = || snapshot.states.iter().filter(|(name, ..)| !ranks::is_velocity(name));
        let found: Vec<_> = own().map(|(name, shape, _)| (name.clone(), shape.clone())).collect();
        if wanted != found {
            let missing = wanted.iter().find(|state| !found.contains(state));
            let superfluous = found.iter().find(|state| !wanted.contains(state));
            let difference = match (missing, superfluous) {
                (Some((name, shape)), _) => format!("{name} {shape:?} is missing"),
                (None, Some((name, shape))) => format!("it does not keep {name} {shape:?}"),
                (None, None) => "the tensors are in a different order".into(),
            };
            return Err(Error::Data(format!(
                "the checkpoint's optimizer state is not this optimizer's ({difference}): resume with the optimizer that \
                 the run began with"
            )));
        }
        self.load(snapshot);
        self.step = snapshot.step;
        let counts = snapshot.states.iter().find(|(name, ..)| name == "loss_scale.counts");
        self.skipped = counts.map_or(0, |(_, _, counts)| counts[1] as u64);
        self.forget_halt();
        (self.failed, self.stale) = (None, self.ring.pending());
        Ok(())
    }

    /// Writes a snapshot's weights and states to the device.
    fn load(&mut self, snapshot: &Snapshot) {
        self.set_weights(&snapshot.parameters);
        let (velocity, own): (Vec<_>, Vec<_>) = snapshot.states.iter().partition(|(name, ..)| ranks::is_velocity(name));
        for (parts, (_, _, values)) in by_name(&self.states).zip(own) {
            self.workspace.write_all(&self.gpu, parts.iter().map(|part| &part.tensor), values);
        }
        if let Some(ranks) = &mut self.ranks {
            ranks.restart(&snapshot.parameters, velocity.into_iter().map(|(_, _, values)| values.clone()).collect());
        }
    }

    /// Replaces the random initial weights.
    pub fn set_weights(&mut self, weights: &[Vec<f32>]) {
        self.llama.write_weights(&self.gpu, &self.workspace, weights);
    }

    /// Brings every rank to the weights, states and step of rank 0.
    ///
    /// Errors: the device fails, or the ranks hold different states.
    pub async fn share_start(&mut self) -> Result<()> {
        if self.ranks.is_none() {
            return Ok(());
        }
        let snapshot = self.snapshot_of_rank_0().await?;
        self.restore(&snapshot)
    }

    async fn snapshot_of_rank_0(&self) -> Result<Snapshot> {
        let mut snapshot = self.snapshot().await?;
        if let Some(ranks) = &self.ranks {
            ranks.share_snapshot(&mut snapshot)?;
        }
        Ok(snapshot)
    }

    /// After a step in which it is due: averages or compares the weights of the ranks.
    async fn meet_ranks(&mut self) -> Result<()> {
        let (step, last) = (self.step, self.config.train.steps);
        if !self.ranks.as_ref().is_some_and(|ranks| ranks.is_due(step, last)) {
            return Ok(());
        }
        let mut weights = Vec::new();
        for parts in self.llama.by_name() {
            weights.push(self.weight(parts).await?);
        }
        let Some(ranks) = &mut self.ranks else { return Ok(()) };
        if let Some(averaged) = ranks.average(&weights)? {
            self.llama.write_weights(&self.gpu, &self.workspace, &averaged);
            weights = averaged;
        }
        if ranks.check_weights(step, &weights)? {
            let snapshot = self.snapshot_of_rank_0().await?;
            self.load(&snapshot);
        }
        Ok(())
    }

    /// Passes on whether this rank wants to stop; returns whether all of them do so now.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn stops(&mut self, wanted: bool) -> bool {
        self.ranks.as_mut().map_or(wanted, |ranks| ranks.stops(wanted))
    }

    /// What this rank has exchanged with others.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn exchanged(&self) -> Option<ranks::Exchanged> {
        self.ranks.as_ref().map(Ranks::exchanged)
    }

    /// The micro-batches of a step that this rank takes.
    fn own_micro_batches(&self) -> std::ops::Range<usize> {
        self.ranks.as_ref().map_or(0..self.config.train.n_micro_batches(), Ranks::share)
    }

    /// Reads back one parameter's gradient of the last step.
    ///
    /// Errors: no such parameter, a run with `fused_update`, where no gradient outlives its update, or a zeroth-order
    /// method, which has no gradients.
    pub async fn gradient(&self, name: &str) -> Result<Vec<f32>> {
        self.check_gradients()?;
        self.workspace.read_all(&self.gpu, self.parts_of(name)?.iter().map(Parameter::gradient)).await
    }

    /// Reads back one matrix's gradient of the last step, with the state its rule carries to the next.
    ///
    /// Errors: as [`Trainer::gradient`], and a parameter that is not a matrix.
    pub async fn sample(&self, name: &str) -> Result<GradientSample> {
        let gradient = self.gradient(name).await?;
        let spec = &self.parts_of(name)?[0].spec;
        let &[_, n] = &spec.shape[..] else {
            return Err(Error::Data(format!("{name} of shape {:?} is not a matrix", spec.shape)));
        };
        let mut states = Vec::new();
        for parts in states_of(&self.states, name) {
            states.push(self.workspace.read_all(&self.gpu, parts.iter().map(|part| &part.tensor)).await?);
        }
        let statistics: Vec<f32> = self.workspace.read(&self.gpu, &self.statistics).await?;
        Ok(GradientSample {
            step: self.step,
            parameter: name.to_owned(),
            shape: [gradient.len() / n, n],
            rule: self.config.optimizer.recipe(spec.role).rule.clone(),
            gradient,
            clip: statistics[Statistics::CLIP],
            states,
        })
    }

    /// The text that the model generates after `prompt` with the current weights, including the prompt: at most
    /// `eval.text_tokens` tokens, sampled with the step as seed. `None` if the setting is 0, or if the data came as
    /// token ids without a tokenizer.
    ///
    /// Errors: a prompt without a token, weights that are not finite, or a device failure.
    pub async fn write_text(&mut self, prompt: &str) -> Result<Option<String>> {
        let Self { gpu, workspace, decoding, dataset, config, step, .. } = self;
        let (Some(decoding), Some(tokenizer)) = (decoding, &dataset.tokenizer) else { return Ok(None) };
        let mut sampler = Sampler::new(TEMPERATURE, TOP_P, *step)?;
        let n = config.eval.text_tokens;
        decoding.continue_text(gpu, workspace, tokenizer, prompt, n, &mut sampler).await.map(Some)
    }

    /// The logits of the token after `ids`, `[V]`, with the current weights.
    ///
    /// Errors: a run with `eval.text_tokens` 0; no token, or more than a prompt and a text may have.
    pub async fn logits_after(&mut self, ids: &[u32]) -> Result<Vec<f32>> {
        let Self { gpu, workspace, decoding, .. } = self;
        let wanted = || Error::config("eval.text_tokens", "is 0: the run has no plan that decodes");
        decoding.as_mut().ok_or_else(wanted)?.read(gpu, workspace, ids).await
    }

    fn parts_of(&self, name: &str) -> Result<&[Parameter]> {
        let parts = self.llama.by_name().find(|parts| parts[0].spec.name == name);
        parts.ok_or_else(|| Error::Data(format!("the model has no parameter {name:?}")))
    }

    /// A parameter's weight, read from its parts.
    async fn weight(&self, parts: &[Parameter]) -> Result<Vec<f32>> {
        self.workspace.read_all(&self.gpu, parts.iter().map(|part| &part.weight)).await
    }

    /// Submits one step like [`Trainer::step`], with bit-identical results, but with timestamps around every dispatch;
    /// also returns each kernel's device time, by plan.
    ///
    /// Errors: as [`Trainer::step`], and an adapter without timestamps.
    pub async fn timed_step(&mut self) -> Result<(Vec<StepReport>, Vec<(Plan, Vec<KernelTime>)>)> {
        let mut reports = self.drain().await?;
        self.last_report = Some(Instant::now());
        let batch = self.next_batch()?;
        let mut times = Vec::new();
        let queries = self.queries();
        for part in self.parts(queries) {
            self.write_part(&batch, &part, queries);
            for &plan in &part.plans {
                times.push((
                    plan,
                    self.workspace.time(&self.gpu, plan.name(), part.due(self.step - self.skipped)).await?,
                ));
            }
        }
        self.end_step();
        self.send_samples().await?;
        reports.extend(self.drain().await?);
        Ok((reports, times))
    }

    /// The host's work before the first step: record, allocate, compile, initialize.
    pub fn spans(&self) -> &[Span] {
        &self.spans
    }

    /// The plans by name, for timing them: see [`Trainer::plans_of_step`].
    pub fn workspace(&self) -> &Workspace {
        &self.workspace
    }

    /// The distinct plans of a step, with how often the step replays each.
    pub fn plans_of_step(&self) -> Vec<(Plan, usize)> {
        replays(&self.parts(self.queries()))
    }

    /// Clears a halt after a NaN loss or gradient: timing parts of a step out of order may cause one, and the timed
    /// updates must do their work.
    pub fn forget_halt(&self) {
        self.workspace.write(&self.gpu, &self.statistics.rows(Statistics::CLIP..Statistics::CLIP + 1), &[1.0f32]);
    }

    async fn submit_step(&mut self) -> Result<()> {
        let batch = self.next_batch()?;
        let queries = self.queries();
        for part in self.parts(queries) {
            self.write_part(&batch, &part, queries);
            let (plans, due) = (part.names(), part.due(self.step - self.skipped));
            match (&mut self.ranks, &mut self.throttle) {
                (Some(ranks), _) => ranks.run(&self.gpu, &self.workspace, &part, due)?,
                (None, Some(throttle)) => throttle.run(&self.gpu, &self.workspace, &plans, due).await?,
                (None, None) => self.workspace.run_scheduled(&self.gpu, &plans, due),
            }
        }
        self.end_step();
        Ok(())
    }

    /// The parts of the next step, on this rank's micro-batches.
    fn parts(&self, queries: u32) -> Vec<Part> {
        parts(&self.config, self.own_micro_batches().len(), queries)
    }

    /// This rank's ids and targets of the next step.
    fn next_batch(&self) -> Result<[Vec<u32>; 2]> {
        let train = &self.config.train;
        let batches = Batches::new(&self.dataset.train, train.batch_size, train.sequence_length, train.seed)?;
        let own = self.own_micro_batches();
        let rows = own.start * train.micro_batch_size..own.end * train.micro_batch_size;
        let n = rows.len() * train.sequence_length;
        let [mut ids, mut targets] = [vec![0; n], vec![0; n]];
        batches.fill_rows(self.step, rows, &mut ids, &mut targets)?;
        Ok([ids, targets])
    }

    /// Writes the inputs of a part of the step: its tokens, and the step and direction numbers.
    fn write_part(&self, [ids, targets]: &[Vec<u32>; 2], part: &Part, queries: u32) {
        let Self { gpu, workspace, inputs, config, step, .. } = self;
        if let Some(index) = part.micro_batch {
            let n = config.train.micro_batch_size * config.train.sequence_length;
            let [ids, targets] = [ids, targets].map(|all| &all[index * n..(index + 1) * n]);
            write_batch(gpu, workspace, inputs, ids, targets);
        }
        workspace.write(
            gpu,
            &self.step_tensor,
            &step_words(config, self.schedule(*step), *step, [part.query, queries]),
        );
    }

    /// Directions of the next step; 0 if it takes a gradient.
    fn queries(&self) -> u32 {
        queries(&self.config, self.dataset.train.len(), self.step)
    }

    /// Errors: a run whose gradients cannot be read.
    fn check_gradients(&self) -> Result<()> {
        if self.config.optimizer.zeroth_order().is_some() {
            return Err(Error::config(
                "optimizer.name",
                "a zeroth-order method makes no gradients: there are none to read",
            ));
        }
        if self.config.train.fused_update {
            let message = "no gradient outlives its update: set it to false to read gradients";
            return Err(Error::config("train.fused_update", message));
        }
        Ok(())
    }

    fn end_step(&mut self) {
        self.step += 1;
        self.ring.send(&self.gpu, &self.workspace, self.step);
    }

    /// Sends the gradients of the step just submitted if it is to be sampled, and fetches older ones that have arrived.
    async fn send_samples(&mut self) -> Result<()> {
        let Self { gpu, workspace, sampler, samples, config, step, .. } = self;
        let Some(sampler) = sampler else { return Ok(()) };
        if step.is_multiple_of(config.spectra.every) {
            if !sampler.has_room() {
                samples.extend(sampler.take(gpu).await?);
            }
            sampler.send(gpu, workspace, *step);
        }
        samples.extend(sampler.try_take(gpu).await?);
        Ok(())
    }

    fn note_skipped(&mut self, arrived: &[(u64, Vec<f32>)]) {
        if let Some((_, statistics)) = arrived.get(self.stale..).and_then(|arrived| arrived.last()) {
            self.skipped = self.under_scale(statistics).map_or(0, |(_, skipped)| skipped);
        }
    }

    /// The loss scale and the number of skipped steps, from a step's statistics.
    fn under_scale(&self, statistics: &[f32]) -> Option<(f64, u64)> {
        let of_scale = statistics.len() - LossScale::STATISTICS;
        (self.precision == Precision::F16).then(|| (f64::from(statistics[of_scale]), statistics[of_scale + 1] as u64))
    }

    /// Factor on every learning rate at a step counted from 0.
    fn schedule(&self, step: u64) -> f64 {
        let (schedule, steps) = (&self.config.schedule, self.config.train.steps);
        let warmup = (schedule.warmup_fraction * steps as f64).round() as u64;
        let min_ratio = match schedule.kind {
            ScheduleKind::Cosine => schedule.min_lr_ratio,
            ScheduleKind::Constant => 1.0,
        };
        cosine_with_warmup(step as usize, steps as usize, warmup as usize, min_ratio)
    }

    /// Turns arrived statistics into reports; those that arrived together share the time since the previous report.
    async fn report(&mut self, arrived: &[(u64, Vec<f32>)]) -> Result<Vec<StepReport>> {
        self.note_skipped(arrived);
        let stale = arrived.len().min(self.stale);
        self.stale -= stale;
        let arrived = &arrived[stale..];
        if arrived.is_empty() {
            return Ok(Vec::new());
        }
        let now = Instant::now();
        let secs = self.last_report.replace(now).map_or(f64::NAN, |before| (now - before).as_secs_f64());
        let tokens_per_step = self.config.train.tokens_per_step();
        let mut reports = Vec::with_capacity(arrived.len());
        for (step, statistics) in arrived {
            if statistics[Statistics::CLIP] < Statistics::SKIPPED {
                let error = Error::NonFinite(self.diagnose(*step, statistics).await?);
                if reports.is_empty() {
                    return Err(error);
                }
                self.failed = Some(error); // report the good steps first
                break;
            }
            let (loss_scale, skipped_steps) = self.under_scale(statistics).unzip();
            reports.push(StepReport {
                step: *step,
                tokens: step * tokens_per_step as u64,
                loss: f64::from(statistics[Statistics::LOSS]),
                lr: self.config.optimizer.linear.lr * self.schedule(step - 1),
                grad_norm: f64::from(statistics[Statistics::NORM]),
                loss_scale,
                skipped: statistics[Statistics::CLIP] == Statistics::SKIPPED,
                skipped_steps,
                tokens_per_sec: (tokens_per_step * arrived.len()) as f64 / secs,
            });
        }
        Ok(reports)
    }

    /// Finds the first tensor that went wrong, in the order of computation. The weights are those at the start of the
    /// step, except for any already moved by fused updates.
    async fn diagnose(&self, step: u64, statistics: &[f32]) -> Result<String> {
        let loss = statistics[Statistics::LOSS];
        for parts in self.llama.by_name() {
            let values = self.weight(parts).await?;
            let bad = values.iter().filter(|value| !value.is_finite()).count();
            if bad > 0 {
                let name = &parts[0].spec.name;
                return Ok(format!("step {step}: {bad} of {} values of {name} are not finite", values.len()));
            }
        }
        if !loss.is_finite() {
            return Ok(format!(
                "step {step}: the loss is {loss}; all weights are finite, so the forward pass overflowed. The first \
                 tensor that went wrong is the loss: lower the learning rate or clip gradients \
                 (`--set train.max_grad_norm=1`){}",
                if self.precision == Precision::F16 {
                    ", or train in single precision (`--set train.precision=f32`)"
                } else {
                    ""
                }
            ));
        }
        let bad = self.norms.iter().position(|&(_, place)| !statistics[place].is_finite());
        // The run was halted, but these statistics do not show why: an earlier step caused it.
        let Some(bad) = bad else { return Ok(format!("step {step}: an earlier step went wrong")) };
        let name = |at: usize| &self.llama.parameters[self.norms[at].0].spec.name;
        let (first, fused) = (name(bad), self.config.train.fused_update);
        let moved = match bad {
            _ if !fused => String::new(),
            0 => ". It is the first of them: no weight has moved in this step".into(),
            1 => format!(
                ". Updates are made inside the backward pass: that before it, of {}, has moved its weight in this step, it \
                 and all others have not",
                name(0)
            ),
            _ => format!(
                ". Updates are made inside the backward pass: those before it, of {} to {}, have moved their weights in \
                 this step, it and all others have not",
                name(0),
                name(bad - 1)
            ),
        };
        let clip = if fused { "" } else { " or clip gradients (`--set train.max_grad_norm=1`)" };
        Ok(format!(
            "step {step}: the loss is {loss:.4}, but the gradient of {first} is not finite, the first to go wrong in the \
             backward pass: lower the learning rate{clip}{moved}"
        ))
    }
}

/// The shape of a state, from its parts.
fn whole_shape(parts: &[State]) -> Vec<usize> {
    let mut shape = parts[0].tensor.shape.clone();
    shape[0] = parts.iter().map(|part| part.tensor.shape[0]).sum();
    shape
}

/// The result of `attempt` with the first of these kinds of recomputation that fits the device's memory.
async fn first_that_fits<T>(kinds: &[Recompute], attempt: impl AsyncFn(Recompute) -> Result<T>) -> Result<T> {
    let (last, before) = kinds.split_last().expect("a kind of recomputation");
    for &kind in before {
        match attempt(kind).await {
            Err(Error::TooLarge(why)) => log::info!("train.recompute = {:?}: {why}", kind.name()),
            ended => return ended,
        }
    }
    attempt(*last).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::task::{Context, Poll, Waker};

    /// Polls a future that never has to wait.
    fn resolve_now<T>(future: impl Future<Output = T>) -> T {
        match std::pin::pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(end) => end,
            Poll::Pending => panic!("it waits"),
        }
    }

    #[test]
    fn more_is_computed_again_until_it_fits() {
        use Recompute::{Attention, Layer, None};
        let too_large = |kind: Recompute| Error::TooLarge(format!("no memory left with {}", kind.name()));
        for (fits, tried) in [(0, &[None][..]), (1, &[None, Attention]), (2, &[None, Attention, Layer])] {
            let seen = RefCell::new(Vec::new());
            let found = resolve_now(first_that_fits(&Recompute::ALL, async |kind| {
                seen.borrow_mut().push(kind);
                if kind as usize >= fits { Ok(kind) } else { Err(too_large(kind)) }
            }));
            assert_eq!((found.unwrap(), &seen.into_inner()[..]), (Recompute::ALL[fits], tried));
        }
        let error = |kinds: &[Recompute], error: &dyn Fn(Recompute) -> Error| {
            resolve_now(first_that_fits(kinds, async |kind| Err::<(), _>(error(kind)))).unwrap_err().to_string()
        };
        assert_eq!(error(&Recompute::ALL, &too_large), "no memory left with layer");
        assert_eq!(error(&[None], &too_large), "no memory left with none", "what the user asked for is not replaced");
        // Any other failure is no reason to retry.
        assert_eq!(error(&Recompute::ALL, &|kind| Error::Gpu(format!("lost with {}", kind.name()))), "lost with none");
    }
}
