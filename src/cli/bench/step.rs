//! `multinorm bench step`: one training step on random tokens.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use multinorm::config::{Role, RunConfig};
use multinorm::gpu::{Gpu, Schedule, Span, bytes_in_words};
use multinorm::train::{Plan, Trainer, forward_passes};
use multinorm::{Error, Result};
use serde::Serialize;
use serde_json::json;
use web_time::Instant;

use super::ceilings::Ceilings;
use super::trace::Trace;
use super::{Settings, document, random_tokens};
use crate::cli::DeviceArgs;
use crate::cli::console::out;
use crate::cli::output::{memory_table, print_json};
use crate::cli::train::{choose_variants, read_config};

#[derive(Args)]
pub struct StepArgs {
    #[command(flatten)]
    settings: Settings,
    /// Number of steps to time after the first
    #[arg(long, default_value_t = 10)]
    steps: usize,
    /// Write a timeline of host and device, to open in ui.perfetto.dev
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
}

/// A kernel's share of a step.
#[derive(Serialize)]
struct Row {
    plan: Plan,
    kernel: &'static str,
    dispatches: usize,
    secs: f64,
    /// Fraction of the time of all kernels of the step.
    share_of_step: f64,
    /// Seconds at the ceilings, with every tensor moved once.
    least_secs: f64,
}

/// The measurements of one run.
struct Measured {
    ceilings: Ceilings,
    trainer: Trainer,
    first_secs: f64,
    /// For each steady step with a wait after it: seconds until all is submitted, and until all is done.
    host_and_step_secs: Vec<[f64; 2]>,
    /// Seconds per step for the same number of steps without waiting: the host submits while the device works, as in a
    /// run.
    secs_in_a_row: f64,
    /// Seconds on the device, without gaps between dispatches; `None` without time stamps.
    device_secs: Option<f64>,
    rows: Vec<Row>,
    /// Bytes the dispatches of a step read and write, with each tensor counted once.
    ideal_bytes: u64,
    trace: Trace,
}

pub fn run(device: &DeviceArgs, json: bool, args: &StepArgs) -> Result<()> {
    let mut gpu = device.open()?;
    if let Some(path) = &args.trace
        && !gpu.profile.timestamps
    {
        let message = format!("{} has no time stamps: no trace to write to {}", gpu.adapter_name, path.display());
        return Err(Error::Gpu(message));
    }
    let Settings { config, sets } = &args.settings;
    let mut config = read_config(config.as_deref(), None, sets, &gpu.profile)?;
    let steps = args.steps.max(1) as u64;
    config.train.steps = 1 + 2 * steps;
    config.eval.text_tokens = 0;
    choose_variants(&mut gpu, None, std::slice::from_ref(&config))?;
    let gpu = Arc::new(gpu);
    let measured = pollster::block_on(measure(&gpu, &config, steps))?;
    if let Some(path) = &args.trace {
        measured.trace.write(path, document(&gpu, json!({ "model": config.model })))?;
    }
    report(&gpu, json, &config, &measured)
}

