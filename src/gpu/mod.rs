//! The only room that names wgpu.
//!
//! Work is *recorded as data* before anything is allocated: a [`Recorder`] collects tensors and dispatches,
//! [`Recorder::memory`] is the ledger of what they will take, and [`Recorder::allocate`] turns the record into a
//! [`Workspace`], whose plans are replayed step after step without another allocation.

mod access;
mod adapter;
mod device;
mod dtype;
mod kernel;
mod ledger;
mod lent;
mod pace;
mod picture;
mod plan;
mod recorder;
mod ring;
mod tensor;
mod timing;
mod workspace;

pub use access::Touch;
pub use adapter::{AdapterChoice, AdapterReport, BackendName, NO_ADAPTER_HELP, list_adapters};
pub use device::{Form, Gpu, GpuOptions, Profile};
pub use dtype::{DType, Element};
pub use kernel::{Access, Binding, Kernel, Need};
pub(crate) use kernel::{in_no_browser, kernel_file, kernels};
pub use ledger::{Class, Memory, byte_unit, bytes_in_words};
pub use lent::Lent;
pub use pace::Pace;
pub use picture::Picture;
pub use plan::{DispatchInfo, Due};
pub use recorder::{MAX_GROUPS, Recorder, grid};
pub use ring::ReadbackRing;
pub use tensor::Tensor;
pub use timing::{DispatchTime, KernelTime, Span};
pub use wgpu::{Buffer, CommandEncoder};
pub use workspace::Workspace;

/// The version of wgpu that everything here runs on; a test compares it with Cargo.lock.
pub const WGPU_VERSION: &str = "30.0.1";
