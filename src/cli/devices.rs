//! `multinorm devices`.

use clap::Args;
use multinorm::Result;
use multinorm::config::{RunConfig, RunDefaults};
use multinorm::gpu::{AdapterReport, Profile, bytes_in_words, list_adapters};
use multinorm::kernels::matmul::{Layout, Numbers, Product, select};
use multinorm::train::kept_variants;
use serde_json::json;

use super::DeviceArgs;
use super::console::out;
use super::output::print_json;

#[derive(Args)]
#[command(after_help = "Examples:
  multinorm devices
  multinorm devices --backend vulkan --json")]
pub struct DevicesArgs {
    /// Print one JSON document instead of a table
    #[arg(long)]
    json: bool,
}

pub fn run(device: &DeviceArgs, args: &DevicesArgs) -> Result<()> {
    let adapters = pollster::block_on(list_adapters(&device.choice()))?;
    let cache = RunConfig::load(None, &[], RunDefaults::Gpu)?.data.cache_dir();
    let by_rule = |adapter: &AdapterReport| {
        let profile = Profile { splits_f32: adapter.profile.matrix_units, ..adapter.profile.clone() };
        select(&profile, &Product { layout: Layout::Nt, mnk: [2048; 3], matrices: 1, numbers: Numbers::Single })
            .to_string()
    };
    let kept = |adapter: &AdapterReport| kept_variants(&adapter.profile, &adapter.name, &adapter.full_driver, &cache);
    if args.json {
        let document = |adapter: &AdapterReport| {
            let mut document = json!(adapter);
            document["variants"] = json!({ "large_product_by_rule": by_rule(adapter), "measured": kept(adapter) });
            document
        };
        return print_json(&adapters.iter().map(document).collect::<Vec<_>>());
    }
    for adapter in &adapters {
        let mark = if adapter.selected { "*" } else { " " };
        out!("{mark} {}: {} ({}, {})", adapter.index, adapter.name, adapter.backend, adapter.device_type);
        out!("     driver      {}", adapter.driver);
        out!("     features    {}", adapter.features.join(", "));
        let limits = &adapter.limits;
        out!(
            "     limits      buffer {}, binding {}, workgroup memory {}, {} invocations, {} storage buffers",
            bytes_in_words(limits.max_buffer_size),
            bytes_in_words(limits.max_storage_buffer_binding_size),
            bytes_in_words(u64::from(limits.max_compute_workgroup_storage_size)),
            limits.max_compute_invocations_per_workgroup,
            limits.max_storage_buffers_per_shader_stage,
        );
        let kept = kept(adapter);
        let measured = match kept.len() {
            _ if adapter.device_type == "software" => "nothing is measured on a software adapter".to_owned(),
            0 => format!("none was measured and kept in {}", cache.join("variants").display()),
            n => format!("{n} products measured and kept in {}:", cache.join("variants").display()),
        };
        out!("     variants    a large product by {}, by rule; {measured}", by_rule(adapter));
        for (what, variant) in kept {
            out!("                 {what}: {variant}");
        }
    }
    Ok(())
}
