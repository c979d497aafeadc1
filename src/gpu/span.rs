//! Timed activities of the host.

use web_time::Instant;

/// A period of host time.
#[derive(Clone, Debug)]
pub struct Span {
    /// What was done.
    pub name: &'static str,
    /// When it began.
    pub began: Instant,
    /// When it ended.
    pub ended: Instant,
}

impl Span {
    /// From `began` to now.
    pub fn since(name: &'static str, began: Instant) -> Self {
        Self { name, began, ended: Instant::now() }
    }

    /// Duration in seconds.
    pub fn secs(&self) -> f64 {
        self.ended.duration_since(self.began).as_secs_f64()
    }
}
