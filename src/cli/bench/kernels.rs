//! `multinorm bench kernels`: the adapter's ceilings, then matrix products and every kernel of a training step, each
//! compared with its ceiling.

use std::sync::Arc;

use clap::Args;
use multinorm::config::RunConfig;
use multinorm::gpu::{DispatchInfo, Gpu, Schedule};
use multinorm::train::{Plan, Trainer};
use multinorm::{Error, Result};
use serde::Serialize;
use serde_json::json;

use super::ceilings::Ceilings;
use super::products::{self, Product};
use super::{Settings, clock, document, random_tokens, steady_secs, with_preset};
use crate::cli::DeviceArgs;
use crate::cli::console::out;
use crate::cli::output::print_json;
use crate::cli::train::{choose_variants, read_config};

#[derive(Args)]
pub struct KernelsArgs {
    #[command(flatten)]
    settings: Settings,
    /// Model presets [default: the model of the settings, else `tiny` on a software adapter and `60m` on a GPU]
    #[arg(long = "preset", value_delimiter = ',', value_name = "NAME,…")]
    presets: Vec<String>,
    /// Time only kernels whose name contains this
    #[arg(long, value_name = "NAME")]
    filter: Option<String>,
    /// Seconds to time each kernel for
    #[arg(long, default_value_t = 0.1, value_name = "S")]
    seconds: f64,
}

/// Dispatches of a step with the same kernel, constants and shapes.
#[derive(Serialize)]
struct Row {
    kernel: &'static str,
    shapes: Vec<Vec<usize>>,
    constants: serde_json::Value,
    per_step: usize,
    secs: f64,
    gflops: Option<f64>,
    gbytes_per_sec: f64,
    /// Fraction of the limiting ceiling: `multiply-add`, `matrix units` or `copy`.
    share_of_ceiling: f64,
    ceiling: &'static str,
    /// Fraction of the time of all kernels of the step.
    share_of_step: f64,
}

pub fn run(device: &DeviceArgs, json: bool, args: &KernelsArgs) -> Result<()> {
    let seconds_fit = args.seconds.is_finite() && args.seconds > 0.0;
    if !seconds_fit {
        return Err(Error::config("--seconds", format!("must be above 0, got {}", args.seconds)));
    }
    let mut gpu = device.open()?;
    let of_preset = |preset: &String| [&args.settings.sets[..], &[format!("model.preset={preset}")]].concat();
    let mut all_sets: Vec<Vec<String>> = args.presets.iter().map(of_preset).collect();
    if all_sets.is_empty() {
        let sets = &args.settings.sets;
        // A settings file names its own model.
        all_sets.push(if args.settings.config.is_some() { sets.clone() } else { with_preset(&gpu, sets) });
    }
    let configs = all_sets
        .iter()
        .map(|sets| read_config(args.settings.config.as_deref(), None, sets, &gpu.profile))
        .collect::<Result<Vec<_>>>()?;
    choose_variants(&mut gpu, None, &configs)?;
    pollster::block_on(measure(&Arc::new(gpu), json, args, configs))
}

async fn measure(gpu: &Arc<Gpu>, json: bool, args: &KernelsArgs, configs: Vec<RunConfig>) -> Result<()> {
    let ceilings = Ceilings::measure(gpu).await?;
    if !json {
        out!("adapter        {} ({}), timed by {}", gpu.adapter_name, gpu.driver, clock(gpu));
        ceilings.print();
    }
    let (mut all_products, mut models) = (Vec::new(), Vec::new());
    let wanted = |name: &str| args.filter.as_ref().is_none_or(|part| name.contains(part));
    for mut config in configs {
        if !json {
            out!(
                "\n{:<7}{:<22}{:>9}{:>12}{:>11}{:>7} {:<13}  kernels",
                "",
                "product",
                "error",
                "ms",
                "GFLOP/s",
                "%",
                "of"
            );
        }
        for asked in products::of_run(&config, &gpu.profile)? {
            if products::kernels_of(gpu, &asked).into_iter().any(wanted) {
                let product = products::measure(gpu, &ceilings, &asked, args.seconds).await?;
                if !json {
                    print_product(&product);
                }
                all_products.push(product);
            }
        }
        config.train.steps = 2;
        let tokens = config.train.tokens_per_step();
        let rows = of_step(gpu, &ceilings, config.clone(), args).await?;
        if !json {
            print_rows(&config, &rows);
        }
        let step_secs: f64 = rows.iter().map(|row| row.secs * row.per_step as f64).sum();
        models.push(json!({
            "model": config.model, "tokens_per_step": tokens, "kernels_secs": step_secs, "dispatches": rows,
        }));
    }
    if json {
        let figures = json!({ "ceilings": ceilings, "products": all_products, "models": models });
        return print_json(&document(gpu, figures));
    }
    out!("\nabove 100 % of a copy: a cache held what was read");
    Ok(())
}

