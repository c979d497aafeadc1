//! The library's error type: what was wrong, where, and what would be right, in the user's terms.

use std::path::{Path, PathBuf};

/// The result of everything in this library that can fail for an external reason.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong for a reason outside the library.
///
/// A wrong shape passed to a kernel is a bug, not an `Error`: it panics with both shapes.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An invalid setting: the key as the user writes it, what was wrong, what would be right.
    #[error("{key}: {message}")]
    Config {
        /// Dotted key, such as `optimizer.lr`.
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
        /// The operating system's error.
        source: std::io::Error,
    },
    /// A text, token file or corpus that cannot be used.
    #[error("{0}")]
    Data(String),
    /// A tokenizer that cannot be read, trained or used.
    #[error("{0}")]
    Tokenizer(String),
    /// A checkpoint or tensor file with unexpected contents.
    #[error("{}: {message}", path.display())]
    Checkpoint {
        /// The file or folder.
        path: PathBuf,
        /// What was wrong with it and what would be right.
        message: String,
    },
    /// No adapter, or none with the requested name.
    #[error("{0}")]
    NoAdapter(String),
    /// The device reported an error; the message contains the label of the buffer or kernel.
    #[error("{0}")]
    Gpu(String),
    /// The device was lost, for example in a driver reset; only a newly opened device can continue.
    #[error("{adapter}: the device was lost: {message}")]
    DeviceLost {
        /// The adapter's name.
        adapter: String,
        /// The driver's message, or the kind of loss if it gave none.
        message: String,
    },
    /// The model, batch or buffer does not fit the adapter.
    #[error("{0}")]
    TooLarge(String),
    /// The ranks of a run disagree, or cannot be reached.
    #[error("{0}")]
    Ranks(String),
    /// Training produced a NaN or an infinity.
    #[error("{0}")]
    NonFinite(String),
}

impl Error {
    /// An invalid setting.
    pub fn config(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Config { key: key.into(), message: message.into() }
    }

    /// A file or folder that could not be read or written: `.map_err(Error::io("read", path))`.
    pub fn io(action: &'static str, path: impl AsRef<Path>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.as_ref().to_path_buf();
        move |source| Self::Io { action, path, source }
    }

    /// A checkpoint or tensor file with unexpected contents.
    pub fn checkpoint(path: impl AsRef<Path>, message: impl Into<String>) -> Self {
        Self::Checkpoint { path: path.as_ref().to_path_buf(), message: message.into() }
    }
}
