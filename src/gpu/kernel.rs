//! A kernel is its WGSL, the only place that states bindings, access and workgroup size. The adapter features it needs
//! are listed where the kernel is declared.

use std::sync::OnceLock;

use super::access::{Touch, touched};
use super::dtype::DType;

/// One WGSL entry point with the library code it calls.
#[derive(Debug)]
pub struct Kernel {
    /// Its name in timing tables, errors and the debugger.
    pub name: &'static str,
    /// Stem of its file in `shaders/`, and the name of the entry point. Several kernels may share one file, with
    /// different libraries.
    pub file: &'static str,
    /// `shaders/FILE.wgsl`; in a page it is stripped of comments and indentation ([`super::strip`]), as are the
    /// libraries.
    pub(crate) own_text: &'static str,
    /// The libraries: stems in `shaders/lib/`.
    pub libraries: &'static [&'static str],
    pub(crate) library_texts: &'static [&'static str],
    /// Types that its text leaves open, with their values: `("Stored", "vec4<f16>")`.
    pub types: &'static [(&'static str, &'static str)],
    /// The Rust module that declares it and records it.
    pub module: &'static str,
    /// What the adapter must support beyond WebGPU's default limits; see [`super::Profile::runs`].
    pub needs: &'static [Need],
    pub(crate) read_off: OnceLock<(Vec<Binding<'static>>, Vec<Param>)>,
}

/// Something that not every adapter supports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Half precision in memory and in registers (`enable f16`).
    F16,
    /// Subgroup operations, with exactly this many lanes in every subgroup.
    Subgroups(u32),
    /// Subgroup operations, with subgroups of any size: the launcher never lets the kernel exchange between more lanes
    /// than the smallest subgroup has.
    AnySubgroups,
    /// Cooperative matrices of 16×16 with f16 operands and f32 sums (`enable wgpu_cooperative_matrix`).
    MatrixUnits,
    /// More bytes of workgroup memory than the 16 KiB that every adapter has.
    WorkgroupBytes(u32),
    /// More invocations per workgroup than the 256 that every adapter supports.
    Invocations(u32),
}

impl Need {
    /// The `enable` directive that a kernel's text needs for it.
    fn directive(self) -> Option<&'static str> {
        match self {
            Self::F16 => Some("f16"),
            Self::MatrixUnits => Some("wgpu_cooperative_matrix"),
            Self::Subgroups(_) | Self::AnySubgroups | Self::WorkgroupBytes(_) | Self::Invocations(_) => None,
        }
    }
}

/// How a kernel may access a binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// `var<storage, read>`.
    Read,
    /// `var<storage, read_write>`.
    ReadWrite,
    /// `var<uniform>`: read.
    Uniform,
}

/// One `@group(0) @binding(n)` of a kernel, as declared in its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Binding<'a> {
    /// The variable's name.
    pub name: &'a str,
    /// How it may be accessed.
    pub access: Access,
    /// Element type; `None` for a struct.
    pub dtype: Option<DType>,
    /// When a dispatch reads it.
    pub reads: Touch,
    /// When a dispatch writes it.
    pub writes: Touch,
    /// The shape given in its comment; empty in a page, whose kernels have no comments.
    pub shape: &'a str,
}

/// A number that every dispatch passes to its kernel: a member of `struct Params`, bound as a uniform after the
/// tensors.
///
/// Each value of an override makes another pipeline; parameters share one, which saves compile time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Param {
    /// The member's name; callers of [`super::Recorder::dispatch`] write it in upper case, like an override.
    pub name: &'static str,
    /// Whether it is an `f32`; otherwise it is a `u32`.
    pub is_float: bool,
}

impl Param {
    /// Whether a dispatch uses this name for it.
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }
}

/// A shader's text, unchanged.
#[cfg(not(feature = "mutants"))]
fn text_of<'a>(_stem: &str, _folder: &str, text: &'a str) -> std::borrow::Cow<'a, str> {
    text.into()
}

/// A shader's text with the fault that the environment specifies: stem, byte offset, original text and replacement, one
/// per line.
#[cfg(feature = "mutants")]
fn text_of<'a>(stem: &str, folder: &str, text: &'a str) -> std::borrow::Cow<'a, str> {
    let Ok(mutant) = std::env::var("MULTINORM_MUTANT") else { return text.into() };
    let [of, at, old, new] = mutant.splitn(4, '\n').collect::<Vec<_>>()[..] else {
        panic!("MULTINORM_MUTANT is {mutant:?}");
    };
    if of.strip_prefix(folder) != Some(stem) || folder.is_empty() && of.contains('/') {
        return text.into();
    }
    let at: usize = at.parse().expect("a number of a byte");
    assert!(text[at..].starts_with(old), "{stem}: {old:?} is not at byte {at}");
    format!("{}{new}{}", &text[..at], &text[at + old.len()..]).into()
}

