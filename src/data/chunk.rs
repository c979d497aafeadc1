//! Chunks of documents.

use std::borrow::Cow;

use crate::Result;

/// A piece of a document: all of it, or some hundred kilobytes of a long one.
#[derive(Debug, Clone, PartialEq)]
pub struct Chunk<'a> {
    /// Never cut inside a character.
    pub text: Cow<'a, str>,
    /// Whether this is the last chunk of its document.
    pub ends_document: bool,
}

/// An iterator over chunks.
pub type Chunks<'a> = Box<dyn Iterator<Item = Result<Chunk<'a>>> + Send + 'a>;
