//! The pieces in which documents are read.

use std::borrow::Cow;

use crate::Result;

/// The next text of a document: all of it, or of a long one some hundred kilobytes.
#[derive(Debug, Clone, PartialEq)]
pub struct Chunk<'a> {
    /// Never cut inside a character.
    pub text: Cow<'a, str>,
    /// Whether no more of this document follows.
    pub ends_document: bool,
}

/// An iterator over chunks.
pub type Chunks<'a> = Box<dyn Iterator<Item = Result<Chunk<'a>>> + Send + 'a>;
