//! `multinorm compare`.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use multinorm::checkpoint::resolve_model_dir;
use multinorm::compare::{
    Comparison, ComparisonFolder, Event, LrSweep, OptimizerResult, Outcome, Plan, ToReference, factor_words,
    run as run_comparison,
};
use multinorm::data::dataset;
use multinorm::gpu::{GpuHandle, bytes_in_words};
use multinorm::train::{self, check_start};
use multinorm::{Error, Result};
use web_time::Instant;

use super::DeviceArgs;
use super::console::{note, out};
use super::data::DataProgress;
use super::largest::check_run;
use super::memory::{check_memory, report_memory_remedies};
use super::output::{print_json, shell_quoted};
use super::speed::Throughput;
use super::stop;
use super::train::{choose_variants, read_config};

#[derive(Args)]
#[command(after_help = "Examples:
  multinorm compare --optimizers adam,sinkgd,muon --out cmp
  multinorm compare my.toml --optimizers all --lr-sweep 0.25,0.5,1,2,4 --seeds 3 --out cmp
  multinorm compare --from runs/mine --optimizers mezo,subzero,adam --out fine-tuned")]
pub struct CompareArgs {
    /// Settings file shared by all runs, without an [optimizer] section [default: the default run]
    config: Option<PathBuf>,
    /// Override one setting: `--set train.steps=100`; repeatable, takes precedence over the file
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    sets: Vec<String>,
    /// Start every run from the weights, sizes and tokenizer of this model or run, to compare fine-tuning
    #[arg(long, value_name = "DIR")]
    from: Option<PathBuf>,
    /// Optimizers of the catalog: adam,sinkgd,sgd; or all of them: all. Zeroth-order optimizers fine-tune: the model of
    /// --from, or else the one trained by the reference (adam, else adamw, else the first)
    #[arg(long, value_name = "NAMES", value_delimiter = ',', required = true)]
    optimizers: Vec<String>,
    /// Factors to apply to each optimizer's own learning rate for the linear layers, since absolute rates are not
    /// comparable across optimizers. With the first seed, every combination with --rest-lr-sweep is tried, and the one
    /// with the lowest final validation loss is chosen
    #[arg(long, value_name = "FACTORS", value_delimiter = ',', default_value = "0.5,1,2")]
    lr_sweep: Vec<f64>,
    /// Factors to apply to each optimizer's own learning rate for the rest: embedding, head and norms. Where one rule
    /// updates all matrices, as in adam, the rate of the rest is scaled by this factor and that of --lr-sweep, so 1
    /// means a single rate
    #[arg(long, value_name = "FACTORS", value_delimiter = ',', default_value = "1")]
    rest_lr_sweep: Vec<f64>,
    /// Number of seeds at the best factors: train.seed, + 1, + 2 …; each changes the initial weights and the batches
    #[arg(long, value_name = "N", default_value_t = 1)]
    seeds: u64,
    /// The comparison directory; repeat the command to resume, also with more optimizers, factors or seeds
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Print one JSON document on standard output: the contents of compare.json
    #[arg(long)]
    json: bool,
}

pub fn run(device: &DeviceArgs, args: &CompareArgs) -> Result<()> {
    if let Some(set) = args.sets.iter().find(|set| set.starts_with("optimizer")) {
        let message = "optimizers are compared with the catalog's own settings: leave it out, and sweep with --lr-sweep \
                       and --rest-lr-sweep";
        return Err(Error::config(format!("--set {set}"), message));
    }
    stop::handle_signals();
    let mut gpu = device.open()?;
    let mut config = read_config(args.config.as_deref(), args.from.as_deref(), &args.sets, &gpu.profile)?;
    if let Some(model) = &mut config.train.init_from {
        // `--from` has been resolved to a checkpoint and no longer names the run.
        let named = args.from.as_deref().unwrap_or(Path::new(&*model));
        *model = first_model(named, &args.out)?.display().to_string();
    }
    check_start(&config)?;
    let factors = LrSweep { linear: args.lr_sweep.clone(), rest: args.rest_lr_sweep.clone() };
    let plan = Plan::new(config, &args.optimizers, factors, args.seeds)?;
    note!("adapter    {} ({})", gpu.adapter_name, gpu.driver);
    let runs = plan.sweep().map(|id| plan.run_config(&id)).collect::<Result<Vec<_>>>()?;
    choose_variants(&mut gpu, Some(&args.out), &runs)?;
    for run in &runs {
        check_memory(&check_run(run, &gpu.profile)?, run, &gpu.profile)?;
    }
    // Before minutes are spent on training a tokenizer.
    plan.check_folder(&args.out, &gpu.adapter_name)?;
    let folder = ComparisonFolder::open(&args.out, command())?;
    let model = &plan.config.model;
    let dataset = Arc::new(dataset::load(&plan.config.data, model.vocab_size, &mut DataProgress::new())?);
    note!("compare    {} runs of {} steps in {}", plan.n_runs(), plan.config.train.steps, args.out.display());
    note!("search     {} an optimizer", plan.factors.describe());

    let stop = stop::finish_step();
    let mut progress = Progress::new(&plan);
    let mut current = None;
    let mut show = |event: Event<'_>| {
        if let Event::Begins { run, .. } = &event {
            current = Some((*run).clone());
        }
        progress.show(&event);
    };
    let profile = gpu.profile.clone();
    let ended = pollster::block_on(run_comparison(&GpuHandle::new(gpu), dataset, &plan, &folder, stop, &mut show));
    progress.bar.finish_and_clear();
    let found = ended.map_err(|error| match current.map(|run| plan.run_config(&run)) {
        Some(Ok(config)) => report_memory_remedies(error, &config, &profile),
        _ => error,
    })?;
    if stop.load(Ordering::Relaxed) && !found.complete {
        note!("stopped; repeat the command to resume: {}", folder.command());
    }
    if args.json { print_json(&found) } else { print_table(&found, &args.out) }
}

