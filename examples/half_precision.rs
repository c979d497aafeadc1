//! What half precision does to training: runs of several seeds in f32 and in f16, and the gradients of both at the same
//! weights on the same batch.
//!
//! Writes `half_precision.json`, `half_precision_curves.svg` and `half_precision_exponents.svg` into a folder, anew after every
//! run, so that what was done is there when it is stopped.
#![expect(clippy::disallowed_methods, reason = "a main may block")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use multinorm::checkpoint::write_atomic;
use multinorm::config::{Precision, RunConfig, RunDefaults};
use multinorm::data::dataset::{self, Dataset};
use multinorm::gpu::{AdapterChoice, Gpu, GpuOptions};
use multinorm::plot::{Axis, Bins, Bound, Ink, Panel, Scale, Series, histogram, lines, standalone};
use multinorm::train::{StepReport, Trainer, measure_variants};
use multinorm::{Error, Result};
use serde::Serialize;
use web_time::Instant;

/// Trains in f32 and in f16 and compares losses and gradients
#[derive(Parser)]
struct Args {
    /// Steps of each run
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..))]
    steps: u64,
    /// Runs in each precision, each with a seed of its own
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(2..))]
    seeds: u64,
    /// Folder for the numbers and the figures
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// One setting over the default run for the adapter: `--set model.preset=60m`; repeatable
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    sets: Vec<String>,
    /// Adapter by index or by a part of its name (see `multinorm devices`)
    #[arg(long, value_name = "NAME_OR_INDEX", env = "MULTINORM_ADAPTER")]
    adapter: Option<String>,
}

/// All that is written down.
#[derive(Serialize)]
struct Results {
    adapter: String,
    driver: String,
    text: String,
    steps: u64,
    tokens_per_step: usize,
    runs: Vec<Run>,
    comparison: Vec<Comparison>,
    gradients: Option<GradientsAtOneStep>,
    /// Of the first run in f32, as TOML; the others differ in `train.precision` and `train.seed`.
    configuration: String,
}

/// One run.
#[derive(Serialize)]
struct Run {
    seed: u64,
    precision: Precision,
    validation: Vec<Evaluated>,
    /// Mean loss of every step's batch, nats a token.
    training_loss: Vec<f64>,
    skipped_steps: u64,
    /// After the last step.
    loss_scale: Option<f64>,
    secs: f64,
    /// Why it ended before its last step, if it did.
    halted: Option<String>,
    #[serde(skip)]
    weights: Vec<Vec<f32>>,
}

/// Validation loss after a step, nats a token.
#[derive(Clone, Copy, Serialize)]
struct Evaluated {
    step: u64,
    loss: f64,
}

/// The validation losses of all seeds at one evaluation; a range goes from the lowest to the highest of them.
#[derive(Serialize)]
struct Comparison {
    step: u64,
    seeds: usize,
    f32_range: [f64; 2],
    f16_range: [f64; 2],
    f32_mean: f64,
    f16_mean: f64,
    /// Whether the range of f16 lies within that of f32.
    f16_within_f32: bool,
    /// By how much it reaches out of it at most; 0 if it does not.
    f16_outside_by: f64,
    /// Largest absolute difference between the two runs of one seed.
    largest_difference_of_a_seed: f64,
}

/// The gradients of all parameters on one batch, at the weights that a run in f16 ended with.
#[derive(Serialize)]
struct GradientsAtOneStep {
    seed: u64,
    /// The weights are those after so many steps, and the batch is the next.
    after_step: u64,
    variants: Vec<Exponents>,
    /// Of the variants in f16, against f32.
    flushed: Vec<Flushed>,
}

/// How many elements of all gradients have each binary exponent: e where 2^e <= |g| < 2^(e+1).
#[derive(Serialize)]
struct Exponents {
    precision: Precision,
    loss_scale: Option<f64>,
    zeros: u64,
    elements_by_exponent: BTreeMap<i32, u64>,
}

