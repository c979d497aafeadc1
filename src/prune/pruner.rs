//! Learns the scores on the device.

use super::measure::{Measure, scopes};
use super::settings::PruneSettings;
use crate::data::batches::Batches;
use crate::data::tokens::Tokens;
use crate::data::windows::Windows;
use crate::gpu::{Class, DType, Gpu, Profile, ReadbackRing, Recorder, Tensor, Throttle, Workspace};
use crate::kernels::Output;
use crate::kernels::cross_entropy::IGNORE;
use crate::kernels::prune::{Trials, draw_mask, loss_baseline, project_scores, score_step};
use crate::llama::{BatchInputs, Gradients, Llama, Loss, PerLayer, UnitKind, Units, record_loss_of_units};
use crate::reference::random::{stream, word_of_seed};
use crate::settings::ModelConfig;
use crate::train::{write_batch, write_tables};
use crate::{Error, Result};

const DRAW: &str = "draw masks";
const LOSSES: &str = "losses";
const UPDATE: &str = "update scores";
const MEASURE: &str = "measure inputs";
/// Losses in flight to the host.
const RING_SLOTS: usize = 4;

/// A model on the device whose units are masked, and the scores that masks are drawn from.
pub struct Pruner {
    workspace: Workspace,
    inputs: BatchInputs,
    step: Tensor,
    scores: [PerLayer; 2],
    baseline: Tensor,
    ring: ReadbackRing,
    settings: PruneSettings,
    /// Steps done.
    done: u64,
}

/// The losses of one step's masks, in nats per token.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    /// The step, from 1.
    pub step: u64,
    /// One per mask; may be NaN.
    pub losses: Vec<f32>,
}

struct Recorded {
    rec: Recorder,
    llama: Llama,
    inputs: BatchInputs,
    step: Tensor,
    scores: [PerLayer; 2],
    losses: Tensor,
    baseline: Tensor,
}

impl Pruner {
    /// A model with these weights, in the order of [`ModelConfig::parameters`], and initial scores for heads and
    /// channels, by layer.
    pub async fn new(
        gpu: &Gpu,
        config: &ModelConfig,
        weights: &[Vec<f32>],
        settings: &PruneSettings,
        scores: [&Measure; 2],
    ) -> Result<Self> {
        let recorded = record(&gpu.profile, config, settings);
        recorded.rec.check_limits()?;
        let Recorded { rec, llama, inputs, step, scores: on_device, losses, baseline } = recorded;
        let workspace = rec.allocate(gpu).await?;
        llama.write_weights(gpu, &workspace, weights);
        write_tables(gpu, &workspace, &inputs);
        let ring = ReadbackRing::new(gpu, &losses, RING_SLOTS).await?;
        let pruner =
            Self { workspace, inputs, step, scores: on_device, baseline, ring, settings: settings.clone(), done: 0 };
        pruner.write_scores(gpu, scores);
        Ok(pruner)
    }

    /// Whether an adapter can prune a model of these sizes.
    ///
    /// Errors: [`Error::TooLarge`], naming what does not fit.
    pub fn check(profile: &Profile, config: &ModelConfig, settings: &PruneSettings) -> Result<()> {
        record(profile, config, settings).rec.check_limits()
    }

    /// Steps done.
    pub fn done(&self) -> u64 {
        self.done
    }

    /// Submits the next step on its batch. Its losses come back from [`Pruner::take`].
    pub async fn step(&mut self, gpu: &Gpu, batches: &Batches<'_>, throttle: &mut Throttle) -> Result<()> {
        let n = self.inputs.batch * self.inputs.seq;
        let (mut ids, mut targets) = (vec![0; n], vec![0; n]);
        batches.fill(self.done, &mut ids, &mut targets)?;
        self.done += 1;
        let schedule = (self.settings.schedule(self.done) as f32).to_bits();
        let words = [schedule, self.done as u32, word_of_seed(self.settings.seed), 0];
        self.workspace.write(gpu, &self.step, &words);
        write_batch(gpu, &self.workspace, &self.inputs, &ids, &targets);
        throttle.run(gpu, &self.workspace, &[DRAW, LOSSES, UPDATE], crate::gpu::Schedule::All).await?;
        self.ring.send(gpu, &self.workspace, self.done);
        Ok(())
    }