/// The model to start from. For a run: the checkpoint that the comparison in `out` started from, or else the newest
/// one.
///
/// Errors: there is no model, or the one the comparison started from is gone.
fn first_model(named: &Path, out: &Path) -> Result<PathBuf> {
    let absolute = |path: &Path| std::path::absolute(path).map_err(Error::io("find", path));
    let newest = absolute(&resolve_model_dir(named)?)?;
    let run = absolute(named)?;
    match Plan::first_model(out)?.filter(|begun| begun.starts_with(&run)) {
        Some(begun) if begun.is_dir() => Ok(begun),
        Some(begun) => {
            let message = format!(
                "its runs started from {}, which no longer exists: restore it, or choose another `--out`",
                begun.display()
            );
            Err(Error::checkpoint(out, message))
        }
        None => Ok(newest),
    }
}

/// This command, quoted for a shell.
fn command() -> String {
    let mut words = vec!["multinorm".to_owned()];
    words.extend(std::env::args().skip(1).map(shell_quoted));
    words.join(" ")
}

/// On a terminal, a progress bar over all steps of all runs; elsewhere plain lines. Both on standard error.
struct Progress {
    bar: ProgressBar,
    terminal: bool,
    steps: u64,
    /// Steps of the runs before this one.
    before: u64,
    run: String,
    last_line: Option<Instant>,
    speed: Throughput,
}

/// Seconds between two plain lines.
const LINE_SECS: f64 = 5.0;

impl Progress {
    fn new(plan: &Plan) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let steps = plan.config.train.steps;
        let bar = if terminal { ProgressBar::new(steps * plan.n_runs() as u64) } else { ProgressBar::hidden() };
        let style = "[{bar:30}] {msg} · {eta} left over all";
        bar.set_style(ProgressStyle::with_template(style).expect("our own template").progress_chars("=> "));
        Self { bar, terminal, steps, before: 0, run: String::new(), last_line: None, speed: Throughput::default() }
    }

    fn show(&mut self, event: &Event<'_>) {
        match event {
            Event::Measuring(optimizer) => self.line(&format!("measuring the update of {optimizer}")),
            Event::Following(optimizer) => {
                self.line(&format!("following a gradient through the passes of {optimizer}"))
            }
            Event::Begins { run, number, of } => {
                self.before = (*number as u64 - 1) * self.steps;
                self.run = format!("run {number}/{of} {run}");
                self.last_line = None;
            }
            Event::Run { event, .. } => self.show_training(event),
            Event::Ended(run) => self.line(&match (&run.outcome, run.final_eval_loss()) {
                (Outcome::Finished { .. }, loss) => {
                    format!("{}: validation loss {:.4}", self.run, loss.unwrap_or(f64::NAN))
                }
                (Outcome::Diverged { message }, _) => format!("{}: diverged: {message}", self.run),
            }),
            Event::Reported(_) => {}
        }
    }

    fn show_training(&mut self, event: &train::Event) {
        match event {
            train::Event::Ready { first_step, .. } => {
                // Steps from before a resume say nothing about the time left.
                self.bar.set_position(self.before + first_step);
                self.bar.reset_eta();
            }
            train::Event::Step(report) => {
                let mut line = format!("{} · step {}/{} · loss {:.4}", self.run, report.step, self.steps, report.loss);
                if let Some(speed) = self.speed.per_sec(report.tokens) {
                    line += &format!(" · {speed:.0} tokens/s");
                }
                self.bar.set_position(self.before + report.step);
                self.bar.set_message(line.clone());
                let due = self.last_line.is_none_or(|last| last.elapsed().as_secs_f64() >= LINE_SECS);
                if !self.terminal && due {
                    note!("{line}");
                    self.last_line = Some(Instant::now());
                }
            }
            train::Event::DeviceLost { message, step } => {
                self.line(&format!("{}: the device was lost ({message}); resuming after step {step}", self.run));
            }
            train::Event::Evaluated { .. } => self.speed.restart(),
            train::Event::Saved(_) | train::Event::Spectrum(_) | train::Event::Wrote { .. } => {}
        }
    }

    fn line(&self, text: &str) {
        if self.terminal { self.bar.println(text) } else { note!("{text}") }
    }
}