async fn measure(gpu: &Arc<Gpu>, config: &RunConfig, steps: u64) -> Result<Measured> {
    let ceilings = Ceilings::measure(gpu).await?;
    let dataset = Arc::new(random_tokens(config));
    let began = Instant::now();
    let mut trace = Trace::new(began);
    let mut trainer = Trainer::new(gpu.clone(), config.clone(), dataset).await?;
    trace.host(&Span::since("start", began));
    trainer.spans().iter().for_each(|span| trace.host(span));
    let mut host_and_step_secs = Vec::new();
    let mut first_secs = 0.0;
    for step in 0..=steps {
        let began_step = Instant::now();
        trainer.step().await?;
        let submit = Span::since("submit", began_step);
        let began_wait = Instant::now();
        trainer.drain().await?;
        let wait = Span::since("wait", began_wait);
        let whole = Span::since(if step == 0 { "first step" } else { "step" }, began_step);
        [&whole, &submit, &wait].into_iter().for_each(|span| trace.host(span));
        match step {
            0 => first_secs = began.elapsed().as_secs_f64(),
            _ => host_and_step_secs.push([submit.secs(), whole.secs()]),
        }
    }
    let began_row = Instant::now();
    for _ in 0..steps {
        trainer.step().await?;
    }
    trainer.drain().await?;
    let row = Span::since("steps in a row", began_row);
    trace.host(&row);
    let secs_in_a_row = row.secs() / steps as f64;
    let workspace = trainer.workspace();
    let (mut rows, mut ideal_bytes, mut device_secs) = (Vec::<Row>::new(), 0, 0.0);
    for (plan, replays) in trainer.plans_of_step() {
        let name = plan.name();
        let order = workspace.replayed(name, Schedule::None);
        ideal_bytes += replays as u64 * order.iter().map(|&at| workspace.dispatch(name, at).bytes()).sum::<u64>();
        if !gpu.profile.timestamps {
            continue;
        }
        device_secs += replays as f64 * workspace.time_replays(gpu, name, Schedule::None, 1).await?;
        let began = Instant::now();
        let times = workspace.time_dispatches(gpu, name, Schedule::None).await?;
        trace.host(&Span::since("timed replay", began));
        trace.device(workspace, name, &times);
        for time in times {
            let info = workspace.dispatch(name, time.dispatch);
            let (kernel, secs) = (info.kernel.name, replays as f64 * time.secs);
            let least_secs = replays as f64 * ceilings.least_secs(info).0;
            match rows.iter_mut().find(|row| (row.plan, row.kernel) == (plan, kernel)) {
                Some(row) => {
                    row.dispatches += replays;
                    row.secs += secs;
                    row.least_secs += least_secs;
                }
                None => {
                    rows.push(Row { plan, kernel, dispatches: replays, secs, share_of_step: 0.0, least_secs });
                }
            }
        }
    }
    let total: f64 = rows.iter().map(|row| row.secs).sum();
    rows.iter_mut().for_each(|row| row.share_of_step = row.secs / total);
    rows.sort_by(|a, b| b.secs.total_cmp(&a.secs));
    let device_secs = gpu.profile.timestamps.then_some(device_secs);
    Ok(Measured {
        ceilings,
        trainer,
        first_secs,
        host_and_step_secs,
        secs_in_a_row,
        device_secs,
        rows,
        ideal_bytes,
        trace,
    })
}

