//! What a window and a page do differently, behind the same names.

#[cfg(not(target_arch = "wasm32"))]
mod native;
#[cfg(target_arch = "wasm32")]
mod web;

#[cfg(not(target_arch = "wasm32"))]
pub use native::{Follower, breathe, open, read, save, serve, show_link};
#[cfg(target_arch = "wasm32")]
pub use web::{Follower, breathe, read, save, serve, show_link};

use multinorm::train::{Followed, GradientSample};

/// A sample to be followed through its passes, away from the thread that draws.
pub struct Job {
    /// Whose it is.
    pub run: usize,
    #[cfg_attr(not(target_arch = "wasm32"), expect(dead_code, reason = "a thread is handed the rule itself"))]
    /// The run's settings as `--set` words, from which a worker knows the rule again.
    pub sets: Vec<String>,
    /// What was read.
    pub sample: GradientSample,
}

/// What came of a [`Job`].
pub struct Done {
    /// Whose it is.
    pub run: usize,
    /// The sample itself, for saving and for pictures.
    pub sample: GradientSample,
    /// What was found.
    pub followed: Followed,
}
