//! `multinorm devices`.

use clap::Args;
use multinorm::Result;
use multinorm::gpu::{bytes_in_words, list_adapters};

use super::DeviceArgs;
use super::output::print_json;

#[derive(Args)]
pub struct DevicesArgs {
    /// One JSON document instead of a table
    #[arg(long)]
    json: bool,
}

pub fn run(device: &DeviceArgs, args: &DevicesArgs) -> Result<()> {
    let adapters = pollster::block_on(list_adapters(&device.choice()))?;
    if args.json {
        return print_json(&adapters);
    }
    for adapter in &adapters {
        let mark = if adapter.selected { "*" } else { " " };
        println!("{mark} {}: {} ({}, {})", adapter.index, adapter.name, adapter.backend, adapter.device_type);
        println!("     driver      {}", adapter.driver);
        println!("     features    {}", adapter.features.join(", "));
        let limits = &adapter.limits;
        println!(
            "     limits      buffer {}, binding {}, workgroup memory {}, {} invocations, {} storage buffers",
            bytes_in_words(limits.max_buffer_size),
            bytes_in_words(limits.max_storage_buffer_binding_size),
            bytes_in_words(u64::from(limits.max_compute_workgroup_storage_size)),
            limits.max_compute_invocations_per_workgroup,
            limits.max_storage_buffers_per_shader_stage,
        );
        println!("     variants    matrix products by {}", adapter.variants.matmul);
    }
    Ok(())
}
