//! The only module that names wgpu.
//! Work is *recorded as data* before anything is allocated: a [`Recorder`] collects tensors and dispatches,
//! [`Recorder::memory`] reports what they will take, and [`Recorder::allocate`] turns the record into a [`Workspace`],
//! whose plans are replayed every step without further allocation.
//!
//! ```
//! use multinorm::gpu::{Class, DType, Profile, Recorder};
//!
//! let mut recorder = Recorder::new(&Profile::webgpu_default());
//! recorder.persistent(Class::Parameters, DType::F32, "weight", &[4, 8]);
//! assert_eq!(recorder.memory().bytes(Class::Parameters), 4 * 4 * 8);
//! ```

mod access;
mod adapter;
mod device;
mod dtype;
mod embedded;
#[cfg(not(target_arch = "wasm32"))]
mod handle;
mod kernel;
mod layout;
mod ledger;
mod lent;
mod plan;
mod profile;
mod recorder;
mod refusal;
mod ring;
mod span;
mod tensor;
mod throttle;
mod timing;
mod workspace;

pub use access::Touch;
pub use adapter::{AdapterChoice, AdapterReport, BackendName, NO_ADAPTER_HELP, list_adapters};
pub use device::{Compilation, Gpu, GpuOptions};
pub use dtype::{DType, Element};
pub(crate) use embedded::embedded;
pub use embedded::strip;
#[cfg(not(target_arch = "wasm32"))]
pub use handle::GpuHandle;
pub use kernel::{Access, Binding, Kernel, Need, Param};
pub(crate) use kernel::{in_no_browser, kernel, kernel_file, kernels};
pub use ledger::{Class, Memory, byte_unit, bytes_in_words};
pub use lent::Lent;
pub use plan::{DispatchInfo, Schedule};
pub use profile::Profile;
pub use recorder::{Choice, MAX_GROUPS, Recorder, grid};
pub use refusal::Refusal;
pub use ring::ReadbackRing;
pub use span::Span;
pub use tensor::Tensor;
pub use throttle::Throttle;
pub use timing::{DispatchTime, KernelTime};
pub use wgpu::{Buffer, CommandEncoder};
pub use workspace::Workspace;

/// The wgpu version this is built on; a test compares it with Cargo.lock.
pub const WGPU_VERSION: &str = "30.0.1";
