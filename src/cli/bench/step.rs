//! `multinorm bench step`: one training step on random tokens.

use std::path::Path;
use std::sync::Arc;

use multinorm::config::RunConfig;
use multinorm::data::dataset::Dataset;
use multinorm::data::tokens::Tokens;
use multinorm::train::Trainer;
use multinorm::{Error, Result};
use serde_json::json;
use web_time::Instant;

use crate::cli::DeviceArgs;
use crate::cli::output::print_json;
use crate::cli::train::read_config;

pub fn run(device: &DeviceArgs, json: bool, path: Option<&Path>, sets: &[String], steps: usize) -> Result<()> {
    let gpu = Arc::new(device.open()?);
    let mut config = read_config(path, None, sets, &gpu.profile)?;
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

/// Tokens without meaning, for one epoch: a step costs the same whatever they say.
fn random_tokens(config: &RunConfig) -> Dataset {
    let vocab = config.model.vocab_size as u64;
    let n = (config.train.steps + 2) * config.train.tokens_per_step() as u64 + 1;
    let token = |i: u64| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33) % vocab;
    let tokens = Tokens::Owned((0..n).map(|i| token(i) as u32).collect());
    Dataset::unsplit("random", tokens, config.model.vocab_size)
}