/// Elements that are zero in f16 and not in f32.
#[derive(Serialize)]
struct Flushed {
    loss_scale: f64,
    elements: u64,
    /// Not zero in f32.
    nonzero: u64,
    flushed: u64,
    /// Those of them that are larger in f32 than [`LARGE`] times the norm of their parameter's gradient.
    flushed_large: u64,
    /// The largest of them in f32, over the norm of its parameter's gradient.
    largest: f64,
    /// Parameters with such elements, the largest element first.
    parameters: Vec<FlushedOfParameter>,
}

#[derive(Serialize)]
struct FlushedOfParameter {
    parameter: String,
    elements: u64,
    flushed: u64,
    flushed_large: u64,
    largest: f64,
}

/// Above so much of the norm of a parameter's gradient no element may be lost.
const LARGE: f64 = 1e-3;

/// Exponents of the smallest normal and of the smallest subnormal number of f16.
const SMALLEST_OF_F16: [f64; 2] = [-14.0, -24.0];

#[pollster::main]
async fn main() -> Result<()> {
    let args = Args::parse();
    let choice = AdapterChoice { adapter: args.adapter.clone(), backend: None };
    let mut gpu = Gpu::open(&GpuOptions { choice, ..GpuOptions::default() }).await?;
    eprintln!("adapter    {} ({})", gpu.adapter_name, gpu.driver);
    let config = configuration(&args, gpu.profile.software)?;
    let in_precision = |precision: Precision| {
        let mut config = config.clone();
        config.train.precision = precision;
        config.validate().map(|()| config)
    };
    let both = [in_precision(Precision::F32)?, in_precision(Precision::F16)?];
    Precision::F16.on(&gpu.profile)?;
    measure_variants(&mut gpu, &both).await?;
    let gpu = Arc::new(gpu);
    let mut say = |line: &str| eprintln!("data       {line}");
    let dataset = Arc::new(dataset::load(&config.data, config.model.vocab_size, &mut say)?);
    let mut results = Results {
        adapter: gpu.adapter_name.clone(),
        driver: gpu.driver.clone(),
        text: dataset.name.clone(),
        steps: args.steps,
        tokens_per_step: config.train.tokens_per_step(),
        runs: Vec::new(),
        comparison: Vec::new(),
        gradients: None,
        configuration: both[0].to_toml(),
    };
    let columns = columns(&config, args.steps);
    print_header(&columns);
    for seed in config.train.seed..config.train.seed + args.seeds {
        for config in &both {
            let mut config = config.clone();
            config.train.seed = seed;
            let mut run = train(&gpu, &config, &dataset, args.steps).await?;
            print_run(&run, &columns);
            let weights = std::mem::take(&mut run.weights);
            let has_gradients = results.gradients.is_some() || run.precision != Precision::F16 || run.halted.is_some();
            let scale = run.loss_scale.unwrap_or(config.train.first_loss_scale());
            results.runs.push(run);
            results.comparison = compare(&results.runs);
            results.write(&args)?;
            if !has_gradients {
                results.gradients = Some(gradients_at(&gpu, &config, &dataset, &weights, args.steps, scale).await?);
                results.write(&args)?;
            }
        }
    }
    print_comparison(&results);
    Ok(())
}

/// The default run for the adapter with ten evaluations, and what was set over it.
fn configuration(args: &Args, software: bool) -> Result<RunConfig> {
    let mut sets = vec![format!("train.steps={}", args.steps), format!("eval.every={}", (args.steps / 10).max(1))];
    sets.extend_from_slice(&args.sets);
    let defaults = if software { RunDefaults::Software } else { RunDefaults::Gpu };
    let mut config = RunConfig::load(None, &sets, defaults)?;
    config.make_paths_absolute()?;
    if config.train.steps < args.steps {
        let message =
            format!("is {}, and --steps asks for {}: set it to at least that", config.train.steps, args.steps);
        return Err(Error::config("train.steps", message));
    }
    Ok(config)
}

