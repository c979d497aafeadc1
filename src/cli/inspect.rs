//! `multinorm inspect`.

use std::path::PathBuf;

use clap::Args;
use multinorm::checkpoint::list_checkpoints;
use multinorm::config::{ModelConfig, ParameterSpec, Role};
use multinorm::gpu::bytes_in_words;
use multinorm::{Error, Result};
use serde::Serialize;
use serde_json::Value;

use super::console::out;
use super::model::Model;
use super::output::print_json;

#[derive(Args)]
#[command(after_help = "Examples:
  multinorm inspect runs/mine
  multinorm inspect SmolLM2-135M-Instruct.Q4_1.gguf
  multinorm inspect runs/mine --json | jq '.tensors[] | select(.largest > 1)'")]
pub struct InspectArgs {
    /// A run, checkpoint or model directory, or a .gguf file
    folder: PathBuf,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// The contents of a directory.
#[derive(Serialize)]
struct Contents {
    /// `None` if it is not a run directory.
    run: Option<RunContents>,
    /// The directory or file with the weights.
    model: PathBuf,
    config: ModelConfig,
    parameters: usize,
    tensors: Vec<TensorContents>,
}

#[derive(Serialize)]
struct RunContents {
    folder: PathBuf,
    /// Lines of metrics.jsonl: the last with a training loss, and the last evaluation.
    last_step: Option<Value>,
    last_evaluation: Option<Value>,
    checkpoints: Vec<PathBuf>,
}

#[derive(Serialize)]
struct TensorContents {
    name: String,
    role: Role,
    shape: Vec<usize>,
    mean: f64,
    std: f64,
    /// The largest magnitude.
    largest: f64,
}

pub fn run(args: &InspectArgs) -> Result<()> {
    let run = run_contents(args)?;
    let Model { folder, config, weights, .. } = Model::load(&args.folder)?;
    let tensors = config.parameters().into_iter().zip(&weights).map(|(spec, values)| of_tensor(spec, values));
    let (parameters, tensors) = (config.n_parameters(), tensors.collect());
    let contents = Contents { run, model: folder, config, parameters, tensors };
    if args.json { print_json(&contents) } else { print(&contents) }
}

fn run_contents(args: &InspectArgs) -> Result<Option<RunContents>> {
    let metrics = args.folder.join("metrics.jsonl");
    if !metrics.exists() {
        return Ok(None);
    }
    let text = std::fs::read_to_string(&metrics).map_err(Error::io("read", &metrics))?;
    let records: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let last = |key: &str| records.iter().rev().find(|record| record[key].is_number()).cloned();
    Ok(Some(RunContents {
        folder: args.folder.clone(),
        last_step: last("loss"),
        last_evaluation: last("eval_loss"),
        checkpoints: list_checkpoints(&args.folder)?.into_iter().map(|(_, path)| path).collect(),
    }))
}

fn of_tensor(spec: ParameterSpec, values: &[f32]) -> TensorContents {
    let n = values.len() as f64;
    let mean = values.iter().map(|&value| f64::from(value)).sum::<f64>() / n;
    let variance = values.iter().map(|&value| (f64::from(value) - mean).powi(2)).sum::<f64>() / n;
    let largest = values.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
    let ParameterSpec { name, role, shape, .. } = spec;
    TensorContents { name, role, shape, mean, std: variance.sqrt(), largest: largest.into() }
}

fn print(contents: &Contents) -> Result<()> {
    let Contents { run, model, config, parameters, tensors } = contents;
    if let Some(RunContents { folder, last_step, last_evaluation, checkpoints }) = run {
        let number = |record: &Value, key: &str| record[key].as_f64().unwrap_or(f64::NAN);
        out!("run           {}", folder.display());
        if let Some(record) = last_step {
            out!("last step     {}: training loss {:.4}", record["step"], number(record, "loss"));
        }
        if let Some(record) = last_evaluation {
            out!("evaluated     step {}: validation loss {:.4}", record["step"], number(record, "eval_loss"));
        }
        for path in checkpoints {
            out!("checkpoint    {}", path.display());
        }
    }
    out!("model         {}", model.display());
    out!(
        "sizes         hidden {}, intermediate {}, {} layers, {} heads ({} for keys and values), vocabulary {}",
        config.hidden_size,
        config.intermediate_size,
        config.num_hidden_layers,
        config.num_attention_heads,
        config.num_key_value_heads,
        config.vocab_size
    );
    out!("parameters    {parameters} ({} in f32)", bytes_in_words(4 * *parameters as u64));
    for (role, name) in [
        (Role::Embedding, "embedding"),
        (Role::Linear, "linear"),
        (Role::Norm, "norm"),
        (Role::Bias, "biases"),
        (Role::Head, "head"),
        (Role::Adapter, "adapters"),
    ] {
        let of_role = tensors.iter().filter(|tensor| tensor.role == role);
        let sizes = of_role.map(|tensor| tensor.shape.iter().product::<usize>());
        let (count, elements) = sizes.fold((0, 0), |(count, sum), size| (count + 1, sum + size));
        if [Role::Bias, Role::Adapter].contains(&role) && count == 0 {
            continue; // most models have none
        }
        out!("  {name:<12}{count:>5} tensors {elements:>14} parameters");
    }
    out!("{:<52}{:>16}{:>12}{:>12}{:>12}", "tensor", "shape", "mean", "std", "largest");
    for TensorContents { name, shape, mean, std, largest, .. } in tensors {
        out!("{name:<52}{:>16}{mean:>12.5}{std:>12.5}{largest:>12.5}", format!("{shape:?}"));
    }
    Ok(())
}
