//! Element types.

use bytemuck::Pod;

/// The element type of a tensor; the only place that knows its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DType {
    /// IEEE single precision.
    F32,
    /// IEEE half precision.
    F16,
    /// Unsigned 32-bit integers: ids, indices, counts, and the words of structs with mixed fields.
    U32,
}

/// A host type whose values can be elements of a tensor.
pub trait Element: Pod {
    /// The tensor's element type.
    const DTYPE: DType;
}

impl Element for f32 {
    const DTYPE: DType = DType::F32;
}

impl Element for half::f16 {
    const DTYPE: DType = DType::F16;
}

impl Element for u32 {
    const DTYPE: DType = DType::U32;
}

impl DType {
    /// Bytes of one element.
    pub const fn size(self) -> u64 {
        match self {
            Self::F32 | Self::U32 => 4,
            Self::F16 => 2,
        }
    }

    /// The name in WGSL.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::U32 => "u32",
        }
    }

    pub(super) fn of_name(name: &str) -> Option<Self> {
        [Self::F32, Self::F16, Self::U32].into_iter().find(|dtype| dtype.name() == name)
    }

    /// Panics unless the host type matches this one.
    pub(super) fn check_host_type<T: Element>(self) {
        assert_eq!(T::DTYPE, self, "host values for a tensor");
    }
}
