//! `multinorm train`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use multinorm::checkpoint::{latest_checkpoint, load_config, load_state, load_tokenizer, resolve_model_dir};
use multinorm::config::{DataConfig, ModelConfig, Precision, RunConfig, RunDefaults};
use multinorm::data::dataset;
use multinorm::distributed::Group;
use multinorm::gpu::{Gpu, GpuHandle, Profile, bytes_in_words};
use multinorm::train::{
    Devices, Event, Measured, RunDir, Summary, check_start, find_run, follow, measure_variants, run as run_training,
};
use multinorm::{Error, Result};

use super::DeviceArgs;
use super::console::{note, out};
use super::data::DataProgress;
use super::dry_run::dry_run;
use super::largest::check_run;
use super::memory::{check_memory, report_memory_remedies};
use super::output::{print_json, shell_quoted};
use super::planned::original_variants;
use super::view::{RunView, View};
use super::{ranks, stop};

#[derive(Args)]
#[command(after_help = "Examples:
  multinorm train                                           the default run, sized to fit the adapter
  multinorm train my.toml --set train.steps=2000 --out runs/mine
  multinorm train --set 'data.source=[\"my-texts/\"]' --set model.preset=9m
  multinorm train --resume runs/mine                        bit for bit as if it had never stopped
  multinorm train --from runs/mine --set optimizer.lr=0.005
  mpirun -n 4 multinorm train my.toml                       on four GPUs or hosts (docs/distributed.md)
  multinorm train --dry-run --set model.preset=350m         what it would need; allocates nothing")]
pub struct TrainArgs {
    /// Settings file (TOML) [default: the default run, sized to fit the adapter]
    config: Option<PathBuf>,
    /// Override one setting: `--set train.steps=100`; repeatable, takes precedence over the file
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    sets: Vec<String>,
    /// Start from the weights, sizes and tokenizer of this model or run, to fine-tune it
    #[arg(long, value_name = "DIR")]
    from: Option<PathBuf>,
    /// The run directory [default: the next free number under runs/]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Resume the run in this directory from its newest checkpoint, bit for bit as if it had never stopped; or from one
    /// of its checkpoints: runs/0001/checkpoints/step-00000200; `auto`: that in --out, or begin it if there is none
    #[arg(long, value_name = "DIR")]
    resume: Option<PathBuf>,
    /// Print sizes and memory, and allocate nothing
    #[arg(long)]
    dry_run: bool,
    /// With --dry-run: find the largest preset and micro-batch that fit in each of these memory sizes
    #[arg(long, value_name = "8GiB,24GiB", requires = "dry_run", num_args = 0..=1, value_delimiter = ',')]
    #[arg(default_missing_value = "")]
    fit: Option<Vec<String>>,
    /// Lose the device after each of these steps (0: as soon as a device is ready), to exercise recovery
    #[arg(long, value_name = "STEPS", value_delimiter = ',', hide = true)]
    lose_device: Vec<u64>,
    /// Print plain lines instead of the full-screen view
    #[arg(long)]
    plain: bool,
    /// Print one JSON document on standard output
    #[arg(long)]
    json: bool,
}

pub fn run(device: &DeviceArgs, args: &TrainArgs) -> Result<()> {
    if args.dry_run {
        let resumed = args.resume.as_deref().filter(|resume| *resume != Path::new("auto"));
        let resumed = resumed.map(find_run).transpose()?;
        let settings = |profile: &Profile| {
            let state = match &resumed {
                None => None,
                Some((_, Some(checkpoint))) => Some(load_state(checkpoint)?),
                Some((folder, None)) => latest_checkpoint(folder)?.as_deref().map(load_state).transpose()?,
            };
            settings(args, state.as_ref().map(|state| state.config_toml.as_str()), profile)
        };
        let folder = resumed.as_ref().map(|(folder, _)| folder.as_path());
        return dry_run(device, &settings, folder, args.fit.as_deref(), args.json);
    }
    stop::handle_signals();
    let group = ranks::join()?;
    if let Some(of_other_rank) = group.as_ref().filter(|group| group.rank() > 0) {
        follow_rank_0(device, of_other_rank)?;
        ranks::leave(group);
        return Ok(());
    }
    let resumed = args.resumed()?;
    let mut gpu = open(device, group.as_deref())?;
    let mut config = settings(args, resumed.as_ref().and_then(RunDir::settings), &gpu.profile)?;
    note!("adapter    {} ({})", gpu.adapter_name, gpu.driver);
    if let Some(group) = &group {
        config = ranks::settings(group, Some(config))?;
    }
    choose_variants(&mut gpu, resumed.as_ref().map(RunDir::path), std::slice::from_ref(&config))?;
    if let Some(group) = &group {
        ranks::share_variants(group, &mut gpu, |_| Ok(()))?;
    }
    check_memory(&check_run(&config, &gpu.profile)?, &config, &gpu.profile)?;
    // Before minutes are spent on training a tokenizer.
    let folder = match (resumed, &args.out) {
        (Some(resumed), _) => resumed,
        (None, Some(out)) => RunDir::create(out)?,
        (None, None) => RunDir::create_next(Path::new("runs"))?,
    };
    let dataset = Arc::new(match &group {
        Some(group) => ranks::load_data(group, &config)?,
        None => dataset::load(&config.data, config.model.vocab_size, &mut DataProgress::new())?,
    });
    note!(
        "data       {} ({} training and {} validation tokens; {}; license: {})",
        dataset.name,
        dataset.train.len(),
        dataset.validation.len(),
        dataset.split,
        dataset.license.lines().next().unwrap_or("unknown")
    );
    let path = folder.path().to_owned();
    note!("run        {}", path.display());

    let stop = stop::finish_step();
    let gpu = GpuHandle::new(gpu);
    let of_run = RunView::new(path.display().to_string(), gpu.get().adapter_name.clone(), &config);
    let mut view = View::start(of_run, &config, gpu.get().compilation(), args.plain);
    let mut to_lose = args.lose_device.clone();
    let mut show = |event: Event| {
        let step = match &event {
            Event::Step(report) => Some(report.step),
            Event::Ready { .. } | Event::DeviceLost { .. } => Some(0),
            _ => None,
        };
        if let Some(index) = to_lose.iter().position(|lost| Some(*lost) == step) {
            to_lose.remove(index);
            gpu.get().destroy();
        }
        view.show(&event);
    };
    let profile = gpu.get().profile.clone();
    let devices = Devices { gpu: &gpu, group: group.clone() };
    let ended = pollster::block_on(run_training(devices, config.clone(), dataset, folder, stop, &mut show));
    drop(view); // restores the terminal before anything else is printed
    let summary = ended.map_err(|error| report_memory_remedies(error, &config, &profile))?;
    ranks::leave(group);
    if args.json { print_json(&summary) } else { print_summary(&summary, &path) }
}

