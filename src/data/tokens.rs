//! Token ids in memory, or mapped from `.bin` shards that may be larger than memory.

use std::ops::Range;

use super::vocabulary::id_too_large;
use crate::Result;

#[cfg(not(target_arch = "wasm32"))]
use super::shards::Shards;

/// A sequence of token ids.
#[derive(Debug, Clone)]
pub enum Tokens {
    /// In memory.
    Owned(Vec<u32>),
    /// Memory-mapped files, concatenated.
    #[cfg(not(target_arch = "wasm32"))]
    Mapped(Shards),
}

impl Tokens {
    /// The number of ids.
    pub fn len(&self) -> usize {
        match self {
            Self::Owned(ids) => ids.len(),
            #[cfg(not(target_arch = "wasm32"))]
            Self::Mapped(shards) => shards.len(),
        }
    }

    /// Whether there are no ids.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Copies the ids from `start` on into `out`.
    ///
    /// # Errors
    /// If a shard has an id outside the vocabulary; shards are too large to check when opened.
    ///
    /// # Panics
    /// If `start + out.len()` is past the end.
    pub fn copy_to(&self, start: usize, out: &mut [u32]) -> Result<()> {
        let (end, len) = (start + out.len(), self.len());
        assert!(end <= len, "tokens {start}..{end} of {len}");
        match self {
            Self::Owned(ids) => out.copy_from_slice(&ids[start..end]),
            #[cfg(not(target_arch = "wasm32"))]
            Self::Mapped(shards) => shards.copy_to(start, out)?,
        }
        Ok(())
    }

    /// The ids in `range`, as separate tokens; shards stay mapped.
    ///
    /// # Panics
    /// If the range is past the end.
    pub fn slice(&self, range: Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= self.len(), "tokens {range:?} of {}", self.len());
        match self {
            Self::Owned(ids) => Self::Owned(ids[range].to_vec()),
            #[cfg(not(target_arch = "wasm32"))]
            Self::Mapped(shards) => Self::Mapped(shards.slice(range)),
        }
    }

    /// Calls `visit` with every id.
    pub(super) fn for_each(&self, mut visit: impl FnMut(u32)) -> Result<()> {
        self.for_each_piece(|piece| piece.iter().for_each(|id| visit(*id)))
    }

    /// Calls `visit` with all ids in order, in pieces of bounded size.
    pub(super) fn for_each_piece(&self, mut visit: impl FnMut(&[u32])) -> Result<()> {
        let mut piece = vec![0; self.len().min(1 << 16)];
        let mut start = 0;
        while start < self.len() {
            let count = piece.len().min(self.len() - start);
            self.copy_to(start, &mut piece[..count])?;
            visit(&piece[..count]);
            start += count;
        }
        Ok(())
    }

    /// Reads everything and checks that every id is below `vocab_size`.
    ///
    /// # Errors
    /// Reports the first id that is not, with its position.
    pub fn check_ids(&self, vocab_size: usize) -> Result<()> {
        let (mut position, mut wrong) = (0, None);
        self.for_each(|id| {
            if wrong.is_none() && id as usize >= vocab_size {
                wrong = Some((id, position));
            }
            position += 1;
        })?;
        match wrong {
            None => Ok(()),
            Some((id, at)) => Err(id_too_large("the tokens hold", id, at, vocab_size)),
        }
    }
}
