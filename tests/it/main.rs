//! The one integration-test binary.

mod floors;
mod gpu;
mod kernels;
mod shaders;
mod support;
