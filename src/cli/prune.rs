//! `multinorm prune`.

use std::path::{Path, PathBuf};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use multinorm::config::ModelConfig;
use multinorm::data::dataset::{self, Dataset};
use multinorm::data::npy::from_npy;
use multinorm::data::tokens::Tokens;
use multinorm::files::weights_sha256;
use multinorm::gpu::Gpu;
use multinorm::llama::UnitKind;
use multinorm::prune::{
    Progress, PruneDir, PruneSettings, PruneState, Pruned, Pruner, Scope, Shape, Start, Subject, TextSource,
};
use multinorm::train::{Evaluation, Evaluator};
use multinorm::{Error, Result};
use serde_json::json;
use web_time::Instant;

use super::DeviceArgs;
use super::console::{note, out};
use super::data::DataProgress;
use super::largest::check_evaluation;
use super::model::Model;
use super::output::{print_json, shell_quoted};
use super::stop;

/// The fraction of a text of the user's own that is held out, to measure the loss on.
const HELD_OUT: f64 = 0.05;
/// Seconds between two lines where there is no terminal for a progress bar.
const LINE_SECS: u64 = 10;

#[derive(Args)]
#[command(after_help = "Examples:
  multinorm prune runs/mine --keep 0.7 --out pruned            a smaller model, learned on the run's own text
  multinorm prune runs/mine --keep 0.9 --steps 0 --out pruned  by Wanda's measure alone
  multinorm prune SmolLM2-135M --data my.txt --shape mask --out pruned
  multinorm train --from pruned --set train.steps=100          repair it")]