/// Every distinct dispatch of an ordinary step, slowest in total first.
async fn of_step(gpu: &Arc<Gpu>, ceilings: &Ceilings, config: RunConfig, args: &KernelsArgs) -> Result<Vec<Row>> {
    let dataset = Arc::new(random_tokens(&config));
    let mut trainer = Trainer::new(gpu.clone(), config, dataset).await?;
    trainer.step().await?;
    trainer.drain().await?;
    let workspace = trainer.workspace();
    // One position of each distinct dispatch, and how many a step has.
    let mut distinct: Vec<(&DispatchInfo, (Plan, usize), usize)> = Vec::new();
    for (plan, replays) in trainer.plans_of_step() {
        for at in workspace.replayed(plan.name(), Schedule::None) {
            let info = workspace.dispatch(plan.name(), at);
            match distinct.iter_mut().find(|(known, ..)| *known == info) {
                Some((.., per_step)) => *per_step += replays,
                None => distinct.push((info, (plan, at), replays)),
            }
        }
    }
    if let Some(wanted) = &args.filter {
        distinct.retain(|(info, ..)| info.kernel.name.contains(wanted));
    }
    let mut rows = Vec::new();
    for (info, (plan, at), per_step) in distinct {
        trainer.forget_halt();
        let secs =
            steady_secs(args.seconds, async |replays| workspace.time_dispatch(gpu, plan.name(), at, replays).await)
                .await?;
        let (least, arithmetic) = ceilings.least_secs(info);
        rows.push(Row {
            kernel: info.kernel.name,
            shapes: info.shapes.clone(),
            constants: info.constants.iter().map(|&(name, value)| (name.to_owned(), json!(value))).collect(),
            per_step,
            secs,
            gflops: (info.flops > 0).then(|| info.flops as f64 / secs / 1e9),
            gbytes_per_sec: info.bytes() as f64 / secs / 1e9,
            share_of_ceiling: least / secs,
            ceiling: match arithmetic {
                true if ceilings.uses_matrix_units(info) => "matrix units",
                true => "multiply-add",
                false => "copy",
            },
            share_of_step: 0.0,
        });
    }
    let total: f64 = rows.iter().map(|row| row.secs * row.per_step as f64).sum();
    rows.iter_mut().for_each(|row| row.share_of_step = row.secs * row.per_step as f64 / total);
    rows.sort_by(|a, b| b.share_of_step.total_cmp(&a.share_of_step));
    Ok(rows)
}

fn print_product(product: &Product) {
    out!(
        "{:<7}{:<22}{:>9.1e}{:>12.4}{:>11.1}{:>6.1}% {:<13}  {}",
        product.layout,
        format!("{:?}", product.mnk),
        product.error,
        product.secs * 1e3,
        product.gflops,
        product.share_of_ceiling * 100.0,
        product.ceiling,
        product.kernels.join(", ")
    );
}

fn print_rows(config: &RunConfig, rows: &[Row]) {
    let step_secs: f64 = rows.iter().map(|row| row.secs * row.per_step as f64).sum();
    let (parameters, tokens) = (config.model.n_parameters(), config.train.tokens_per_step());
    out!(
        "\na step of {parameters} parameters on {tokens} tokens: {:.2} ms of kernels, each timed alone",
        step_secs * 1e3
    );
    out!("{:<32}{:>8}{:>9}{:>11}{:>16}{:>7} {:<13}  shapes", "kernel", "of step", "x a step", "ms", "speed", "%", "of");
    for row in rows {
        let speed = match row.gflops.filter(|_| row.ceiling != "copy") {
            Some(gflops) => format!("{gflops:.1} GFLOP/s"),
            None => format!("{:.1} GB/s", row.gbytes_per_sec),
        };
        let shapes: Vec<String> = row.shapes.iter().map(|shape| format!("{shape:?}").replace(' ', "")).collect();
        out!(
            "{:<32}{:>7.1}%{:>9}{:>11.4}{:>16}{:>6.1}% {:<13}  {}",
            row.kernel,
            row.share_of_step * 100.0,
            row.per_step,
            row.secs * 1e3,
            speed,
            row.share_of_ceiling * 100.0,
            row.ceiling,
            shapes.join(" ")
        );
    }
}
