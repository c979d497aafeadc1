//! The lab: one egui panel, in a desktop window or a web page, that trains a small LLaMA live and shows what
//! normalization does to its gradients.
//!
//! It does no mathematics of its own: the command line's [`multinorm::train::Trainer`] trains on the device that draws,
//! and `multinorm` computes everything that is shown.
//!
//! | module | contents |
//! |---|---|
//! | `settings` | what is selected, as a link and as a configuration |
//! | `engine` | the training task: commands in, events out |
//! | `lab` | the state: what has been seen of the runs |
//! | `panels` | the views |
//! | `chart`, `theme` | how plots and everything else look |
//! | `platform` | threads or a worker, files or downloads |
//! | `page` | the JavaScript interface (wasm only) |

mod app;
mod chart;
mod engine;
mod lab;
#[cfg(target_arch = "wasm32")]
mod page;
mod panels;
mod platform;
pub mod settings;
#[cfg(test)]
mod tests;
mod theme;

#[cfg(not(target_arch = "wasm32"))]
pub use app::Orders;
pub use app::{App, Start};
pub use lab::{Arrival, FolderRun, Text};
#[cfg(not(target_arch = "wasm32"))]
pub use platform::open;

use std::sync::Arc;

use eframe::egui_wgpu::{WgpuConfiguration, WgpuSetup, WgpuSetupCreateNew};
use eframe::wgpu;

/// Requests the adapter's full limits, timestamp queries and f16, so that larger models fit, kernels can be timed, and
/// activations can use half precision.
pub fn wgpu_configuration() -> WgpuConfiguration {
    let mut setup = WgpuSetupCreateNew::without_display_handle();
    setup.device_descriptor = Arc::new(|adapter| wgpu::DeviceDescriptor {
        label: Some("multinorm-lab"),
        required_features: adapter.features() & (wgpu::Features::TIMESTAMP_QUERY | wgpu::Features::SHADER_F16),
        required_limits: adapter.limits(),
        ..Default::default()
    });
    WgpuConfiguration { wgpu_setup: WgpuSetup::CreateNew(setup), ..Default::default() }
}

/// This project's documentation, in place of a corpus that could not be fetched.
pub fn own_words() -> Text {
    let text = [
        include_str!("../../README.md"),
        include_str!("../../docs/fixed_point.md"),
        include_str!("../../ARCHITECTURE.md"),
    ];
    Text { name: "this project's documentation".into(), license: "MIT or Apache-2.0".into(), text: text.join("\n") }
}