impl Kernel {
    /// A caller's own kernel: the entry point has the kernel's name, and WebGPU's default limits suffice.
    pub const fn new(name: &'static str, source: &'static str) -> Self {
        Self {
            name,
            file: name,
            own_text: source,
            libraries: &[],
            library_texts: &[],
            types: &[],
            module: "",
            needs: &[],
            read_off: OnceLock::new(),
        }
    }

    /// The full WGSL for the compiler: `enable` directives, its own file, the libraries, and the open types. Line
    /// numbers in messages refer to its own file.
    pub fn source(&self) -> String {
        let enabled = self.needs.iter().filter_map(|need| need.directive());
        let mut source: String = enabled.map(|name| format!("enable {name}; ")).collect();
        source += &text_of(self.file, "", self.own_text);
        for (name, library) in self.libraries.iter().zip(self.library_texts) {
            source += "\n";
            source += &text_of(name, "lib/", library);
        }
        for (name, ty) in self.types {
            source += &format!("\nalias {name} = {ty};\n");
        }
        source
    }

    /// The bindings in order, parsed from the text so that the host does not repeat them.
    ///
    /// A test compares them with naga's view of the same text.
    pub fn bindings(&self) -> impl Iterator<Item = Binding<'static>> {
        self.read_off().0.iter().copied()
    }

    /// The parameters in order, also parsed from the text.
    pub fn params(&self) -> &[Param] {
        &self.read_off().1
    }

    fn read_off(&self) -> &(Vec<Binding<'static>>, Vec<Param>) {
        self.read_off.get_or_init(|| {
            let (mut bindings, params) = (self.read_bindings(), params(self.own_text));
            let at = bindings.iter().position(|binding| binding.name == PARAMS);
            assert_eq!(at.is_some(), !params.is_empty(), "{}: `struct Params` and `{PARAMS}`", self.name);
            if let Some(at) = at {
                assert_eq!(at + 1, bindings.len(), "{}: `{PARAMS}` is bound last", self.name);
                bindings.pop();
            }
            (bindings, params)
        })
    }

    fn read_bindings(&self) -> Vec<Binding<'static>> {
        let text = self.own_text; // libraries declare no bindings
        let declared = text.lines().map(str::trim_start).filter(|line| line.starts_with("@group(0) @binding("));
        let of_line = |line| {
            let binding = binding(line, self.types);
            let mut binding = binding.unwrap_or_else(|| panic!("{}: not a binding: {line}", self.name));
            [binding.reads, binding.writes] = touched(text, binding.name);
            if binding.access == Access::Uniform {
                binding.reads = Touch::Always; // sometimes only in a library
            }
            binding
        };
        declared.map(of_line).collect()
    }
}

/// The uniform of the parameters.
const PARAMS: &str = "params";

/// The members of `struct Params`, one per line.
fn params(text: &'static str) -> Vec<Param> {
    let Some((_, from)) = text.split_once("struct Params {") else { return Vec::new() };
    let (members, _) = from.split_once('}').expect("a struct ends");
    let members =
        members.lines().filter_map(|line| line.split("//").next()?.trim().trim_end_matches(',').split_once(':'));
    let param = |(name, ty): (&'static str, &'static str)| match ty.trim() {
        "f32" => Param { name: name.trim(), is_float: true },
        "u32" => Param { name: name.trim(), is_float: false },
        other => panic!("Params.{name} is of type {other}"),
    };
    members.map(param).collect()
}

