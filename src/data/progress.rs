//! What reading and tokenizing a text tell while they go on.

/// Somebody who wants to know how far the data is. Every closure over a line of text is one.
pub trait Progress: Send {
    /// Something worth reading, once.
    fn line(&mut self, line: &str);

    /// How many bytes of text are done, of `total` where that is known; called often.
    fn bytes(&mut self, _action: &str, _done: u64, _total: Option<u64>) {}
}

impl<F: FnMut(&str) + Send> Progress for F {
    fn line(&mut self, line: &str) {
        self(line);
    }
}
