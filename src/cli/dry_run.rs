//! `multinorm train --dry-run`: the memory a run will need, and the largest runs that fit in given memory sizes.

use std::collections::BTreeMap;
use std::path::Path;

use multinorm::config::{OptimizerConfig, Precision, Recompute, RunConfig};
use multinorm::gpu::{Class, Memory, Profile, bytes_in_words};
use multinorm::train::{Recorded, record_training, record_training_recomputing};
use multinorm::{Error, Result};
use serde_json::json;

use super::DeviceArgs;
use super::console::out;
use super::fit::{self, Size};
use super::largest::check_run;
use super::output::{memory_table, print_json, recompute_in_words, recompute_table, type_table};
use super::planned::{Planned, original_variants};

/// `settings` returns the run's settings for an adapter profile; `resumed` is the directory of the run to resume.
pub fn dry_run(
    device: &DeviceArgs,
    settings: &dyn Fn(&Profile) -> Result<RunConfig>,
    resumed: Option<&Path>,
    fit: Option<&[String]>,
    json: bool,
) -> Result<()> {
    let sizes = fit.map(Size::parse_all).transpose()?;
    let gpu = match device.open() {
        Err(Error::NoAdapter(_)) => None,
        other => Some(other?),
    };
    let original_variants = original_variants(resumed)?;
    let planned = match (gpu, &sizes) {
        (Some(gpu), _) => {
            Planned { name: gpu.adapter_name.clone(), profile: gpu.profile.clone(), gpu: Some(gpu), original_variants }
        }
        (None, None) => {
            let name = "none found; WebGPU's default limits".into();
            Planned { name, profile: Profile::webgpu_default(), gpu: None, original_variants }
        }
        (None, Some(_)) => {
            let name = "none found; a GPU with half precision and bindings of 2 GiB is assumed".into();
            Planned { name, profile: fit::assumed_profile(), gpu: None, original_variants }
        }
    };
    let config = settings(&planned.profile)?;
    match sizes {
        Some(sizes) => fit::print(&planned, &config, &sizes, json),
        None => print(&planned, &config, json),
    }
}

fn print(planned: &Planned, config: &RunConfig, json: bool) -> Result<()> {
    let profile = planned.profile_of(config)?;
    let memory_of = |optimizer: OptimizerConfig| -> Result<Memory> {
        Ok(record_training(&config.clone().with_optimizer(optimizer), &profile)?.recorder.memory())
    };
    let sinkgd = memory_of(OptimizerConfig::named("sinkgd")?)?;
    let adamw = memory_of(OptimizerConfig::named("adamw")?)?;
    let Recorded { recorder, recompute, precision, .. } = record_training(config, &profile)?;
    let (this, by_type, fits) = (recorder.memory(), recorder.memory_by_type(), check_run(config, &profile));
    // A zeroth-order method takes the difference of two losses, which needs single precision.
    let precisions = if config.optimizer.zeroth_order().is_some() { &BOTH[..1] } else { &BOTH[..] };
    let grid: Vec<(Precision, Vec<(Recompute, Memory)>)> = precisions
        .iter()
        .map(|&precision| Ok((precision, recomputing(planned, config, precision)?)))
        .collect::<Result<_>>()?;
    if json {
        let kinds = |kinds: &[(Recompute, Memory)]| -> BTreeMap<_, _> {
            kinds.iter().map(|(kind, memory)| (kind.name(), memory.clone())).collect()
        };
        let of_this = grid.iter().find(|(other, _)| *other == precision).expect("f32 or f16");
        return print_json(&json!({
            "adapter": planned.name,
            "half_precision": planned.profile.f16,
            "parameters": config.model.n_parameters(),
            "tokens_per_step": config.train.tokens_per_step(),
            "precision": precision,
            "memory": this,
            "memory_by_type": by_type,
            "memory_sinkgd": sinkgd,
            "memory_adamw": adamw,
            "recompute": recompute,
            "memory_recompute": kinds(&of_this.1),
            "memory_precision": grid.iter().map(|(precision, memory)| (precision.name(), kinds(memory))).collect::<BTreeMap<_, _>>(),
            "fits": fits.is_ok(),
        }));
    }
    out!("{}", config.to_toml());
    out!("adapter       {}", planned.name);
    out!("parameters    {}", config.model.n_parameters());
    out!("tokens/step   {}", config.train.tokens_per_step());
    out!("\n{}", memory_table(&[("this run", &this), ("with sinkgd", &sinkgd), ("with adamw", &adamw)]));
    out!("\n{}", type_table(&by_type));
    let kept = |memory: &Memory| memory.bytes(Class::Parameters) + memory.bytes(Class::OptimizerState);
    out!(
        "\nweights and optimizer state, in f32: sinkgd {}, adamw {}; counted in bf16, as papers do: sinkgd {}, adamw {}",
        bytes_in_words(kept(&sinkgd)),
        bytes_in_words(kept(&adamw)),
        bytes_in_words(kept(&sinkgd) / 2),
        bytes_in_words(kept(&adamw) / 2)
    );
    out!("\n{}", recompute_table(&grid));
    if precisions.contains(&Precision::F16) && !planned.profile.f16 {
        out!("this adapter has no half precision: the f16 columns are for one that does");
    }
    out!("\nprecision     {}", precision.name());
    out!("recompute     {}", recompute_in_words(config.train.recompute, recompute));
    match fits {
        Ok(_) => out!("every buffer fits this adapter's limits"),
        Err(error) => out!("this run does not fit this adapter: {error}"),
    }
    Ok(())
}

const BOTH: [Precision; 2] = [Precision::F32, Precision::F16];

/// The memory of a run with activations in `precision`, for every kind of recomputation. For half precision on an
/// adapter without it, the memory on an adapter with it.
fn recomputing(planned: &Planned, config: &RunConfig, precision: Precision) -> Result<Vec<(Recompute, Memory)>> {
    let mut config = config.clone();
    config.train.precision = precision;
    let profile = if precision == Precision::F16 && !planned.profile.f16 {
        Profile { f16: true, ..planned.profile.clone() }
    } else {
        planned.profile_of(&config)?
    };
    let memory = |kind| Ok((kind, record_training_recomputing(&config, &profile, kind)?.recorder.memory()));
    Recompute::ALL.into_iter().map(memory).collect()
}