    /// The losses of the oldest step that was not taken; waits for them if the ring is full or `all` is set.
    pub async fn take(&mut self, gpu: &Gpu, all: bool) -> Result<Option<Progress>> {
        if self.ring.pending() == 0 || (!all && self.ring.has_room()) {
            return Ok(None);
        }
        let Some((step, values)) = self.ring.take(gpu).await? else { return Ok(None) };
        let pitch = values.len() / self.settings.samples;
        Ok(Some(Progress { step, losses: values.into_iter().step_by(pitch).collect() }))
    }

    /// The scores of heads and of channels, by layer.
    pub async fn scores(&self, gpu: &Gpu) -> Result<[Measure; 2]> {
        let mut all = Vec::new();
        for scores in &self.scores {
            let values: Vec<f32> = self.workspace.read(gpu, &scores.tensor).await?;
            all.push(scores.values(&values).map(|row| row.iter().map(|x| f64::from(*x)).collect()).collect());
        }
        let [heads, channels] = all.try_into().expect("two kinds");
        Ok([heads, channels])
    }

    /// The baseline after the last step.
    pub async fn baseline(&self, gpu: &Gpu) -> Result<f32> {
        Ok(self.workspace.read::<f32>(gpu, &self.baseline).await?[0])
    }

    /// Continues after `done` steps with these scores and this baseline.
    pub fn resume(&mut self, gpu: &Gpu, done: u64, scores: [&Measure; 2], baseline: f32) {
        self.done = done;
        self.write_scores(gpu, scores);
        self.workspace.write(gpu, &self.baseline, &[baseline]);
    }

    fn write_scores(&self, gpu: &Gpu, scores: [&Measure; 2]) {
        for (on_device, scores) in self.scores.iter().zip(scores) {
            let rows: Vec<Vec<f32>> = scores.iter().map(|row| row.iter().map(|x| *x as f32).collect()).collect();
            self.workspace.write(gpu, &on_device.tensor, &on_device.padded(rows.iter().map(Vec::as_slice)));
        }
    }
}

fn record(profile: &Profile, config: &ModelConfig, settings: &PruneSettings) -> Recorded {
    let mut rec = Recorder::new(profile);
    let llama = Llama::new(&mut rec, config, Gradients::None);
    let inputs = BatchInputs::new(&mut rec, &llama, settings.batch_size, settings.sequence_length);
    let step = rec.persistent(Class::Scratch, DType::U32, "step", &[4]);
    let layers = config.num_hidden_layers;
    let names = ["heads", "channels"];
    let units = UnitKind::ALL.map(|kind| kind.per_layer(config));
    let scores = [0, 1].map(|of| PerLayer::new(&mut rec, &format!("scores of {}", names[of]), layers, units[of]));
    let [heads, channels] = [0, 1]
        .map(|of| PerLayer::copies(&mut rec, &format!("masks of {}", names[of]), settings.samples, layers, units[of]));
    // Every loss is at a valid binding offset.
    let pitch = (profile.offset_alignment / DType::F32.size()).max(1) as usize;
    let losses = rec.persistent(Class::Scratch, DType::F32, "losses of the masks", &[settings.samples, pitch]);
    let baseline = rec.persistent(Class::Scratch, DType::F32, "baseline", &[1]);
    rec.reserve_staging(ReadbackRing::bytes(&losses, RING_SLOTS));

    rec.begin(DRAW);
    for sample in 0..settings.samples {
        for (of, masks) in [&heads.1, &channels.1].into_iter().enumerate() {
            let stream = stream(&format!("mask {sample} of {}", names[of]));
            draw_mask(&mut rec, &scores[of].tensor, &masks[sample].tensor, &step, stream);
        }
    }
    rec.begin(LOSSES);
    let scale = 1.0 / (settings.batch_size * settings.sequence_length) as f64;
    for sample in 0..settings.samples {
        let units = Units::Masked([&heads.1[sample], &channels.1[sample]]);
        let sum = losses.rows(sample..sample + 1).reshaped(&[pitch]).rows(0..1);
        record_loss_of_units(&mut rec, &llama, &inputs, units, Loss { sum: &sum, scale, output: Output::Write });
    }
    rec.begin(UPDATE);
    loss_baseline(&mut rec, &losses, &baseline, &step, settings.window);
    for (kind, masks) in UnitKind::ALL.into_iter().zip([&heads.0, &channels.0]) {
        let scores = &scores[kind as usize];
        let trials = Trials { masks, losses: &losses, baseline: &baseline };
        score_step(&mut rec, trials, &scores.tensor, &step, settings.lr);
        let scopes = scopes(settings.scope, config);
        let budget = settings.keep(kind) * (layers * scores.n / scopes) as f64;
        project_scores(&mut rec, &scores.tensor, scopes, budget);
    }
    Recorded { rec, llama, inputs, step, scores, losses, baseline }
}