/// Floating-point operations of the model in a step, without recomputation. For each token, every weight in a product
/// takes two forward and four backward; causal attention takes two products over T(T+1)/2 pairs, and twice as many
/// backward. Without gradients only the forward operations count, once per loss.
fn model_flops(config: &RunConfig, training_tokens: usize) -> f64 {
    let model = &config.model;
    let multiplies = |role: Role| matches!(role, Role::Linear | Role::Head);
    let specs = model.parameters_of_model();
    let mut weights: usize = specs.iter().filter(|spec| multiplies(spec.role)).map(|spec| spec.n_elements()).sum();
    if model.tie_word_embeddings {
        weights += model.vocab_size * model.hidden_size;
    }
    let (tokens, seq) = (config.train.tokens_per_step() as f64, config.train.sequence_length as f64);
    let attention = (2 * model.num_hidden_layers * model.query_size()) as f64 * (seq + 1.0);
    let forward = tokens * (2.0 * weights as f64 + attention);
    match config.optimizer.zeroth_order() {
        None => 3.0 * forward,
        Some(_) => forward * forward_passes(config, training_tokens) as f64 / config.train.steps as f64,
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn report(gpu: &Gpu, json: bool, config: &RunConfig, measured: &Measured) -> Result<()> {
    let Measured { ceilings, trainer, first_secs, host_and_step_secs, device_secs, rows, ideal_bytes, .. } = measured;
    let step_secs = measured.secs_in_a_row;
    let secs_alone = median(host_and_step_secs.iter().map(|[_, step]| *step));
    let host_secs = median(host_and_step_secs.iter().map(|[host, _]| *host));
    let tokens_per_step = config.train.tokens_per_step();
    let flops = model_flops(config, random_tokens(config).train.len());
    let utilisation = flops / step_secs / ceilings.fma_flops_per_sec;
    let of_units = ceilings.matrix_units_flops_per_sec.map(|ceiling| flops / step_secs / ceiling);
    let ideal_secs = ceilings.memory_secs(*ideal_bytes);
    let memory = trainer.memory();
    if json {
        let starts: serde_json::Map<_, _> =
            trainer.spans().iter().map(|span| (format!("{}_secs", span.name), json!(span.secs()))).collect();
        return print_json(&document(
            gpu,
            json!({
                "parameters": config.model.n_parameters(), "tokens_per_step": tokens_per_step,
                "first_step_secs": first_secs, "start": starts,
                "step_secs": host_and_step_secs.iter().map(|[_, step]| *step).collect::<Vec<_>>(),
                "median_secs": secs_alone, "in_a_row_secs": step_secs, "tokens_per_sec": tokens_per_step as f64 / step_secs,
                "host_secs": host_secs, "device_secs": device_secs,
                "model_flops": flops, "utilisation_of_multiply_add": utilisation, "utilisation_of_matrix_units": of_units,
                "ideal_bytes": ideal_bytes, "ideal_bytes_secs": ideal_secs,
                "memory": memory, "peak_bytes": memory.total(), "ceilings": ceilings, "kernels": rows,
                "variants": trainer.workspace().choices,
            }),
        ));
    }
    out!("adapter        {} ({})", gpu.adapter_name, gpu.driver);
    ceilings.print();
    out!("parameters     {}, {tokens_per_step} tokens a step", config.model.n_parameters());
    let starts: Vec<String> =
        trainer.spans().iter().map(|span| format!("{} {:.2} s", span.name, span.secs())).collect();
    out!("first step     {first_secs:.2} s: {}, and the step itself", starts.join(", "));
    out!(
        "steady step    {:.1} ms of {} in a row, {:.0} tokens/s; {:.1} ms where each is waited for (median)",
        step_secs * 1e3,
        host_and_step_secs.len(),
        tokens_per_step as f64 / step_secs,
        secs_alone * 1e3
    );
    let device = device_secs.map_or_else(|| "not measured".into(), |secs| format!("{:.1} ms", secs * 1e3));
    out!("host, device   {:.1} ms until all is submitted; {device} on the device", host_secs * 1e3);
    let of_units = of_units.map_or_else(String::new, |share| format!(", {:.1} % of the matrix units'", share * 100.0));
    out!(
        "utilisation    {:.1} GFLOP of the model a step: {:.1} % of the multiply-add ceiling{of_units}",
        flops / 1e9,
        utilisation * 100.0
    );
    out!("ideal bytes    {} a step, {:.1} ms at the copy ceiling", bytes_in_words(*ideal_bytes), ideal_secs * 1e3);
    out!("{}", memory_table(&[("bytes", memory)]));
    out!("\nvariants");
    for (what, choice) in &trainer.workspace().choices {
        out!("  {what:<72} {}", choice.variant);
    }
    if rows.is_empty() {
        out!("{} has no time stamps: kernels are not timed", gpu.adapter_name);
        return Ok(());
    }
    out!("\n{:<26}{:<34}{:>6}{:>13}{:>9}{:>13}", "plan", "kernel", "", "ms", "share", "ceiling ms");
    for row in rows {
        out!(
            "{:<26}{:<34}{:>6}{:>13.3}{:>8.1}%{:>13.3}",
            row.plan,
            row.kernel,
            row.dispatches,
            row.secs * 1e3,
            row.share_of_step * 100.0,
            row.least_secs * 1e3
        );
    }
    Ok(())
}