impl TrainArgs {
    /// The run to go on with; `None` for a new one.
    fn resumed(&self) -> Result<Option<RunDir>> {
        match (self.resume.as_deref(), self.out.as_deref()) {
            (None, _) => Ok(None),
            (Some(resume), Some(out)) if resume == Path::new("auto") => {
                if latest_checkpoint(out)?.is_some() {
                    RunDir::resume(out).map(Some)
                } else {
                    Ok(None)
                }
            }
            (Some(resume), None) if resume == Path::new("auto") => Err(Error::config(
                "--resume",
                "auto goes on with the run in --out, or begins it there: name it with --out",
            )),
            (Some(_), Some(_)) => Err(Error::config("--out", "a resumed run stays in its directory: omit --out")),
            (Some(resume), None) if self.from.is_none() => RunDir::resume(resume).map(Some),
            (Some(_), None) => Err(Error::config("--from", "a resumed run goes on with its own weights: omit --from")),
        }
    }
}

fn open(device: &DeviceArgs, group: Option<&Group>) -> Result<Gpu> {
    match group {
        Some(group) => DeviceArgs::open_chosen(ranks::adapter_of(group, device.choice())?),
        None => device.open(),
    }
}

/// What all ranks but the first do.
fn follow_rank_0(device: &DeviceArgs, group: &Arc<Group>) -> Result<()> {
    let mut gpu = open(device, Some(group))?;
    let config = ranks::settings(group, None)?;
    let choose = |gpu: &mut Gpu| choose_variants(gpu, None, std::slice::from_ref(&config));
    ranks::share_variants(group, &mut gpu, choose)?;
    check_memory(&check_run(&config, &gpu.profile)?, &config, &gpu.profile)?;
    let dataset = Arc::new(ranks::load_data(group, &config)?);
    let (profile, stop) = (gpu.profile.clone(), stop::finish_step());
    let ended = pollster::block_on(follow(Arc::new(gpu), config.clone(), dataset, group.clone(), stop));
    ended.map_err(|error| report_memory_remedies(error, &config, &profile))
}

/// `resumed`: the settings of the run that is being resumed.
fn settings(args: &TrainArgs, resumed: Option<&str>, profile: &Profile) -> Result<RunConfig> {
    let text = args.config.as_deref().map(|path| std::fs::read_to_string(path).map_err(Error::io("read", path)));
    let text = text.transpose()?;
    let file = args.config.as_deref().zip(text.as_deref());
    let file = file.or(resumed.map(|text| (Path::new("config.toml"), text)));
    // A resumed run no longer needs the model it started from.
    let from = args.from.as_deref().filter(|_| resumed.is_none());
    let config = config_of(file, from, &args.sets, profile)?;
    if resumed.is_none() {
        check_start(&config)?;
    }
    Ok(config)
}

/// Sets the device's kernel variants: those the run or comparison in `folder` started with, or else the fastest on this
/// device. Measures products that no earlier run measured, and prints a summary.
pub fn choose_variants(gpu: &mut Gpu, folder: Option<&Path>, runs: &[RunConfig]) -> Result<()> {
    if let Some(choices) = original_variants(folder)? {
        gpu.profile.choices = choices;
        return Ok(());
    }
    let Measured { measured, overruled, by_rule, secs } = pollster::block_on(measure_variants(gpu, runs))?;
    if measured + by_rule > 0 {
        note!("variants   {measured} products measured in {secs:.1} s, {overruled} changed; {by_rule} go by rule");
    }
    Ok(())
}

