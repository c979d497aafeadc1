//! Documents to train on, with where they came from and on what terms.

use super::documents::Documents;

/// Documents in a fixed order.
#[derive(Debug, Clone)]
pub struct Corpus {
    /// `austen`, or the file names joined by `+`.
    pub name: String,
    /// Whole texts: novels, books, files, lines of JSON Lines, rows of a table.
    pub documents: Documents,
    /// The terms of use, in words.
    pub license: String,
    /// The packages or paths it was read from.
    pub origin: String,
}
