//! The library's one error: what was wrong, where, and what would be right, in the user's words.

use std::path::{Path, PathBuf};

/// The result of everything in this library that can fail for a reason outside it.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong for a reason outside the library.
///
/// A wrong shape handed to a kernel is a bug, not an `Error`: it panics with both shapes.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting that cannot be: the key as the user writes it, what was wrong, what would be right.
    #[error("{key}: {message}")]
    Config {
        /// Dotted key, `optimizer.lr`.
        key: String,
        /// What was wrong with its value and what would be right.
        message: String,
    },
    /// A file or folder that could not be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// The verb of the message: "read", "write", "create", "rename".
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's own words.
        source: std::io::Error,
    },
    /// A text, token file or corpus that cannot be used.
    #[error("{0}")]
    Data(String),
    /// A tokenizer that cannot be read, trained or used.
    #[error("{0}")]
    Tokenizer(String),
    /// A checkpoint or tensor file that does not hold what it should.
    #[error("{}: {message}", path.display())]
    Checkpoint {
        /// The file or folder.
        path: PathBuf,
        /// What was wrong with it and what would be right.
        message: String,
    },
    /// No adapter, or none of the wanted name.
    #[error("{0}")]
    NoAdapter(String),
    /// The device refused; the message carries the label of the buffer or kernel.
    #[error("{0}")]
    Gpu(String),
    /// The device is gone, after a reset of its driver for example: only one that is opened anew goes on.
    #[error("{adapter}: the device was lost: {message}")]
    DeviceLost {
        /// The adapter's name.
        adapter: String,
        /// The driver's own words, or the kind of loss where it has none.
        message: String,
    },
    /// The model, batch or buffer does not fit the adapter.
    #[error("{0}")]
    TooLarge(String),
    /// Training produced a NaN or an infinity.
    #[error("{0}")]
    NonFinite(String),
}

impl Error {
    /// A setting that cannot be.
    pub fn config(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Config { key: key.into(), message: message.into() }
    }

    /// A file or folder that could not be read or written: `.map_err(Error::io("read", path))`.
    pub fn io(action: &'static str, path: impl AsRef<Path>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.as_ref().to_path_buf();
        move |source| Self::Io { action, path, source }
    }

    /// A checkpoint or tensor file that does not hold what it should.
    pub fn checkpoint(path: impl AsRef<Path>, message: impl Into<String>) -> Self {
        Self::Checkpoint { path: path.as_ref().to_path_buf(), message: message.into() }
    }
}