/// Loads the settings of the default run for this adapter, overridden by the file, the `from` model and `--set`, in
/// that order.
pub fn read_config(path: Option<&Path>, from: Option<&Path>, sets: &[String], profile: &Profile) -> Result<RunConfig> {
    let text = path.map(|path| std::fs::read_to_string(path).map_err(Error::io("read", path))).transpose()?;
    config_of(path.zip(text.as_deref()), from, sets, profile)
}

/// Like [`read_config`], with the file already read.
fn config_of(
    file: Option<(&Path, &str)>,
    from: Option<&Path>,
    sets: &[String],
    profile: &Profile,
) -> Result<RunConfig> {
    let mut all = from.map(sets_of_model).transpose()?.unwrap_or_default();
    all.extend_from_slice(sets);
    let defaults = if profile.software { RunDefaults::Software } else { RunDefaults::Gpu };
    let mut config = RunConfig::load(file, &all, defaults)?;
    config.validate()?;
    config.make_paths_absolute()?;
    if let Some(model) = from.and(config.train.init_from.as_ref()) {
        cache_tokenizer(&mut config.data, Path::new(model))?;
    }
    Ok(config)
}

/// Copies a model's tokenizer into the cache, because the directory that holds it may be pruned.
///
/// Errors: the model has no tokenizer, and the settings name none.
fn cache_tokenizer(data: &mut DataConfig, model: &Path) -> Result<()> {
    let model = resolve_model_dir(model)?;
    if data.tokenizer == "bpe" {
        let message = format!("{} has no {TOKENIZER}: name the one that the model was trained with", model.display());
        return Err(Error::config("data.tokenizer", message));
    }
    let is_own = Path::new(&data.tokenizer) == tokenizer_path(&model);
    if let Some(tokenizer) = is_own.then(|| load_tokenizer(&model)).transpose()?.flatten() {
        data.tokenizer = dataset::cache_tokenizer(&tokenizer, &data.cache_dir())?.display().to_string();
    }
    Ok(())
}

/// Path of a model's tokenizer: a file in its directory, or the GGUF file itself.
fn tokenizer_path(model: &Path) -> PathBuf {
    if model.is_dir() { model.join(TOKENIZER) } else { model.to_owned() }
}

const TOKENIZER: &str = "tokenizer.json";

/// The settings a run inherits from the model it starts from: weights, sizes, and tokenizer if there is one.
fn sets_of_model(from: &Path) -> Result<Vec<String>> {
    let dir = resolve_model_dir(from)?;
    let dir = std::path::absolute(&dir).map_err(Error::io("find", &dir))?;
    // For a model with adapters, `check_start` has the better error.
    let model = ModelConfig { adapter: None, ..load_config(&dir)? };
    let model = toml::Table::try_from(model).expect("a model has a table of plain values");
    let mut sets: Vec<String> = model.iter().map(|(key, value)| format!("model.{key}={value}")).collect();
    sets.push(format!("train.init_from={}", dir.display()));
    let tokenizer = tokenizer_path(&dir);
    if tokenizer.is_file() {
        sets.push(format!("data.tokenizer={}", tokenizer.display()));
    }
    Ok(sets)
}

fn print_summary(summary: &Summary, folder: &Path) -> Result<()> {
    let baseline = summary.baseline_bigram_loss;
    out!("{}", if summary.stopped { "stopped early; the run can be resumed" } else { "done" });
    out!("steps              {} ({} tokens)", summary.steps, summary.tokens);
    out!("training loss      {:.4} (the last step's batch)", summary.final_loss);
    match summary.eval_loss {
        Some(loss) => {
            let verdict = if loss < baseline { "below" } else { "not below" };
            out!("validation loss    {loss:.4} (perplexity {:.2})", loss.exp());
            out!("bigram baseline    {baseline:.4}: the model is {verdict} it");
        }
        None => out!("bigram baseline    {baseline:.4}"),
    }
    if summary.precision == Precision::F16 {
        out!("skipped steps      {} (gradients overflowed under the loss scale)", summary.skipped_steps);
    }
    out!("speed              {:.0} tokens/s", summary.tokens_per_sec);
    if let Some(of) = &summary.exchanged {
        let (ranks, sent) = (of.ranks, bytes_in_words(of.sent_bytes));
        out!(
            "ranks              {ranks}; {:.1} s of exchanging, {:.1} s of them with nothing else to do; {sent} sent by rank 0",
            of.secs,
            of.exposed_secs
        );
    }
    out!("device memory      {}", bytes_in_words(summary.peak_bytes));
    out!("checkpoint         {}", summary.checkpoint.display());
    if summary.stopped {
        out!("go on with         multinorm train --resume {}", shell_quoted(folder.display()));
    } else {
        out!("try                multinorm generate {} --prompt \"It was\"", shell_quoted(folder.display()));
    }
    Ok(())
}