fn print_table(found: &Comparison, folder: &Path) -> Result<()> {
    let reference = &found.reference;
    out!("{} of {} runs done; the reference is {reference}", found.runs_done, found.runs_planned);
    out!("searched with seed {}: {} an optimizer", found.seeds[0], found.factors.describe());
    out!(
        "{:<18}{:>8}{:>8}{:>20}{:>14}{:>12}{:>12}{:>9}{:>10}",
        "optimizer",
        "factor",
        "rest",
        "validation loss",
        "state",
        "tokens/s",
        "effective",
        "update",
        "steps to"
    );
    for optimizer in &found.optimizers {
        out!("{}", row(optimizer));
    }
    if let Some(start) = &found.fine_tuned_from {
        out!("fine-tuned from {}, whose validation loss is {:.4}:", start.run, start.eval_loss);
    }
    for optimizer in &found.fine_tuned {
        out!("{}", row(optimizer));
    }
    out!(
        "effective tokens/s are all tokens of {reference}'s run over the seconds of training until its final validation \
         loss was first reached; steps to are those until then"
    );
    for optimizer in found.optimizers.iter().chain(&found.fine_tuned) {
        let mut text = format!("{}: {}.", optimizer.name, optimizer.verdict);
        for remark in optimizer.remarks(reference) {
            text += &format!(" {remark}");
        }
        if let Some(by_seed) = optimizer.to_reference.as_ref().and_then(effective_by_seed) {
            text += &format!(" {by_seed}");
        }
        out!("{text}");
    }
    out!("report             {}", folder.join("report.html").display());
    Ok(())
}

fn row(optimizer: &OptimizerResult) -> String {
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".into());
    let cost = optimizer.cost;
    let to_reference = optimizer.to_reference.as_ref();
    let reached = to_reference.and_then(|to_reference| to_reference.mean);
    let never = to_reference.is_some_and(|to_reference| to_reference.never().count() == to_reference.seeds.len());
    let speed = |tokens_per_sec: f64| format!("{tokens_per_sec:.0}");
    format!(
        "{:<18}{:>8}{:>8}{:>20}{:>14}{:>12}{:>12}{:>9}{:>10}",
        optimizer.name,
        or_none(optimizer.best_factors.map(|best| factor_words(best.linear))),
        or_none(optimizer.best_factors.map(|best| factor_words(best.rest))),
        or_none(optimizer.eval_loss.map(|loss| match loss.sd {
            Some(sd) => format!("{:.4} ± {sd:.4}", loss.mean),
            None => format!("{:.4}", loss.mean),
        })),
        or_none(cost.map(|cost| bytes_in_words(cost.state_bytes))),
        or_none(optimizer.tokens_per_sec.map(speed)),
        if never { "never".into() } else { or_none(reached.map(|reached| speed(reached.effective_tokens_per_sec))) },
        or_none(cost.and_then(|cost| cost.update_share).map(|share| format!("{:.1} %", 100.0 * share))),
        or_none(reached.map(|reached| format!("{:.0}", reached.steps))),
    )
}

/// The value of each seed, if there are several and at least one reached the loss.
fn effective_by_seed(to_reference: &ToReference) -> Option<String> {
    let seeds = &to_reference.seeds;
    if seeds.len() < 2 || to_reference.never().count() == seeds.len() {
        return None;
    }
    let words = seeds.iter().map(|of_seed| match of_seed.reached {
        Some(reached) => format!("{:.0} with seed {}", reached.effective_tokens_per_sec, of_seed.seed),
        None => format!("none with seed {}", of_seed.seed),
    });
    Some(format!("Effective tokens/s: {}.", words.collect::<Vec<_>>().join(", ")))
}
