//! The one integration-test binary.

mod command_line;
mod floors;
mod gpu;
mod kernels;
mod parity;
mod shaders;
mod support;
