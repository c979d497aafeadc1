//! `multinorm bench`: verifies against the reference, then times.

mod ceilings;
mod kernels;
mod model_update;
mod optimizers;
mod products;
mod step;
mod trace;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use multinorm::Result;
use multinorm::config::RunConfig;
use multinorm::data::dataset::Dataset;
use multinorm::data::tokens::Tokens;
use multinorm::gpu::{Gpu, WGPU_VERSION};
use serde_json::{Value, json};

use super::DeviceArgs;

#[derive(Args)]
#[command(after_help = "Examples:
  multinorm bench kernels --preset 60m
  multinorm bench step --set model.preset=60m --trace t.json     open the trace in ui.perfetto.dev
  multinorm bench optimizers --set model.preset=60m --json")]
pub struct BenchArgs {
    #[command(subcommand)]
    what: What,
    /// Print one JSON document
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum What {
    /// Time the adapter's ceilings, matrix products, and every kernel of a training step at preset sizes
    Kernels(kernels::KernelsArgs),
    /// Time one update of each optimizer: on one matrix, next to a plain copy of the bytes it moves, and on a whole
    /// model
    Optimizers(optimizers::OptimizersArgs),
    /// Time one training step on random tokens: the first, the steady ones, and where the time goes
    Step(step::StepArgs),
}

pub fn run(device: &DeviceArgs, args: &BenchArgs) -> Result<()> {
    match &args.what {
        What::Kernels(of) => kernels::run(device, args.json, of),
        What::Optimizers(of) => optimizers::run(device, args.json, of),
        What::Step(of) => step::run(device, args.json, of),
    }
}

/// The settings of a run.
#[derive(Args)]
struct Settings {
    /// Settings file [default: the default run]
    config: Option<PathBuf>,
    /// Override one setting: `--set model.preset=60m`; repeatable
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    sets: Vec<String>,
}

/// The common part of every benchmark document: figures mean nothing without the machine, the versions and the choices.
fn document(gpu: &Gpu, figures: Value) -> Value {
    let profile = &gpu.profile;
    let mut document = json!({
        "adapter": gpu.adapter_name,
        "driver": gpu.driver,
        "backend": gpu.backend,
        "version": env!("CARGO_PKG_VERSION"),
        "wgpu_version": WGPU_VERSION,
        "choices": {
            "software": profile.software,
            "clock": clock(gpu),
            "f16": profile.f16,
            "subgroup_lanes": profile.subgroup_lanes,
            "matrix_units": profile.matrix_units,
            "measured": profile.choices,
        },
    });
    let (all, figures) = (document.as_object_mut().expect("an object"), figures);
    let Value::Object(figures) = figures else { panic!("figures have names: {figures}") };
    all.extend(figures);
    document
}

/// How kernels are timed.
fn clock(gpu: &Gpu) -> &'static str {
    if gpu.profile.timestamps { "time stamps" } else { "submit and wait" }
}

/// Adds the preset that suits the adapter, unless the settings name one.
fn with_preset(gpu: &Gpu, sets: &[String]) -> Vec<String> {
    let mut sets = sets.to_vec();
    if !sets.iter().any(|set| set.trim_start().starts_with("model.")) {
        sets.push(format!("model.preset={}", if gpu.profile.software { "tiny" } else { "60m" }));
    }
    sets
}

/// Random tokens, for one epoch: the cost of a step does not depend on them.
fn random_tokens(config: &RunConfig) -> Dataset {
    let vocab = config.model.vocab_size as u64;
    let n = (config.train.steps + 2) * config.train.tokens_per_step() as u64 + 1;
    let token = |i: u64| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33) % vocab;
    let tokens = Tokens::Owned((0..n).map(|i| token(i) as u32).collect());
    Dataset::unsplit("random", tokens, config.model.vocab_size)
}

/// Seconds per replay: the best of three means, each over as many replays as fit in a third of `budget_secs`. The first
/// replay, in which drivers compile, does not count. A replay longer than the whole budget is timed only once or twice.
async fn steady_secs(budget_secs: f64, time: impl AsyncFn(usize) -> Result<f64>) -> Result<f64> {
    let first = time(1).await?;
    // Next to a replay this long, compilation is negligible.
    if first > 100.0 * budget_secs {
        return Ok(first);
    }
    let one = time(1).await?;
    if one > budget_secs {
        return Ok(one);
    }
    let replays = (budget_secs / 3.0 / one.max(1e-7)).clamp(1.0, 1000.0) as usize;
    let mut best = f64::INFINITY;
    for _ in 0..3 {
        best = best.min(time(replays).await?);
    }
    Ok(best)
}
