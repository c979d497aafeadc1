//! The one integration-test binary.
#![expect(clippy::disallowed_methods, reason = "tests may block")]

mod command_line;
mod compare;
mod floors;
mod fused_update;
mod gpu;
mod head;
mod kernels;
mod normalize;
mod optimizer_table;
mod optimizers;
mod parity;
mod rivals;
mod rounds;
mod shaders;
mod spectra;
mod support;
mod zeroth_order;
