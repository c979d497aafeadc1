//! A kernel is its WGSL: bindings, access and workgroup size stand there alone. What it needs of an adapter stands
//! beside it, where it is named.

use super::dtype::DType;

/// One entry point of WGSL with the library text it calls.
#[derive(Debug)]
pub struct Kernel {
    /// What it is called in time tables, errors and the debugger.
    pub name: &'static str,
    /// Stem of its file in `shaders/`, and the entry point's name. Several kernels may be made of one file, with different
    /// libraries.
    pub file: &'static str,
    /// `shaders/FILE.wgsl`, then its libraries: line numbers of messages are those of the kernel's own file.
    pub source: &'static str,
    /// What an adapter must have beyond WebGPU's default limits; see [`super::Profile::runs`].
    pub needs: &'static [Need],
}

/// Something that not every adapter has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Half precision in memory and in registers (`enable f16`).
    F16,
    /// Subgroup operations, in subgroups that all have this many lanes.
    Subgroups(u32),
    /// Subgroup operations, in subgroups of any size: the launcher gives the kernel no more lanes to exchange between than
    /// the smallest has.
    AnySubgroups,
    /// Cooperative matrices of 16×16 with f16 operands and f32 sums (`enable wgpu_cooperative_matrix`).
    MatrixUnits,
    /// More bytes of workgroup memory than the 16 KiB that every adapter gives.
    WorkgroupBytes(u32),
    /// More invocations a workgroup than the 256 that every adapter gives.
    Invocations(u32),
}

/// How a kernel may touch what is bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// `var<storage, read>`.
    Read,
    /// `var<storage, read_write>`.
    ReadWrite,
    /// `var<uniform>`: read.
    Uniform,
}

/// One `@group(0) @binding(n)` of a kernel, as its text declares it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Binding<'a> {
    /// The variable's name.
    pub name: &'a str,
    /// How it may be touched.
    pub access: Access,
    /// Type of the elements; none for a struct.
    pub dtype: Option<DType>,
}

impl Kernel {
    /// The bindings in their order, read off the text: nothing on the host says them a second time.
    ///
    /// A test compares them with what naga makes of the same text.
    pub fn bindings(&self) -> impl Iterator<Item = Binding<'static>> {
        let declared = self.source.lines().filter(|line| line.starts_with("@group(0) @binding("));
        declared.map(|line| binding(line).unwrap_or_else(|| panic!("{}: not a binding: {line}", self.name)))
    }
}

/// `@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;  // [M, K]`
fn binding(line: &str) -> Option<Binding<'_>> {
    let (space, declared) = line.split_once("var<")?.1.split_once('>')?;
    let access = match space {
        "uniform" => Access::Uniform,
        "storage, read" => Access::Read,
        "storage, read_write" => Access::ReadWrite,
        _ => return None,
    };
    let (name, ty) = declared.split_once(';')?.0.split_once(':')?;
    let inner = ty.trim().strip_prefix("array<").and_then(|ty| ty.strip_suffix('>'));
    let element = inner.map(|ty| ty.rsplit('<').next().unwrap_or(ty).trim_end_matches('>'));
    Some(Binding { name: name.trim(), access, dtype: element.and_then(DType::of_name) })
}

// By identity: a kernel is a static, and hashing the text at every look-up would be waste.
impl PartialEq for Kernel {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Eq for Kernel {}

impl std::hash::Hash for Kernel {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        std::ptr::hash(self, state);
    }
}

/// The kernels of an operation, each a static, and all of them as `KERNELS`.
///
/// `RMS_NORM = "rms_norm" + "reduce";` is shaders/rms_norm.wgsl followed by shaders/lib/reduce.wgsl.
/// `NAME = "name": "file" + "library", needs Need::F16, Need::Subgroups(32);` names its file and what an adapter must have.
macro_rules! kernels {
    ($($id:ident = $name:literal $(: $file:literal)? $(+ $lib:literal)* $(, needs $($need:expr),+)? ;)+) => {
        $(
            #[doc = concat!("`", $name, "`")]
            pub static $id: $crate::gpu::Kernel = $crate::gpu::Kernel {
                name: $name,
                file: $crate::gpu::kernel_file!($name $(, $file)?),
                source: concat!(
                    include_str!(concat!(
                        env!("CARGO_MANIFEST_DIR"), "/shaders/", $crate::gpu::kernel_file!($name $(, $file)?), ".wgsl"
                    )),
                    $("\n", include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/shaders/lib/", $lib, ".wgsl")),)*
                ),
                needs: &[$($($need),+)?],
            };
        )+
        pub(super) const KERNELS: &[&$crate::gpu::Kernel] = &[$(&$id),+];
    };
}
pub(crate) use kernels;

/// The file of a kernel: named, or called as the kernel is.
macro_rules! kernel_file {
    ($name:literal) => {
        $name
    };
    ($name:literal, $file:literal) => {
        $file
    };
}
pub(crate) use kernel_file;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_binding_is_read_off_its_line() {
        let of = |line| binding(line).map(|b| (b.name, b.access, b.dtype));
        let line = "@group(0) @binding(0) var<storage, read>       x: array<vec4<f32>>;  // [M, K]";
        assert_eq!(of(line), Some(("x", Access::Read, Some(DType::F32))));
        let line = "@group(0) @binding(3) var<storage, read_write> open:    array<u32>;  // [DISPATCHES, 3]";
        assert_eq!(of(line), Some(("open", Access::ReadWrite, Some(DType::U32))));
        let line = "@group(0) @binding(5) var<uniform>             step:       Step;";
        assert_eq!(of(line), Some(("step", Access::Uniform, None)));
        assert_eq!(of("@group(0) @binding(5) var<private> step: Step;"), None);
    }
}
