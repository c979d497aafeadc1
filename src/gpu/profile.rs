//! What is known about a device: enough to record for it without having one.

use std::collections::BTreeMap;

use super::kernel::{Kernel, Need};

/// What a recorder must know about the device; enough to plan memory without one.
#[derive(Clone, Debug)]
pub struct Profile {
    /// Bytes of the largest range a kernel can bind.
    pub max_binding_bytes: u64,
    /// Bytes of the largest buffer.
    pub max_buffer_bytes: u64,
    /// Alignment of a binding's offset, in bytes.
    pub offset_alignment: u64,
    /// Whether kernels can be timed individually.
    pub timestamps: bool,
    /// Whether this is a software adapter, for which other variants are fastest.
    pub software: bool,
    /// Whether kernels can use half precision.
    pub f16: bool,
    /// Subgroup size, if the adapter has subgroup operations and one fixed size.
    pub subgroup_lanes: Option<u32>,
    /// Smallest subgroup size, a power of two, if the adapter has subgroup operations.
    pub min_subgroup_lanes: Option<u32>,
    /// Cooperative matrices of 16×16 with f16 operands and f32 sums.
    pub matrix_units: bool,
    /// Whether f32 matrices may be multiplied on f16 matrix units, each operand split into a sum of two halves.
    pub splits_f32: bool,
    /// Bytes of workgroup memory.
    pub max_workgroup_bytes: u32,
    /// Invocations of a workgroup.
    pub max_invocations: u32,
    /// The fastest measured variant per use; takes precedence over the rules.
    pub choices: BTreeMap<String, String>,
}

impl Profile {
    /// Without matrix units: only the adapter can report the supported sizes; see [`has_matrix_units`].
    pub(super) fn of(info: &wgpu::AdapterInfo, limits: &wgpu::Limits, features: wgpu::Features) -> Self {
        let software = info.device_type == wgpu::DeviceType::Cpu;
        let subgroups = features.contains(wgpu::Features::SUBGROUP);
        let one_size = subgroups && info.subgroup_min_size == info.subgroup_max_size;
        Self {
            f16: features.contains(wgpu::Features::SHADER_F16),
            subgroup_lanes: one_size.then_some(info.subgroup_min_size),
            min_subgroup_lanes: subgroups.then_some(info.subgroup_min_size),
            splits_f32: false,
            matrix_units: false,
            max_workgroup_bytes: limits.max_compute_workgroup_storage_size,
            max_invocations: limits.max_compute_invocations_per_workgroup,
            choices: BTreeMap::new(),
            max_binding_bytes: limits.max_storage_buffer_binding_size,
            max_buffer_bytes: limits.max_buffer_size,
            offset_alignment: u64::from(limits.min_storage_buffer_offset_alignment),
            timestamps: features.contains(wgpu::Features::TIMESTAMP_QUERY),
            software,
        }
    }

    /// A GPU with WebGPU's default limits, which every browser provides.
    pub fn webgpu_default() -> Self {
        let limits = wgpu::Limits::default();
        Self {
            max_binding_bytes: limits.max_storage_buffer_binding_size,
            max_buffer_bytes: limits.max_buffer_size,
            offset_alignment: u64::from(limits.min_storage_buffer_offset_alignment),
            timestamps: false,
            software: false,
            f16: false,
            subgroup_lanes: None,
            min_subgroup_lanes: None,
            matrix_units: false,
            splits_f32: false,
            max_workgroup_bytes: limits.max_compute_workgroup_storage_size,
            max_invocations: limits.max_compute_invocations_per_workgroup,
            choices: BTreeMap::new(),
        }
    }

    /// Whether the adapter supports everything that a kernel needs.
    pub fn runs(&self, kernel: &Kernel) -> bool {
        kernel.needs.iter().all(|need| self.has(*need))
    }

    /// Whether the adapter supports this need.
    pub fn has(&self, need: Need) -> bool {
        match need {
            Need::F16 => self.f16,
            Need::Subgroups(lanes) => self.subgroup_lanes == Some(lanes),
            Need::AnySubgroups => self.min_subgroup_lanes.is_some(),
            Need::MatrixUnits => self.matrix_units,
            Need::WorkgroupBytes(bytes) => bytes <= self.max_workgroup_bytes,
            Need::Invocations(n) => n <= self.max_invocations,
        }
    }
}

/// The features that at least one kernel can use.
pub(super) fn useful_features() -> wgpu::Features {
    wgpu::Features::TIMESTAMP_QUERY
        | wgpu::Features::SHADER_F16
        | wgpu::Features::SUBGROUP
        | wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX
}

/// Whether the adapter's cooperative matrices have the size and types that the kernels use.
pub(super) fn has_matrix_units(adapter: &wgpu::Adapter) -> bool {
    adapter.cooperative_matrix_properties().iter().any(|shape| {
        [shape.m_size, shape.n_size, shape.k_size] == [16; 3]
            && shape.ab_type == wgpu::CooperativeScalarType::F16
            && shape.cr_type == wgpu::CooperativeScalarType::F32
    })
}