/// Mean squares of the columns of the inputs of `o_proj` and of `down_proj`, by layer, over the first
/// `settings.calibration` windows of `tokens`.
pub async fn mean_squares(
    gpu: &Gpu,
    config: &ModelConfig,
    weights: &[Vec<f32>],
    settings: &PruneSettings,
    tokens: &Tokens,
) -> Result<[Measure; 2]> {
    let (batch, seq) = (settings.batch_size, settings.sequence_length);
    let mut rec = Recorder::new(&gpu.profile);
    let llama = Llama::new(&mut rec, config, Gradients::None);
    let inputs = BatchInputs::new(&mut rec, &llama, batch, seq);
    let columns = UnitKind::ALL.map(|kind| kind.columns(config));
    let sums = ["squares of attention", "squares of channels"];
    let sums = [0, 1].map(|of| PerLayer::new(&mut rec, sums[of], config.num_hidden_layers, columns[of]));
    let loss = rec.persistent(Class::Scratch, DType::F32, "loss", &[1]);
    rec.begin(MEASURE);
    let units = Units::Measured([&sums[0], &sums[1]]);
    record_loss_of_units(&mut rec, &llama, &inputs, units, Loss { sum: &loss, scale: 1.0, output: Output::Write });
    rec.check_limits()?;
    let workspace = rec.allocate(gpu).await?;
    llama.write_weights(gpu, &workspace, weights);
    write_tables(gpu, &workspace, &inputs);
    let windows = Windows::new(tokens, batch, seq, Some(settings.calibration.next_multiple_of(batch) * seq))?;
    // Whole batches only: padding would count.
    let n_batches = windows.n_predicted() / (batch * seq);
    if n_batches == 0 {
        let message =
            format!("a batch of calibration takes {} tokens, and there are {}", batch * seq + 1, tokens.len());
        return Err(Error::Data(format!("{message}: pass more text, or a smaller --batch-size")));
    }
    let (mut ids, mut targets) = (vec![0; batch * seq], vec![IGNORE; batch * seq]);
    for at in 0..n_batches {
        windows.fill(at, &mut ids, &mut targets)?;
        write_batch(gpu, &workspace, &inputs, &ids, &targets);
        workspace.run(gpu, &[MEASURE]);
    }
    let n = (n_batches * batch * seq) as f64;
    let mut all = Vec::new();
    for sums in &sums {
        let values: Vec<f32> = workspace.read(gpu, &sums.tensor).await?;
        all.push(sums.values(&values).map(|row| row.iter().map(|x| f64::from(*x) / n).collect()).collect());
    }
    let [heads, channels] = all.try_into().expect("two kinds");
    Ok([heads, channels])
}

#[cfg(test)]
mod tests {
    use super::super::settings::Scope;
    use super::*;

    #[test]
    fn a_pruning_is_recorded_under_the_limits_of_webgpu() {
        let config = ModelConfig::preset("tiny").unwrap();
        for scope in [Scope::Model, Scope::Layer] {
            let settings = PruneSettings { scope, batch_size: 2, sequence_length: 16, ..PruneSettings::default() };
            Pruner::check(&Profile::webgpu_default(), &config, &settings).unwrap();
        }
    }
}
