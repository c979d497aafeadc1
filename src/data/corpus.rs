//! Training documents, with their origin and license.

use super::documents::Documents;

/// Documents in a fixed order.
#[derive(Debug, Clone)]
pub struct Corpus {
    /// `austen`, or the file names joined by `+`.
    pub name: String,
    /// Whole texts: novels, books, files, lines of JSON Lines, rows of a table.
    pub documents: Documents,
    /// The license, for display.
    pub license: String,
    /// The packages or paths that were read.
    pub origin: String,
}
