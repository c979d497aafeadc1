//! Choosing an adapter: listing, ranking, selection by name or index.

use serde::Serialize;

use super::profile::{Profile, has_matrix_units};
use crate::{Error, Result};

/// What to do when no adapter is found, per operating system.
pub const NO_ADAPTER_HELP: &str = "\
no GPU adapter was found. On Linux install a Vulkan driver: for a machine without a GPU Mesa's software driver \
(Debian and Ubuntu: `apt-get install mesa-vulkan-drivers`; Fedora: `dnf install mesa-vulkan-drivers`; Arch: \
`pacman -S vulkan-swrast`), else the one of your GPU's maker. macOS needs Metal (10.13 or later), Windows DirectX 12 \
or a Vulkan driver; both come with the system. In a browser WebGPU must be switched on.";

/// A graphics API the user may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackendName {
    /// Vulkan.
    Vulkan,
    /// Apple's Metal.
    Metal,
    /// Direct3D 12.
    Dx12,
    /// OpenGL with compute shaders.
    Gl,
}

/// What the user asked for; the default is the best adapter of all.
#[derive(Clone, Debug, Default)]
pub struct AdapterChoice {
    /// A part of the adapter's name, ignoring case, or its index in [`list_adapters`].
    pub adapter: Option<String>,
    /// Only adapters of this backend.
    pub backend: Option<BackendName>,
}

/// One adapter as `multinorm devices` shows it.
#[derive(Clone, Debug, Serialize)]
pub struct AdapterReport {
    /// Index in the list; `--adapter` accepts it.
    pub index: usize,
    /// The vendor's name for it.
    pub name: String,
    /// `vulkan`, `metal`, `dx12`, `gl` or `webgpu`.
    pub backend: String,
    /// `discrete`, `integrated`, `virtual`, `software` or `other`.
    pub device_type: String,
    /// Driver and its version.
    pub driver: String,
    /// The adapter's features that this program can use.
    pub features: Vec<String>,
    /// The limits that decide what fits.
    pub limits: LimitsReport,
    /// Whether a command would use this one.
    pub selected: bool,
    /// What an open device would report as its driver.
    #[serde(skip)]
    pub full_driver: String,
    /// What a recorder would know about it.
    #[serde(skip)]
    pub profile: Profile,
}

/// The limits that decide what fits.
#[derive(Clone, Debug, Serialize)]
pub struct LimitsReport {
    /// Bytes of the largest buffer.
    pub max_buffer_size: u64,
    /// Bytes of the largest range a kernel can bind.
    pub max_storage_buffer_binding_size: u64,
    /// Storage buffers per kernel.
    pub max_storage_buffers_per_shader_stage: u32,
    /// Bytes of workgroup memory.
    pub max_compute_workgroup_storage_size: u32,
    /// Invocations of a workgroup.
    pub max_compute_invocations_per_workgroup: u32,
    /// Workgroups per dimension.
    pub max_compute_workgroups_per_dimension: u32,
}

impl AdapterChoice {
    /// The choice named by the environment variable `MULTINORM_ADAPTER`, if set.
    pub fn from_env() -> Self {
        Self { adapter: std::env::var("MULTINORM_ADAPTER").ok().filter(|name| !name.is_empty()), backend: None }
    }

    fn backends(&self) -> wgpu::Backends {
        match self.backend {
            None => wgpu::Backends::all(),
            Some(BackendName::Vulkan) => wgpu::Backends::VULKAN,
            Some(BackendName::Metal) => wgpu::Backends::METAL,
            Some(BackendName::Dx12) => wgpu::Backends::DX12,
            Some(BackendName::Gl) => wgpu::Backends::GL,
        }
    }

    /// The adapters of the requested backend, best first, and the index of the chosen one.
    pub(super) async fn choose(&self) -> Result<(Vec<wgpu::Adapter>, usize)> {
        let adapters = enumerate(self.backends()).await;
        if adapters.is_empty() {
            return Err(Error::NoAdapter(match self.backend {
                Some(backend) => {
                    format!("no adapter of the backend {backend:?} was found; `multinorm devices` lists all")
                }
                None => NO_ADAPTER_HELP.into(),
            }));
        }
        let Some(wanted) = &self.adapter else { return Ok((adapters, 0)) };
        let found = match wanted.parse::<usize>() {
            Ok(index) => (index < adapters.len()).then_some(index),
            Err(_) => adapters.iter().position(|a| a.get_info().name.to_lowercase().contains(&wanted.to_lowercase())),
        };
        let names: Vec<String> =
            adapters.iter().enumerate().map(|(i, a)| format!("{i}: {}", a.get_info().name)).collect();
        let index =
            found.ok_or_else(|| Error::NoAdapter(format!("no adapter {wanted:?}; available: {}", names.join(", "))))?;
        Ok((adapters, index))
    }
}