pub struct PruneArgs {
    /// A model, checkpoint or run directory, or a .gguf file
    #[arg(required_unless_present = "resume")]
    model: Option<PathBuf>,
    /// The directory to create
    #[arg(long, value_name = "DIR", required_unless_present = "resume")]
    out: Option<PathBuf>,
    /// Go on with the unfinished pruning in this directory, with its settings
    #[arg(long, value_name = "DIR", conflicts_with_all = ["model", "out", "data", "tokens"])]
    resume: Option<PathBuf>,
    /// Text file to learn from; its last twentieth is held out to measure the loss [default: the run's text]
    #[arg(long, value_name = "FILE", conflicts_with = "tokens")]
    data: Option<PathBuf>,
    /// Token ids to learn from: a one-dimensional integer array in NumPy format
    #[arg(long, value_name = "FILE.npy")]
    tokens: Option<PathBuf>,
    #[command(flatten)]
    settings: SettingArgs,
    /// Save the scores every N steps, to resume from
    #[arg(long, value_name = "N", default_value_t = 50)]
    save_every: u64,
    /// Measure the loss on at most this many held-out tokens
    #[arg(long, value_name = "N", default_value_t = 65_536)]
    max_tokens: usize,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// Options that a resumed pruning has from its directory.
#[derive(Args)]
struct SettingArgs {
    /// Fraction of the groups of heads, and of the channels, to keep
    #[arg(long, value_name = "SHARE", default_value_t = 0.7)]
    keep: f64,
    /// Fraction of the groups of heads to keep [default: --keep]
    #[arg(long, value_name = "SHARE")]
    keep_heads: Option<f64>,
    /// Fraction of the channels of the feed-forward layers to keep [default: --keep]
    #[arg(long, value_name = "SHARE")]
    keep_channels: Option<f64>,
    /// `equal`: a smaller model, its layers equally wide; `mask`: a model of the same sizes with zeros for what is
    /// removed, where layers may keep different numbers
    #[arg(long, value_name = "SHAPE", default_value = "equal")]
    shape: Shape,
    /// Where the budget holds: over the whole `model`, or in each `layer` [default: layer if equal, else model]
    #[arg(long, value_name = "SCOPE")]
    scope: Option<Scope>,
    /// What the scores start from: `wanda`, `magnitude`, `random` or `constant`
    #[arg(long, value_name = "MEASURE", default_value = "wanda")]
    start: Start,
    /// Steps of learning; 0 keeps the order of the start
    #[arg(long, value_name = "N", default_value_t = 300)]
    steps: u64,
    /// Learning rate of the scores
    #[arg(long, value_name = "RATE", default_value_t = 0.02)]
    lr: f64,
    /// Masks drawn per step
    #[arg(long, value_name = "N", default_value_t = 2)]
    samples: usize,
    /// Steps over which the baseline averages the losses
    #[arg(long, value_name = "N", default_value_t = 5.0)]
    window: f64,
    /// Sequences per batch
    #[arg(long, value_name = "N", default_value_t = 8)]
    batch_size: usize,
    /// Tokens per sequence
    #[arg(long, value_name = "N", default_value_t = 128)]
    sequence_length: usize,
    /// Sequences that Wanda's measure reads
    #[arg(long, value_name = "N", default_value_t = 128)]
    calibration: usize,
    /// Random seed of masks and batches
    #[arg(long, value_name = "S", default_value_t = 0)]
    seed: u64,
}

impl SettingArgs {
    fn settings(&self) -> Result<PruneSettings> {
        let usual = match self.shape {
            Shape::Equal => Scope::Layer,
            Shape::Mask => Scope::Model,
        };
        let settings = PruneSettings {
            keep: [self.keep_heads.unwrap_or(self.keep), self.keep_channels.unwrap_or(self.keep)],
            scope: self.scope.unwrap_or(usual),
            shape: self.shape,
            start: self.start,
            steps: self.steps,
            lr: self.lr,
            samples: self.samples,
            window: self.window,
            batch_size: self.batch_size,
            sequence_length: self.sequence_length,
            calibration: self.calibration,
            seed: self.seed,
        };
        settings.validate()?;
        Ok(settings)
    }
}

pub fn run(device: &DeviceArgs, args: &PruneArgs) -> Result<()> {
    stop::handle_signals();
    if args.save_every == 0 {
        return Err(Error::config("--save-every", "must be at least 1, got 0"));
    }
    let started = Instant::now();
    let resumed = args.resume.as_deref().map(PruneDir::resume).transpose()?;
    let (path, settings, source) = match (&resumed, &args.model) {
        (Some(dir), _) => (dir.state.model.clone(), dir.state.settings.clone(), dir.state.data.clone()),
        (None, Some(model)) => (model.clone(), args.settings.settings()?, source(args)?),
        (None, None) => unreachable!("the command line requires one of them"),
    };
    let model = Model::load(&path)?;
    model.check_finite()?;
    if model.config.adapter.is_some() {
        let message = "has tensor-train adapters, which mix channels: only a model without adapters can be pruned";
        return Err(Error::checkpoint(&model.folder, message));
    }
    let data = text(&model, source.as_ref())?;
    check_length(&model.config, settings.sequence_length)?;
    let gpu = device.open()?;
    note!("adapter    {} ({})", gpu.adapter_name, gpu.driver);
    Pruner::check(&gpu.profile, &model.config, &settings)?;
    check_evaluation(&gpu.profile, &model.config, settings.batch_size, settings.sequence_length)?;

    let subject = Subject { config: &model.config, weights: &model.weights, tokens: &data.train };
    let model_sha256 = weights_sha256(&model.weights);
    let data_sha256 = data.identity()?.sha256;
    let mut dir = match (resumed, &args.out) {
        (Some(dir), _) => {
            refuse_changes(&dir, &model_sha256, &data_sha256)?;
            dir
        }
        (None, Some(out)) => {
            let scores = pollster::block_on(subject.starting_scores(&gpu, &settings))?;
            let model = std::path::absolute(&path).map_err(Error::io("find", &path))?;
            let (done, baseline, kept) = (0, 0.0, None);
            let data = source;
            let state = PruneState { settings, model, model_sha256, data, data_sha256, done, baseline, scores, kept };
            PruneDir::create(out, state)?
        }
        (None, None) => unreachable!("the command line requires one of them"),
    };
    let folder = dir.path().to_owned();
    let settings = dir.state.settings.clone();
    note!("pruning    {} into {}", path.display(), folder.display());
    let before = evaluate(&gpu, &model.config, &model.weights, &data, &settings, args.max_tokens)?;

    let mut progress = StepProgress::new(settings.steps, dir.state.done);
    let mut show = |step: &Progress| progress.show(step);
    let learning = subject.learn(&gpu, &mut dir, args.save_every, stop::finish_step(), &mut show);
    let ended = pollster::block_on(learning);
    drop(progress);
    let done = dir.state.done;
    if !ended? {
        let again = format!("multinorm prune --resume {}", shell_quoted(folder.display()));
        if args.json {
            return print_json(&json!({ "directory": folder, "stopped_after": done, "steps": settings.steps }));
        }
        out!("stopped after step {done} of {}; go on with\n  {again}", settings.steps);
        return Ok(());
    }

    let tokenizer = model.tokenizer_if_any()?;
    let Pruned { config, parameters, kept } = dir.finish(&model.config, &model.named(), tokenizer.as_ref())?;
    let weights: Vec<Vec<f32>> = parameters.into_iter().map(|tensor| tensor.values).collect();
    let after = evaluate(&gpu, &config, &weights, &data, &settings, args.max_tokens)?;
    let counts = UnitKind::ALL.map(|kind| kept.of_kind(kind).iter().map(Vec::len).collect::<Vec<_>>());
    let of = UnitKind::ALL.map(|kind| kind.per_layer(&model.config));
    let parameters = [model.config.n_parameters(), config.n_parameters()];
    let secs = started.elapsed().as_secs_f64();
    if args.json {
        let kept = |kind: UnitKind| json!({ "kept": counts[kind as usize], "of": of[kind as usize] });
        return print_json(&json!({
            "directory": folder, "shape": settings.shape, "steps": settings.steps, "secs": secs,
            "heads": kept(UnitKind::Heads), "channels": kept(UnitKind::Channels),
            "parameters": { "before": parameters[0], "after": parameters[1] },
            "loss": { "before": before.loss, "after": after.loss, "tokens": before.tokens },
        }));
    }
    for (name, kind) in [("heads", UnitKind::Heads), ("channels", UnitKind::Channels)] {
        let what = if kind == UnitKind::Heads { "groups" } else { "channels" };
        out!("{name:<13} {} of {} {what} in each layer", range(&counts[kind as usize]), of[kind as usize]);
    }
    out!("parameters    {} of {}", parameters[1], parameters[0]);
    out!("loss          {:.4} nats a token, {:.4} before ({} held-out tokens)", after.loss, before.loss, before.tokens);
    out!("time          {secs:.1} s");
    out!("directory     {}", folder.display());
    out!("train it on   multinorm train --from {}", shell_quoted(folder.display()));
    Ok(())
}

/// `5`, or `3 to 7` if layers differ.
fn range(counts: &[usize]) -> String {
    let (least, most) = (counts.iter().min().unwrap_or(&0), counts.iter().max().unwrap_or(&0));
    if least == most { least.to_string() } else { format!("{least} to {most}") }
}

/// The file that the arguments name, by its absolute path: a pruning may be resumed from elsewhere.
fn source(args: &PruneArgs) -> Result<Option<TextSource>> {
    let absolute = |path: &Path| std::path::absolute(path).map_err(Error::io("find", path));
    Ok(match (&args.data, &args.tokens) {
        (Some(path), _) => Some(TextSource::Text(absolute(path)?)),
        (None, Some(path)) => Some(TextSource::Tokens(absolute(path)?)),
        (None, None) => None,
    })
}

/// The text to learn from, and held-out text.
fn text(model: &Model, source: Option<&TextSource>) -> Result<Dataset> {
    let vocab_size = model.config.vocab_size;
    let tokens = match source {
        Some(TextSource::Text(path)) => model.tokens_of(path)?,
        Some(TextSource::Tokens(path)) => from_npy(path)?,
        None => {
            let Some(config) = model.trained_with()? else {
                let message = "no run wrote this model, so there is no text: pass some with `--data` or `--tokens`";
                return Err(Error::Data(message.into()));
            };
            return dataset::load(&config.data, vocab_size, &mut DataProgress::new());
        }
    };
    tokens.check_ids(vocab_size)?;
    let at = tokens.len() - (tokens.len() as f64 * HELD_OUT).ceil() as usize;
    let (train, validation) = (tokens.slice(0..at), tokens.slice(at..tokens.len()));
    Ok(Dataset { train, validation, ..Dataset::unsplit("text", Tokens::Owned(Vec::new()), vocab_size) })
}

fn check_length(config: &ModelConfig, sequence_length: usize) -> Result<()> {
    let positions = config.max_position_embeddings;
    if sequence_length > positions {
        let message = format!("{sequence_length} is more than the model's {positions} positions");
        return Err(Error::config("--sequence-length", message));
    }
    Ok(())
}

/// A pruning continues with the model and the text that it began with.
fn refuse_changes(dir: &PruneDir, model_sha256: &str, data_sha256: &str) -> Result<()> {
    let PruneState { model, model_sha256: model_was, data_sha256: data_was, .. } = &dir.state;
    if model_was != model_sha256 {
        let message = format!("{} has other weights than when this pruning began", model.display());
        return Err(Error::checkpoint(dir.path(), message));
    }
    if data_was != data_sha256 {
        return Err(Error::checkpoint(dir.path(), "the text is not the one that this pruning began with"));
    }
    Ok(())
}

/// The loss on held-out text, in windows of the sequences that are learned from.
fn evaluate(
    gpu: &Gpu,
    config: &ModelConfig,
    weights: &[Vec<f32>],
    data: &Dataset,
    settings: &PruneSettings,
    max_tokens: usize,
) -> Result<Evaluation> {
    pollster::block_on(async {
        let (batch, length) = (settings.batch_size, settings.sequence_length);
        let mut evaluator = Evaluator::new(gpu, config, weights, batch, length).await?;
        evaluator.evaluate(gpu, &data.validation, max_tokens).await
    })
}

/// On a terminal, a progress bar; elsewhere, a line from time to time.
struct StepProgress {
    bar: ProgressBar,
    steps: u64,
    /// The mean loss of the masks, over about ten steps.
    loss: Option<f64>,
    last_line: Instant,
}

impl StepProgress {
    fn new(steps: u64, done: u64) -> Self {
        let bar = if steps > done { ProgressBar::new(steps) } else { ProgressBar::hidden() };
        let style = "steps      [{bar:30}] {pos} of {len} · {msg} · {eta} left";
        bar.set_style(ProgressStyle::with_template(style).expect("our own template").progress_chars("=> "));
        bar.set_position(done);
        bar.reset_eta();
        Self { bar, steps, loss: None, last_line: Instant::now() }
    }

    fn show(&mut self, progress: &Progress) {
        let mean = progress.losses.iter().map(|loss| f64::from(*loss)).sum::<f64>() / progress.losses.len() as f64;
        if mean.is_finite() {
            self.loss = Some(self.loss.map_or(mean, |loss| 0.9 * loss + 0.1 * mean));
        }
        let loss = self.loss.map_or("no finite loss yet".into(), |loss| format!("loss with masks {loss:.4}"));
        if !self.bar.is_hidden() {
            self.bar.set_position(progress.step);
            self.bar.set_message(loss);
        } else if self.last_line.elapsed().as_secs() >= LINE_SECS {
            self.last_line = Instant::now();
            note!("step       {} of {} · {loss}", progress.step, self.steps);
        }
    }
}

impl Drop for StepProgress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_one_number_where_layers_agree() {
        assert_eq!(range(&[3, 3, 3]), "3");
        assert_eq!(range(&[3, 1, 7]), "1 to 7");
    }
}