/// One run from its first step. One whose numbers are no longer finite ends there, and says so.
async fn train(gpu: &Arc<Gpu>, config: &RunConfig, dataset: &Arc<Dataset>, steps: u64) -> Result<Run> {
    let began = Instant::now();
    let (seed, precision) = (config.train.seed, config.train.precision);
    let mut run = Run {
        seed,
        precision,
        validation: Vec::new(),
        training_loss: Vec::new(),
        skipped_steps: 0,
        loss_scale: None,
        secs: 0.0,
        halted: None,
        weights: Vec::new(),
    };
    let mut trainer = Trainer::new(gpu.clone(), config.clone(), dataset.clone()).await?;
    match run.go(&mut trainer, steps).await {
        Err(Error::NonFinite(why)) => run.halted = Some(why),
        ended => ended?,
    }
    run.weights = trainer.snapshot().await?.parameters;
    run.secs = began.elapsed().as_secs_f64();
    Ok(run)
}

impl Run {
    async fn go(&mut self, trainer: &mut Trainer, steps: u64) -> Result<()> {
        /// Seconds between two lines of progress.
        const LINE: Duration = Duration::from_secs(5);
        let every = trainer.config().eval.every;
        let mut last_line = Instant::now();
        while trainer.step_number() < steps {
            let reports = trainer.step().await?;
            self.note(&reports);
            let step = trainer.step_number();
            if step == steps || (every > 0 && step.is_multiple_of(every)) {
                let reports = trainer.drain().await?;
                self.note(&reports);
                trainer.check()?;
                let loss = trainer.evaluate().await?.loss;
                self.validation.push(Evaluated { step, loss });
                eprintln!("{} step {step}/{steps}: validation loss {loss:.4}", self.name());
                last_line = Instant::now();
            } else if let Some(loss) = self.training_loss.last()
                && last_line.elapsed() > LINE
            {
                eprintln!("{} step {step}/{steps}: training loss {loss:.4}", self.name());
                last_line = Instant::now();
            }
        }
        Ok(())
    }

    fn note(&mut self, reports: &[StepReport]) {
        self.training_loss.extend(reports.iter().map(|report| report.loss));
        if let Some(last) = reports.last() {
            (self.loss_scale, self.skipped_steps) = (last.loss_scale, last.skipped_steps.unwrap_or(0));
        }
    }

    fn name(&self) -> String {
        format!("seed {} {}", self.seed, self.precision.name())
    }

    fn loss_at(&self, step: u64) -> Option<f64> {
        self.validation.iter().find(|evaluated| evaluated.step == step).map(|evaluated| evaluated.loss)
    }
}

/// Gradients in f32, in f16 under the loss scale that the run came to, and in f16 without any.
async fn gradients_at(
    gpu: &Arc<Gpu>,
    config: &RunConfig,
    dataset: &Arc<Dataset>,
    weights: &[Vec<f32>],
    after_step: u64,
    loss_scale: f64,
) -> Result<GradientsAtOneStep> {
    eprintln!("gradients after step {after_step}, in f32 and in f16");
    let mut config = config.clone();
    config.train.fused_update = false;
    config.train.precision = Precision::F32;
    let at = At { gpu, dataset, weights, after_step };
    let single = at.gradients(config.clone()).await?.expect("nothing is skipped in f32");
    let mut variants = vec![exponents(Precision::F32, None, &single)];
    let mut flushed = Vec::new();
    config.train.precision = Precision::F16;
    for first_scale in [loss_scale, 1.0] {
        config.train.loss_scale = first_scale;
        let half = loop {
            match at.gradients(config.clone()).await? {
                Some(gradients) => break gradients,
                None => config.train.loss_scale /= 2.0, // as training does
            }
        };
        variants.push(exponents(Precision::F16, Some(config.train.loss_scale), &half));
        flushed.push(compare_gradients(config.train.loss_scale, &single, &half));
    }
    Ok(GradientsAtOneStep { seed: config.train.seed, after_step, variants, flushed })
}

/// Where gradients are taken.
struct At<'a> {
    gpu: &'a Arc<Gpu>,
    dataset: &'a Arc<Dataset>,
    weights: &'a [Vec<f32>],
    after_step: u64,
}