/// Every adapter of the requested backend, best first; `selected` marks the one that `choice` would use.
pub async fn list_adapters(choice: &AdapterChoice) -> Result<Vec<AdapterReport>> {
    let (adapters, selected) = choice.choose().await?;
    Ok(adapters.iter().enumerate().map(|(index, adapter)| report(index, adapter, index == selected)).collect())
}

/// The adapters of some backends, best first. OpenGL exposes the same hardware again with fewer features, and its
/// drivers are slow to load, so it is only tried if it was requested by name or nothing else has an adapter.
async fn enumerate(backends: wgpu::Backends) -> Vec<wgpu::Adapter> {
    if backends == wgpu::Backends::all() {
        let without_gl = enumerate_of(backends - wgpu::Backends::GL).await;
        if !without_gl.is_empty() {
            return without_gl;
        }
    }
    enumerate_of(backends).await
}

async fn enumerate_of(backends: wgpu::Backends) -> Vec<wgpu::Adapter> {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor {
        backends,
        ..wgpu::InstanceDescriptor::new_without_display_handle()
    });
    let mut adapters: Vec<wgpu::Adapter> = instance
        .enumerate_adapters(backends)
        .await
        .into_iter()
        .filter(|a| a.get_downlevel_capabilities().flags.contains(wgpu::DownlevelFlags::COMPUTE_SHADERS))
        .collect();
    adapters.sort_by_key(|adapter| match adapter.get_info().device_type {
        wgpu::DeviceType::DiscreteGpu => 0,
        wgpu::DeviceType::IntegratedGpu => 1,
        wgpu::DeviceType::VirtualGpu => 2,
        wgpu::DeviceType::Other => 3,
        wgpu::DeviceType::Cpu => 4,
    });
    adapters
}

fn report(index: usize, adapter: &wgpu::Adapter, selected: bool) -> AdapterReport {
    let info = adapter.get_info();
    let limits = adapter.limits();
    let mut profile = Profile::of(&info, &limits, adapter.features());
    profile.matrix_units &= has_matrix_units(adapter);
    let useful = [
        (wgpu::Features::TIMESTAMP_QUERY, "timestamp-query"),
        (wgpu::Features::SHADER_F16, "shader-f16"),
        (wgpu::Features::SUBGROUP, "subgroups"),
        (wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX, "cooperative-matrix"),
    ];
    AdapterReport {
        index,
        name: info.name.clone(),
        backend: info.backend.to_string(),
        device_type: device_type_name(info.device_type).into(),
        driver: driver_name(&info),
        features: useful.iter().filter(|f| adapter.features().contains(f.0)).map(|f| f.1.into()).collect(),
        limits: LimitsReport {
            max_buffer_size: limits.max_buffer_size,
            max_storage_buffer_binding_size: limits.max_storage_buffer_binding_size,
            max_storage_buffers_per_shader_stage: limits.max_storage_buffers_per_shader_stage,
            max_compute_workgroup_storage_size: limits.max_compute_workgroup_storage_size,
            max_compute_invocations_per_workgroup: limits.max_compute_invocations_per_workgroup,
            max_compute_workgroups_per_dimension: limits.max_compute_workgroups_per_dimension,
        },
        selected,
        full_driver: full_driver_name(&info),
        profile,
    }
}

fn device_type_name(device_type: wgpu::DeviceType) -> &'static str {
    match device_type {
        wgpu::DeviceType::DiscreteGpu => "discrete",
        wgpu::DeviceType::IntegratedGpu => "integrated",
        wgpu::DeviceType::VirtualGpu => "virtual",
        wgpu::DeviceType::Cpu => "software",
        wgpu::DeviceType::Other => "other",
    }
}

/// Backend, driver and version in one string.
pub(super) fn full_driver_name(info: &wgpu::AdapterInfo) -> String {
    format!("{}, {}", info.backend, driver_name(info))
}

/// Driver and version in one string.
fn driver_name(info: &wgpu::AdapterInfo) -> String {
    format!("{} {}", info.driver, info.driver_info).trim().to_string()
}
