//! `multinorm inspect`.

use std::path::PathBuf;

use clap::Args;
use multinorm::checkpoint::list_checkpoints;
use multinorm::config::Role;
use multinorm::gpu::bytes_in_words;
use multinorm::{Error, Result};
use serde_json::Value;

use super::console::out;
use super::model::Model;

#[derive(Args)]
pub struct InspectArgs {
    /// A run, checkpoint or model folder, or a .gguf file
    folder: PathBuf,
}

pub fn run(args: &InspectArgs) -> Result<()> {
    let metrics = args.folder.join("metrics.jsonl");
    if metrics.exists() {
        let text = std::fs::read_to_string(&metrics).map_err(Error::io("read", &metrics))?;
        let records: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let last = |key: &str| records.iter().rev().find(|record| record[key].is_number());
        out!("run           {}", args.folder.display());
        if let Some(record) = last("loss") {
            out!("last step     {}: training loss {:.4}", record["step"], record["loss"].as_f64().unwrap_or(f64::NAN));
        }
        if let Some(record) = last("eval_loss") {
            out!(
                "evaluated     step {}: validation loss {:.4}",
                record["step"],
                record["eval_loss"].as_f64().unwrap_or(f64::NAN)
            );
        }
        for (_, path) in list_checkpoints(&args.folder)? {
            out!("checkpoint    {}", path.display());
        }
    }
    let model = Model::load(&args.folder)?;
    let config = &model.config;
    out!("model         {}", model.folder.display());
    out!(
        "sizes         hidden {}, intermediate {}, {} layers, {} heads ({} for keys and values), vocabulary {}",
        config.hidden_size,
        config.intermediate_size,
        config.num_hidden_layers,
        config.num_attention_heads,
        config.num_key_value_heads,
        config.vocab_size
    );
    let specs = config.parameters();
    out!("parameters    {} ({} in f32)", config.n_parameters(), bytes_in_words(4 * config.n_parameters() as u64));
    for (role, name) in [
        (Role::Embedding, "embedding"),
        (Role::Linear, "linear"),
        (Role::Norm, "norm"),
        (Role::Bias, "biases"),
        (Role::Head, "head"),
        (Role::Adapter, "adapters"),
    ] {
        let of_role = specs.iter().filter(|spec| spec.role == role);
        let (count, elements) = of_role.fold((0, 0), |(count, sum), spec| (count + 1, sum + spec.n_elements()));
        if [Role::Bias, Role::Adapter].contains(&role) && count == 0 {
            continue; // most models have none
        }
        out!("  {name:<12}{count:>5} tensors {elements:>14} parameters");
    }
    out!("{:<52}{:>16}{:>12}{:>12}{:>12}", "tensor", "shape", "mean", "std", "largest");
    for (spec, values) in specs.iter().zip(&model.weights) {
        let n = values.len() as f64;
        let mean = values.iter().map(|&value| f64::from(value)).sum::<f64>() / n;
        let variance = values.iter().map(|&value| (f64::from(value) - mean).powi(2)).sum::<f64>() / n;
        let largest = values.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
        let shape = format!("{:?}", spec.shape);
        out!("{:<52}{shape:>16}{mean:>12.5}{:>12.5}{largest:>12.5}", spec.name, variance.sqrt());
    }
    Ok(())
}