/// A parameter's name and its gradient.
type Gradients = Vec<(String, Vec<f32>)>;

impl At<'_> {
    /// Of the batch after the step, all parameters' gradients; nothing where one overflows under the loss scale.
    async fn gradients(&self, config: RunConfig) -> Result<Option<Gradients>> {
        let mut trainer = Trainer::new(self.gpu.clone(), config, self.dataset.clone()).await?;
        let mut start = trainer.snapshot().await?;
        (start.step, start.parameters) = (self.after_step, self.weights.to_vec());
        trainer.restore(&start)?;
        let mut reports = trainer.step().await?;
        reports.extend(trainer.drain().await?);
        trainer.check()?;
        if reports.iter().any(|report| report.skipped) {
            return Ok(None);
        }
        let mut gradients = Vec::new();
        for spec in trainer.config().model.parameters() {
            let gradient = trainer.gradient(&spec.name).await?;
            gradients.push((spec.name, gradient));
        }
        Ok(Some(gradients))
    }
}

fn exponents(precision: Precision, loss_scale: Option<f64>, gradients: &Gradients) -> Exponents {
    let mut exponents = Exponents { precision, loss_scale, zeros: 0, elements_by_exponent: BTreeMap::new() };
    for &element in gradients.iter().flat_map(|(_, gradient)| gradient) {
        if element == 0.0 {
            exponents.zeros += 1;
        } else {
            // Every f32 is a normal f64.
            let exponent = (f64::from(element).to_bits() >> 52 & 0x7ff) as i32 - 1023;
            *exponents.elements_by_exponent.entry(exponent).or_default() += 1;
        }
    }
    exponents
}

fn compare_gradients(loss_scale: f64, single: &Gradients, half: &Gradients) -> Flushed {
    let mut all =
        Flushed { loss_scale, elements: 0, nonzero: 0, flushed: 0, flushed_large: 0, largest: 0.0, parameters: vec![] };
    for ((parameter, single), (_, half)) in single.iter().zip(half) {
        let norm = single.iter().map(|&g| f64::from(g).powi(2)).sum::<f64>().sqrt();
        let flushed: Vec<f64> = single
            .iter()
            .zip(half)
            .filter(|&(&single, &half)| single != 0.0 && half == 0.0)
            .map(|(&single, _)| f64::from(single).abs() / norm)
            .collect();
        let of_parameter = FlushedOfParameter {
            parameter: parameter.clone(),
            elements: single.len() as u64,
            flushed: flushed.len() as u64,
            flushed_large: flushed.iter().filter(|&&size| size > LARGE).count() as u64,
            largest: flushed.iter().copied().fold(0.0, f64::max),
        };
        all.elements += of_parameter.elements;
        all.nonzero += single.iter().filter(|&&g| g != 0.0).count() as u64;
        all.flushed += of_parameter.flushed;
        all.flushed_large += of_parameter.flushed_large;
        all.largest = all.largest.max(of_parameter.largest);
        if of_parameter.flushed > 0 {
            all.parameters.push(of_parameter);
        }
    }
    all.parameters.sort_by(|a, b| b.largest.total_cmp(&a.largest));
    all
}

/// At every evaluation, of the seeds that were evaluated in both precisions there.
fn compare(runs: &[Run]) -> Vec<Comparison> {
    let of = |precision: Precision| runs.iter().filter(move |run| run.precision == precision);
    let Some(longest) = of(Precision::F32).max_by_key(|run| run.validation.len()) else { return Vec::new() };
    let at = |step: u64| {
        let pairs: Vec<[f64; 2]> = of(Precision::F32)
            .filter_map(|single| {
                let half = of(Precision::F16).find(|half| half.seed == single.seed)?;
                Some([single.loss_at(step)?, half.loss_at(step)?])
            })
            .collect();
        let losses = |of: usize| pairs.iter().map(move |pair| pair[of]);
        let range =
            |of: usize| [losses(of).fold(f64::INFINITY, f64::min), losses(of).fold(f64::NEG_INFINITY, f64::max)];
        let mean = |of: usize| losses(of).sum::<f64>() / pairs.len() as f64;
        let [f32_range, f16_range] = [range(0), range(1)];
        let f16_outside_by = (f32_range[0] - f16_range[0]).max(f16_range[1] - f32_range[1]).max(0.0);
        (!pairs.is_empty()).then(|| Comparison {
            step,
            seeds: pairs.len(),
            f32_range,
            f16_range,
            f32_mean: mean(0),
            f16_mean: mean(1),
            f16_within_f32: f16_outside_by == 0.0,
            f16_outside_by,
            largest_difference_of_a_seed: pairs.iter().map(|[a, b]| (a - b).abs()).fold(0.0, f64::max),
        })
    };
    longest.validation.iter().filter_map(|evaluated| at(evaluated.step)).collect()
}

