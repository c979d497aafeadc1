//! What half precision does to training: runs of several seeds in f32 and in f16, and the gradients of both at the same
//! weights on the same batch.
//!
//! Writes `half_precision.txt`, which it prints at the end, `half_precision.json`, `half_precision_curves.svg` and
//! `half_precision_exponents.svg` into a directory, again after every run, so that stopping it loses no finished run.
#![expect(clippy::disallowed_methods, reason = "a main may block")]

mod gradients;
mod runs;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Parser;
use multinorm::config::{Precision, RunConfig, RunDefaults};
use multinorm::data::dataset;
use multinorm::files::write_atomic;
use multinorm::gpu::{AdapterChoice, Gpu, GpuOptions};
use multinorm::train::measure_variants;
use multinorm::{Error, Result};
use serde::Serialize;

use gradients::{GradientsAtOneStep, gradients_at};
use runs::{Comparison, Run, compare, comparison_in_words, curves, table, train};

/// Trains in f32 and in f16 and compares losses and gradients
#[derive(Parser)]
struct Args {
    /// Steps of each run
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..))]
    steps: u64,
    /// Runs in each precision, each with its own seed
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(2..))]
    seeds: u64,
    /// Directory for the numbers and the figures
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// One setting on top of the adapter's default run: `--set model.preset=60m`; repeatable
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    sets: Vec<String>,
    /// Adapter by index or by a part of its name (see `multinorm devices`)
    #[arg(long, value_name = "NAME_OR_INDEX", env = "MULTINORM_ADAPTER")]
    adapter: Option<String>,
}

/// Everything that is written to the directory.
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
    std::fs::create_dir_all(&args.out).map_err(Error::io("create", &args.out))?;
    for seed in config.train.seed..config.train.seed + args.seeds {
        for config in &both {
            let mut config = config.clone();
            config.train.seed = seed;
            let (run, weights) = train(&gpu, &config, &dataset, args.steps).await?;
            let of_gradients = results.gradients.is_none() && run.halted.is_none();
            let loss_scale = run.loss_scale.filter(|_| of_gradients);
            results.runs.push(run);
            results.comparison = compare(&results.runs);
            results.write(&args.out)?;
            if let Some(loss_scale) = loss_scale {
                let gradients = gradients_at(&gpu, &config, &dataset, &weights, args.steps, loss_scale).await?;
                results.gradients = Some(gradients);
                results.write(&args.out)?;
            }
        }
    }
    print!("{}", results.in_words());
    Ok(())
}

/// The default run for the adapter with ten evaluations, and the user's settings on top.
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

impl Results {
    fn in_words(&self) -> String {
        let Self { adapter, driver, runs, comparison, gradients, .. } = self;
        let mut words = format!("{adapter} ({driver})\n{}", table(runs, self.steps));
        if !comparison.is_empty() {
            words += &format!("\n{}", comparison_in_words(comparison));
        }
        if let Some(gradients) = gradients {
            words += &format!("\n{}", gradients.in_words());
        }
        words
    }

    fn write(&self, folder: &Path) -> Result<()> {
        let write = |name: &str, text: &str| write_atomic(&folder.join(name), text.as_bytes());
        write("half_precision.txt", &self.in_words())?;
        write("half_precision.json", &serde_json::to_string(self).expect("our own values can be written as JSON"))?;
        write("half_precision_curves.svg", &curves(&self.runs))?;
        self.gradients.as_ref().map_or(Ok(()), |gradients| write("half_precision_exponents.svg", &gradients.picture()))
    }
}
