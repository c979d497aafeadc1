//! Where to cut a long text so that its pieces, encoded in parallel, have the same ids as the whole.

/// Minimum length of a piece, except at the end of the text.
pub(super) const PIECE_BYTES: usize = 1 << 16;

/// How a text may be cut.
pub(super) enum Rule<'a> {
    /// Anywhere: every byte is an id.
    Anywhere,
    /// Before a space or line break followed by a word: GPT-2's pre-tokenizer always cuts there, because it leaves the
    /// last of several spaces to the next word.
    BeforeSpace,
    /// Where the tokenizer itself gives a short text the same ids as its two parts.
    Asked(&'a tokenizers::Tokenizer),
}

/// Cuts a text that arrives in chunks.
pub(in crate::data) struct Cutter<'a> {
    rule: Rule<'a>,
    /// Text that is not yet part of a piece.
    held: String,
}

/// A piece ends before byte `end`, and the next begins at byte `start`.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Cut {
    end: usize,
    start: usize,
}

impl Cut {
    fn at(place: usize) -> Self {
        Self { end: place, start: place }
    }
}

impl<'a> Cutter<'a> {
    pub(super) fn new(rule: Rule<'a>) -> Self {
        Self { rule, held: String::new() }
    }

    /// Adds text, and emits complete pieces.
    pub fn push(&mut self, text: &str, pieces: &mut Vec<String>) {
        self.held += text;
        while let Some(Cut { end, start }) = self.cut() {
            let after = self.held.split_off(start);
            let mut piece = std::mem::replace(&mut self.held, after);
            piece.truncate(end);
            pieces.push(piece);
        }
    }

    /// Ends the text.
    pub fn finish(&mut self, pieces: &mut Vec<String>) {
        let last = std::mem::take(&mut self.held);
        pieces.extend((!last.is_empty()).then_some(last));
    }

    fn cut(&self) -> Option<Cut> {
        let text = self.held.as_str();
        if text.len() <= PIECE_BYTES {
            return None;
        }
        let (found, longest) = match &self.rule {
            Rule::Anywhere => (Some(Cut::at(text.ceil_char_boundary(PIECE_BYTES))), PIECE_BYTES),
            Rule::BeforeSpace => (gaps(text).map(|gap| Cut::at(gap.end)).next(), 2 * PIECE_BYTES),
            Rule::Asked(tokenizer) => {
                (gaps(text).take(32).find_map(|gap| allowed(text, gap, tokenizer)), 16 * PIECE_BYTES)
            }
        };
        // Without a valid place, as in a megabyte of base64, accept different ids at one cut: the alternative is
        // unbounded memory.
        let anywhere = || Cut::at(text.floor_char_boundary(longest));
        found.or_else(|| (text.len() >= longest + PIECE_BYTES).then(anywhere))
    }
}

/// The spaces and line breaks beyond the first [`PIECE_BYTES`] that are followed by something else, as cuts that leave
/// them out.
fn gaps(text: &str) -> impl Iterator<Item = Cut> {
    let from = text.ceil_char_boundary(PIECE_BYTES);
    text[from..].match_indices([' ', '\n']).filter_map(move |(at, _)| {
        let cut = Cut { end: from + at, start: from + at + 1 };
        let next = text[cut.start..].chars().next();
        next.is_some_and(|next| !next.is_whitespace()).then_some(cut)
    })
}

/// The way of cutting at `gap` that changes no id, if there is one: with the space in the next piece, in this one, or
/// in neither, if the tokenizer adds one before every text.
fn allowed(text: &str, gap: Cut, tokenizer: &tokenizers::Tokenizer) -> Option<Cut> {
    const SIDE_BYTES: usize = 200;
    let ids = |text: &str| Some(tokenizer.encode_fast(text, false).ok()?.get_ids().to_vec());
    let from = text.floor_char_boundary(gap.end - SIDE_BYTES);
    let to = text.ceil_char_boundary((gap.start + SIDE_BYTES).min(text.len()));
    let whole = ids(&text[from..to])?;
    let cuts = [Cut::at(gap.end), Cut::at(gap.start), gap];
    cuts.into_iter().find(|cut| {
        let parts = ids(&text[from..cut.end]).zip(ids(&text[cut.start..to]));
        parts.is_some_and(|(before, after)| [before, after].concat() == whole)
    })
}