impl Results {
    fn write(&self, args: &Args) -> Result<()> {
        let write = |name: &str, text: &str| write_atomic(&args.out.join(name), text.as_bytes());
        std::fs::create_dir_all(&args.out).map_err(Error::io("create", &args.out))?;
        write("half_precision.json", &serde_json::to_string(self).expect("our own values can be written as JSON"))?;
        write("half_precision_curves.svg", &self.curves())?;
        match &self.gradients {
            Some(gradients) => write("half_precision_exponents.svg", &gradients.picture()),
            None => Ok(()),
        }
    }

    /// Validation losses, and what they differ by from the mean of the runs in f32.
    fn curves(&self) -> String {
        let precisions = [(Ink(0), Precision::F32), (Ink(1), Precision::F16)];
        let of = |precision: Precision| self.runs.iter().filter(move |run| run.precision == precision);
        let mean = |step: u64| {
            let losses: Vec<f64> = of(Precision::F32).filter_map(|run| run.loss_at(step)).collect();
            losses.iter().sum::<f64>() / losses.len() as f64
        };
        let panel = |title: &str, y: &str, height: &dyn Fn(&Evaluated) -> f64| {
            let series: Vec<Series> = precisions
                .into_iter()
                .flat_map(|(ink, precision)| of(precision).map(move |run| (ink, run)))
                .map(|(ink, run)| {
                    let points = run.validation.iter().map(|at| (at.step as f64, height(at)));
                    let points = points.filter(|point| point.1.is_finite()).collect();
                    Series { ink, points, marked: true }
                })
                .collect();
            let axis = Axis { x: "steps".into(), y: y.into(), scale: Scale::Linear };
            let count = |precision| of(precision).count();
            let legend = precisions.map(|(ink, p)| (ink, format!("{}, seeds: {}", p.name(), count(p))));
            Panel { title: title.into(), svg: lines(&axis, &series, None, 2), legend: legend.into() }
        };
        let nats = "nats a token";
        let losses = panel("Validation loss in f32 and in f16", nats, &|at| at.loss);
        let from_mean = panel("The same, less the mean of the seeds in f32", nats, &|at| at.loss - mean(at.step));
        standalone("Validation loss in f32 and in f16", &[losses, from_mean])
    }
}

impl GradientsAtOneStep {
    /// A histogram of exponents, with the exponents at which half precision ends.
    fn picture(&self) -> String {
        let n_inks = self.variants.len() + 2;
        let (mut series, mut bounds, mut legend) = (Vec::new(), Vec::new(), Vec::new());
        for (at, variant) in self.variants.iter().enumerate() {
            let ink = Ink(at);
            series.push(Bins { ink, counts: variant.elements_by_exponent.clone() });
            let scale = variant.loss_scale.map_or(String::new(), |scale| format!(", scale {}", power_of_two(scale)));
            legend.push((ink, format!("{}{scale}: {} zeros", variant.precision.name(), variant.zeros)));
        }
        let scales = self.variants.iter().filter_map(|variant| variant.loss_scale);
        for (at, scale) in scales.enumerate() {
            let ink = Ink(self.variants.len() + at);
            bounds.extend(SMALLEST_OF_F16.map(|exponent| Bound { ink, at: exponent - scale.log2() }));
            legend.push((ink, format!("smallest in f16, scale {}", power_of_two(scale))));
        }
        let words = ["exponent e of an element: 2^e ≤ |g| < 2^(e+1)", "elements"];
        let title = format!("Gradients of all parameters by size, after step {}", self.after_step);
        let panel = Panel { title: title.clone(), svg: histogram(words, &series, &bounds, n_inks), legend };
        standalone(&title, &[panel])
    }
}

