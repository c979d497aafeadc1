//! The one integration-test binary.
#![expect(clippy::disallowed_methods, reason = "tests may block")]

mod command_line;
mod compare;
mod configs;
mod corpora;
#[cfg(feature = "mpi")]
mod distributed;
mod docs;
mod emulated_units;
mod fit;
mod fused_update;
mod gpu;
mod half_precision;
mod head;
mod hostile;
mod kernels;
mod layers;
mod mutants;
mod normalize;
mod optimizer_table;
mod optimizers;
mod own_buffers;
mod parity;
mod program;
mod prune;
mod recompute;
mod reliability;
mod rivals;
mod rounds;
mod row_parts;
mod shaders;
mod soak;
mod spectra;
mod support;
mod terminal;
mod variants;
mod zeroth_order;