/// `@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;  // [M, K]`
fn binding<'a>(line: &'a str, types: &[(&str, &'a str)]) -> Option<Binding<'a>> {
    let (space, declared) = line.split_once("var<")?.1.split_once('>')?;
    let access = match space {
        "uniform" => Access::Uniform,
        "storage, read" => Access::Read,
        "storage, read_write" => Access::ReadWrite,
        _ => return None,
    };
    let (declared, comment) = declared.split_once(';')?;
    let (name, ty) = declared.split_once(':')?;
    let inner = ty.trim().strip_prefix("array<").and_then(|ty| ty.strip_suffix('>'));
    let inner = inner.map(|name| types.iter().find(|(open, _)| *open == name).map_or(name, |(_, ty)| ty));
    let element = inner.map(|ty| ty.rsplit('<').next().unwrap_or(ty).trim_end_matches('>'));
    // The names in shaders/lib/vec4.wgsl, scalar.wgsl and single.wgsl.
    let element = element.map(|element| if matches!(element, "Real" | "Stored") { "f32" } else { element });
    let (reads, writes) = (Touch::Never, Touch::Never); // unknown from this line alone
    let shape = comment.trim().trim_start_matches('/').trim();
    Some(Binding { name: name.trim(), access, dtype: element.and_then(DType::of_name), reads, writes, shape })
}

// By identity: a kernel is a static, and hashing its text at every lookup would be wasteful.
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

/// Whether this is a page, where wgpu 30 supports none of what a kernel needs, so its text need not be downloaded.
pub(crate) const fn in_no_browser(needs: &[Need]) -> bool {
    let mut at = 0;
    while at < needs.len() {
        if matches!(needs[at], Need::MatrixUnits | Need::Subgroups(_) | Need::AnySubgroups) {
            return cfg!(target_arch = "wasm32");
        }
        at += 1;
    }
    false
}

/// Declares the kernels of an operation, each a static, and all of them as `KERNELS`.
///
/// `RMS_NORM = "rms_norm" + "reduce";` is shaders/rms_norm.wgsl followed by shaders/lib/reduce.wgsl.
/// `NAME = "name": "file" + "library", with (Stored = "vec4<f16>"), needs Need::F16;` names its file, defines a type
/// that the text leaves open, and lists what the adapter must support.
macro_rules! kernels {
    ($($id:ident = $name:literal $(: $file:literal)? $(+ $lib:literal)* $(, with ($($open:ident = $ty:literal),+))?
        $(, needs $($need:expr),+)? ;)+) => {
        $(
            #[doc = concat!("`", $name, "`")]
            pub static $id: $crate::gpu::Kernel = $crate::gpu::kernel!(
                $name, $crate::gpu::kernel_file!($name $(, $file)?), [$($lib),*], [$($($open = $ty),+)?], [$($($need),+)?]
            );
        )+
        pub(super) static KERNELS: &[&$crate::gpu::Kernel] = &[$(&$id),+];
    };
}
pub(crate) use kernels;

/// One kernel: its name, file, libraries, open types and needs.
macro_rules! kernel {
    ($name:expr, $file:expr, [$($lib:literal),*], [$($open:ident = $ty:literal),*], [$($need:expr),* $(,)?]) => {
        $crate::gpu::Kernel {
            name: $name,
            file: $file,
            own_text: if $crate::gpu::in_no_browser(&[$($need),*]) {
                ""
            } else {
                $crate::gpu::embedded!(include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/shaders/", $file, ".wgsl")))
            },
            libraries: &[$($lib),*],
            library_texts: if $crate::gpu::in_no_browser(&[$($need),*]) {
                &[]
            } else {
                &[$($crate::gpu::embedded!(
                    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/shaders/lib/", $lib, ".wgsl"))
                )),*]
            },
            types: &[$((stringify!($open), $ty)),*],
            module: module_path!(),
            needs: &[$($need),*],
            read_off: std::sync::OnceLock::new(),
        }
    };
}
pub(crate) use kernel;

/// The file of a kernel, by default the kernel's name.
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
        let of = |line| binding(line, &[("Stored", "vec4<f16>")]).map(|b| (b.name, b.access, b.dtype));
        let line = "@group(0) @binding(0) var<storage, read>       x: array<vec4<f32>>;  // [M, K]";
        assert_eq!(of(line), Some(("x", Access::Read, Some(DType::F32))));
        let line = "@group(0) @binding(3) var<storage, read_write> open:    array<u32>;  // [DISPATCHES, 3]";
        assert_eq!(of(line), Some(("open", Access::ReadWrite, Some(DType::U32))));
        let line = "@group(0) @binding(0) var<storage, read_write> weight:     array<Real>;  // [LEN]";
        assert_eq!(of(line), Some(("weight", Access::ReadWrite, Some(DType::F32))));
        let line = "@group(0) @binding(5) var<uniform>             step:       Step;";
        assert_eq!(of(line), Some(("step", Access::Uniform, None)));
        let line = "@group(0) @binding(1) var<storage, read>       up: array<Real>;  // [LEN]";
        assert_eq!(of(line), Some(("up", Access::Read, Some(DType::F32))));
        let line = "@group(0) @binding(1) var<storage, read>       q: array<Stored>;  // [LEN]";
        assert_eq!(of(line), Some(("q", Access::Read, Some(DType::F16))));
        assert_eq!(binding(line, &[]).unwrap().dtype, Some(DType::F32));
        assert_eq!(of("@group(0) @binding(5) var<private> step: Step;"), None);
    }
}