fn power_of_two(scale: f64) -> String {
    format!("2^{}", scale.log2())
}

/// Up to six evaluations that the table of runs shows, the last among them.
fn columns(config: &RunConfig, steps: u64) -> Vec<u64> {
    let every = if config.eval.every == 0 { steps } else { config.eval.every };
    let mut all: Vec<u64> = (1..=steps / every).map(|n| n * every).collect();
    if all.last() != Some(&steps) {
        all.push(steps);
    }
    let stride = all.len().div_ceil(6);
    let mut shown: Vec<u64> = all.iter().rev().step_by(stride).copied().collect();
    shown.reverse();
    shown
}

fn print_header(columns: &[u64]) {
    println!("Validation loss after so many steps, nats a token");
    let steps: String = columns.iter().map(|step| format!("{step:>9}")).collect();
    println!("{:>4}  {:<9}{steps}{:>9}{:>9}", "seed", "precision", "skipped", "secs");
}

fn print_run(run: &Run, columns: &[u64]) {
    let loss = |step: &u64| run.loss_at(*step).map_or(format!("{:>9}", "-"), |loss| format!("{loss:>9.4}"));
    let losses: String = columns.iter().map(loss).collect();
    let Run { seed, precision, skipped_steps, secs, halted, .. } = run;
    println!("{seed:>4}  {:<9}{losses}{skipped_steps:>9}{secs:>9.1}", precision.name());
    if let Some(why) = halted {
        println!("      halted: {why}");
    }
}

fn print_comparison(results: &Results) {
    println!("\nAt each evaluation, over the seeds");
    println!(
        "{:>6}  {:>17}  {:>7}  {:>17}  {:>10}  {:>22}",
        "step", "f32", "spread", "f16", "f16 within", "largest f16-f32 of one"
    );
    for at in &results.comparison {
        let range = |[low, high]: [f64; 2]| format!("{low:.4} to {high:.4}");
        println!(
            "{:>6}  {:>17}  {:>7.4}  {:>17}  {:>10}  {:>22.4}",
            at.step,
            range(at.f32_range),
            at.f32_range[1] - at.f32_range[0],
            range(at.f16_range),
            if at.f16_within_f32 { "yes".into() } else { format!("by {:.4}", at.f16_outside_by) },
            at.largest_difference_of_a_seed,
        );
    }
    let all = results.comparison.len();
    let within = results.comparison.iter().filter(|at| at.f16_within_f32).count();
    println!(
        "\nAll runs in f16 lie between the lowest and the highest run in f32 at {within} of {all} evaluations; the mean of \
         f16 does at {}.",
        results.comparison.iter().filter(|at| at.f32_range[0] <= at.f16_mean && at.f16_mean <= at.f32_range[1]).count()
    );
    if let Some(at) = results.comparison.iter().max_by(|a, b| a.f16_outside_by.total_cmp(&b.f16_outside_by))
        && !at.f16_within_f32
    {
        println!("The farthest outside is one by {:.4}, at step {}.", at.f16_outside_by, at.step);
    }
    for Flushed { loss_scale, elements, nonzero, flushed, flushed_large, largest, .. } in
        results.gradients.iter().flat_map(|gradients| &gradients.flushed)
    {
        println!(
            "Under a loss scale of {} f16 makes {flushed} of {nonzero} gradients zero that are not zero in f32 ({elements} \
             in all), the largest of them {largest:.1e} of its parameter's norm; {flushed_large} are above {LARGE:.0e} of it.",
            power_of_two(*loss_scale)
        );
    }
}
