//! A kernel is its WGSL: bindings, access and workgroup size stand there alone.

/// One entry point of WGSL with the library text it calls.
#[derive(Debug)]
pub struct Kernel {
    /// Stem of the file in `shaders/`, the entry point's name and the debug label.
    pub name: &'static str,
    /// `shaders/NAME.wgsl`, then its libraries: line numbers of messages are those of the kernel's own file.
    pub source: &'static str,
}

// By identity: hashing the text at every look-up would be waste.
impl PartialEq for Kernel {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.source, other.source) && self.name == other.name
    }
}

impl Eq for Kernel {}

impl std::hash::Hash for Kernel {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.source.as_ptr().hash(state);
    }
}

/// `kernel!("rms_norm", "reduce")`: shaders/rms_norm.wgsl followed by shaders/lib/reduce.wgsl.
macro_rules! kernel {
    ($name:literal $(, $lib:literal)*) => {
        $crate::gpu::Kernel {
            name: $name,
            source: concat!(
                include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/shaders/", $name, ".wgsl")),
                $("\n", include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/shaders/lib/", $lib, ".wgsl")),)*
            ),
        }
    };
}
pub(crate) use kernel;
