//! `multinorm bench`: verifies against the reference, then times.

use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, Subcommand};
use multinorm::config::{RunConfig, RunDefaults};
use multinorm::data::dataset::Dataset;
use multinorm::data::tokens::Tokens;
use multinorm::gpu::{Class, Gpu, Recorder, Tensor};
use multinorm::kernels::{Output, matmul};
use multinorm::reference;
use multinorm::train::Trainer;
use multinorm::{Error, Result};
use serde_json::json;
use web_time::Instant;

use super::DeviceArgs;
use super::output::print_json;

#[derive(Args)]
pub struct BenchArgs {
    #[command(subcommand)]
    what: What,
    /// One JSON document
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum What {
    /// Matrix products in the three layouts of training
    Kernels,
    /// One training step on random tokens: the first, the steady ones, and where the time goes
    Step {
        /// Settings; without one the default run
        config: Option<PathBuf>,
        /// One setting: `--set model.preset=60m`; repeatable
        #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
        sets: Vec<String>,
        /// Steps to time after the first
        #[arg(long, default_value_t = 10)]
        steps: usize,
    },
}

pub fn run(device: &DeviceArgs, args: &BenchArgs) -> Result<()> {
    match &args.what {
        What::Kernels => kernels(device, args.json),
        What::Step { config, sets, steps } => step(device, args.json, config.as_deref(), sets, *steps),
    }
}

type Launch = fn(&mut Recorder, &Tensor, &Tensor, &Tensor, Output);
type Reference = fn(&[f64], &[f64], [usize; 3]) -> Vec<f64>;

/// Replays of one product in a timed submission.
const REPEATS: usize = 10;

fn kernels(device: &DeviceArgs, json: bool) -> Result<()> {
    let gpu = device.open()?;
    let mut rows = Vec::new();
    let layouts: [(&str, Launch, Reference); 3] = [
        ("x wT", matmul::nt, reference::matmul::nt),
        ("g w", matmul::nn, reference::matmul::nn),
        ("gT x", matmul::tn, reference::matmul::tn),
    ];
    for mnk in [[512, 512, 512], [512, 1376, 512], [509, 251, 127]] {
        for (layout, launch, reference) in layouts {
            let (error, secs) = pollster::block_on(product(&gpu, layout, launch, reference, mnk))?;
            if error > 1e-5 {
                return Err(Error::Gpu(format!("{layout} {mnk:?} differs from the reference by {error:.1e}")));
            }
            let gflops = 2.0 * mnk.iter().product::<usize>() as f64 / secs / 1e9;
            rows.push(json!({ "layout": layout, "mnk": mnk, "error": error, "secs": secs, "gflops": gflops }));
            if !json {
                println!(
                    "{layout:<6} {:<18} error {error:.1e}  {:>9.3} ms  {gflops:>8.1} GFLOP/s",
                    format!("{mnk:?}"),
                    secs * 1e3
                );
            }
        }
    }
    if json {
        print_json(&json!({ "adapter": gpu.adapter_name, "driver": gpu.driver, "products": rows }))
    } else {
        Ok(())
    }
}

/// Largest difference from the reference over its root mean square, and seconds of one product.
async fn product(gpu: &Gpu, layout: &str, launch: Launch, reference: Reference, mnk: [usize; 3]) -> Result<(f64, f64)> {
    let [m, n, k] = mnk;
    let mut rec = Recorder::new(&gpu.profile);
    let (a_shape, b_shape) = match layout {
        "x wT" => ([m, k], [n, k]),
        "g w" => ([m, k], [k, n]),
        _ => ([k, m], [k, n]),
    };
    let a = rec.persistent(Class::Scratch, "a", &a_shape);
    let b = rec.persistent(Class::Scratch, "b", &b_shape);
    let y = rec.persistent(Class::Scratch, "y", &[m, n]);
    rec.begin("product");
    for _ in 0..REPEATS {
        launch(&mut rec, &a, &b, &y, Output::Write);
    }
    let workspace = rec.allocate(gpu).await?;
    let values =
        |len: usize, step: usize| -> Vec<f32> { (0..len).map(|i| ((i * step) % 61) as f32 / 30.0 - 1.0).collect() };
    let (a_values, b_values) = (values(a.len(), 7919), values(b.len(), 104_729));
    workspace.write(gpu, &a, &a_values);
    workspace.write(gpu, &b, &b_values);
    workspace.run(gpu, &["product"]);
    let got: Vec<f32> = workspace.read(gpu, &y).await?;
    let wide = |values: &[f32]| values.iter().map(|&value| f64::from(value)).collect::<Vec<_>>();
    let want = reference(&wide(&a_values), &wide(&b_values), mnk);
    let rms = (want.iter().map(|value| value * value).sum::<f64>() / want.len() as f64).sqrt();
    let error =
        got.iter().zip(&want).fold(0.0_f64, |error, (got, want)| error.max((f64::from(*got) - want).abs())) / rms;
    let mut best = f64::INFINITY;
    for _ in 0..5 {
        let began = Instant::now();
        workspace.run(gpu, &["product"]);
        gpu.wait()?;
        best = best.min(began.elapsed().as_secs_f64() / REPEATS as f64);
    }
    Ok((error, best))
}

fn step(device: &DeviceArgs, json: bool, path: Option<&std::path::Path>, sets: &[String], steps: usize) -> Result<()> {
    let gpu = Arc::new(device.open()?);
    let text = path.map(|path| std::fs::read_to_string(path).map_err(Error::io("read", path))).transpose()?;
    let defaults = if gpu.profile.software { RunDefaults::Software } else { RunDefaults::Gpu };
    let mut config = RunConfig::load(path.zip(text.as_deref()), sets, defaults)?;
    config.train.steps = steps.max(1) as u64 + 1;
    let (n_parameters, tokens_per_step) = (config.model.n_parameters(), config.train.tokens_per_step());
    let dataset = Arc::new(random_tokens(&config));
    let began = Instant::now();
    let (first, mut secs, times) = pollster::block_on(async {
        let mut trainer = Trainer::new(gpu.clone(), config, dataset).await?;
        trainer.step().await?;
        trainer.drain().await?;
        let first = began.elapsed().as_secs_f64();
        let mut secs = Vec::new();
        for _ in 0..steps.max(1) {
            let began = Instant::now();
            trainer.step().await?;
            trainer.drain().await?;
            secs.push(began.elapsed().as_secs_f64());
        }
        let times = if gpu.profile.timestamps { trainer.time_kernels().await? } else { Vec::new() };
        Ok::<_, Error>((first, secs, times))
    })?;
    secs.sort_by(f64::total_cmp);
    let median = secs[secs.len() / 2];
    let kernels: Vec<_> = times
        .iter()
        .flat_map(|(plan, kernels)| kernels.iter().map(move |k| (plan, k)))
        .map(|(plan, k)| json!({ "plan": plan, "kernel": k.kernel, "dispatches": k.dispatches, "secs": k.secs }))
        .collect();
    if json {
        return print_json(&json!({
            "adapter": gpu.adapter_name, "driver": gpu.driver, "parameters": n_parameters,
            "tokens_per_step": tokens_per_step, "first_step_secs": first, "step_secs": secs,
            "median_secs": median, "tokens_per_sec": tokens_per_step as f64 / median, "kernels": kernels,
        }));
    }
    println!("adapter        {} ({})", gpu.adapter_name, gpu.driver);
    println!("parameters     {n_parameters}, {tokens_per_step} tokens a step");
    println!("first step     {first:.2} s, with recording, allocation and kernel compilation");
    println!(
        "steady step    {:.1} ms (median of {}), {:.0} tokens/s",
        median * 1e3,
        secs.len(),
        tokens_per_step as f64 / median
    );
    for (plan, kernels) in &times {
        for time in kernels {
            println!("  {plan:<20}{:<34}{:>5} x {:>10.3} ms", time.kernel, time.dispatches, time.secs * 1e3);
        }
    }
    Ok(())
}

/// Tokens without meaning: a step costs the same whatever they say.
fn random_tokens(config: &RunConfig) -> Dataset {
    let vocab = config.model.vocab_size as u64;
    let n = 4 * config.train.tokens_per_step() as u64 + 1;
    let token = |i: u64| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33) % vocab;
    let tokens = Tokens::Owned((0..n).map(|i| token(i) as u32).collect());
    Dataset::unsplit("random", tokens, config.model.vocab_size)
}
