//! Protects files from undetected damage by a crash, a second process or a failing disk: atomic writes, checksums, and
//! one writer per folder.

mod atomic;
mod checksums;
#[cfg(not(target_arch = "wasm32"))]
mod lock;

pub use atomic::write_atomic;
pub(crate) use atomic::{PARTIAL, hidden, io_error, sync_dir, write_with};
pub(crate) use checksums::hex;
pub use checksums::{CHECKSUMS, file_sha256, verify_checksums, weights_sha256, write_checksums};
#[cfg(not(target_arch = "wasm32"))]
pub use lock::{DirLock, is_unused, lock_holder};

#[cfg(test)]
pub(crate) use atomic::tests;
