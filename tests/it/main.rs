//! The one integration-test binary.

mod command_line;
mod floors;
mod gpu;
mod kernels;
mod shaders;
mod support;
