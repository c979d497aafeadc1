//! Encodes text to token ids, in batches of bounded size and on all cores.

use super::progress::Progress;
use super::split::{Side, Split};
use super::tokenizer::{Tokenizer, batch_bytes};
use crate::Result;

/// Passes the ids of all documents to `sink` in order, each document followed by the end-of-text token, or by a line
/// break if the tokenizer has none.
///
/// Errors: text that cannot be read or encoded, and errors of `sink`.
pub(super) fn encode(
    tokenizer: &Tokenizer,
    split: &Split,
    progress: &mut dyn Progress,
    sink: &mut dyn FnMut(Side, &[u32]) -> Result<()>,
) -> Result<()> {
    let separator = match tokenizer.end_of_text() {
        Some(id) => vec![id],
        None => tokenizer.encode("\n")?.last().map(|id| vec![*id]).unwrap_or_default(),
    };
    let total = split.train_bytes + split.validation_bytes;
    let mut done = 0;
    let mut cutter = tokenizer.cutter();
    let mut batch = Batch::default();
    let mut before = Side::Train;
    for found in split.chunks() {
        let (side, chunk) = found?;
        if side != before {
            // A document cut by the split continues on the other side.
            batch.add(before, |pieces| cutter.finish(pieces));
            before = side;
        }
        done += chunk.text.len() as u64;
        batch.add(side, |pieces| cutter.push(&chunk.text, pieces));
        if chunk.ends_document {
            batch.add(side, |pieces| cutter.finish(pieces));
            batch.ends.push((batch.pieces.len(), side));
        }
        if batch.n_bytes >= batch_bytes() {
            batch.encode(tokenizer, &separator, sink)?;
            progress.bytes("tokenizing", done, Some(total));
        }
    }
    batch.encode(tokenizer, &separator, sink)
}

/// Pieces to encode in parallel.
#[derive(Default)]
struct Batch {
    pieces: Vec<String>,
    sides: Vec<Side>,
    /// After how many pieces documents end, and on which side.
    ends: Vec<(usize, Side)>,
    n_bytes: usize,
}

impl Batch {
    fn add(&mut self, side: Side, fill: impl FnOnce(&mut Vec<String>)) {
        let before = self.pieces.len();
        fill(&mut self.pieces);
        self.sides.resize(self.pieces.len(), side);
        self.n_bytes += self.pieces[before..].iter().map(String::len).sum::<usize>();
    }

    fn encode(
        &mut self,
        tokenizer: &Tokenizer,
        separator: &[u32],
        sink: &mut dyn FnMut(Side, &[u32]) -> Result<()>,
    ) -> Result<()> {
        let Self { pieces, sides, ends, .. } = std::mem::take(self);
        let mut ends = ends.into_iter().peekable();
        let mut end_documents = |n_pieces: usize, sink: &mut dyn FnMut(Side, &[u32]) -> Result<()>| {
            while let Some((_, side)) = ends.next_if(|(after, _)| *after == n_pieces) {
                sink(side, separator)?;
            }
            Ok(())
        };
        end_documents(0, sink)?;
        for (i, (ids, side)) in tokenizer.encode_pieces(&pieces)?.iter().zip(sides).enumerate() {
            sink(side, ids)?;
            end_documents(i + 1, sink)?;
        }
        Ok(())
    }
}
