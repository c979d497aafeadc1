//! Progress reports from reading and tokenizing text.

/// Receives progress reports. Implemented by closures that take a line of text.
pub trait Progress: Send {
    /// A one-time message.
    fn line(&mut self, line: &str);

    /// Bytes of text done, out of `total` if known; called often.
    fn bytes(&mut self, _action: &str, _done: u64, _total: Option<u64>) {}
}

impl<F: FnMut(&str) + Send> Progress for F {
    fn line(&mut self, line: &str) {
        self(line);
    }
}
