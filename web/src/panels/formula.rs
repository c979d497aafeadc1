//! Formulas typeset as in print: italic letters, upright words, subscripts and superscripts.

use eframe::egui::text::LayoutJob;
use eframe::egui::{Align, FontId, TextFormat, Ui};

const SIZE: f32 = 19.0;

/// Typesets a formula: `_` makes the next character or `{…}` group a subscript, `^` a superscript.
pub fn formula(ui: &mut Ui, text: &str) {
    let mut job = LayoutJob::default();
    let color = ui.visuals().strong_text_color();
    for Piece { words, place, slanted } in pieces(text) {
        let (size, valign) = match place {
            Position::Line => (SIZE, Align::Center),
            Position::Below => (0.65 * SIZE, Align::BOTTOM),
            Position::Above => (0.65 * SIZE, Align::TOP),
        };
        let font_id = FontId::proportional(size);
        job.append(&words, 0.0, TextFormat { font_id, color, italics: slanted, valign, ..TextFormat::default() });
    }
    ui.label(job);
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Position {
    Line,
    Below,
    Above,
}

#[derive(Debug, PartialEq)]
struct Piece {
    words: String,
    place: Position,
    /// A single letter names a quantity and is set in italics.
    slanted: bool,
}

fn pieces(text: &str) -> Vec<Piece> {
    let (mut pieces, mut rest) = (Vec::new(), text);
    while let Some(first) = rest.chars().next() {
        let place = match first {
            '_' => Position::Below,
            '^' => Position::Above,
            _ => Position::Line,
        };
        if place == Position::Line {
            let end = rest.find(['_', '^']).unwrap_or(rest.len());
            runs(&rest[..end], place, &mut pieces);
            rest = &rest[end..];
            continue;
        }
        let (inside, after) = match rest[1..].strip_prefix('{').and_then(|group| group.split_once('}')) {
            Some(split) => split,
            None => rest[1..].split_at(rest[1..].chars().next().map_or(0, char::len_utf8)),
        };
        runs(inside, place, &mut pieces);
        rest = after;
    }
    pieces
}

/// Splits into words and the rest: single letters are italic, everything else is upright.
fn runs(text: &str, place: Position, pieces: &mut Vec<Piece>) {
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let of_word = first.is_alphabetic();
        let end = rest.find(|other: char| other.is_alphabetic() != of_word).unwrap_or(rest.len());
        let (words, after) = rest.split_at(end);
        let slanted = of_word && words.chars().count() == 1;
        pieces.push(Piece { words: words.into(), place, slanted });
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_slanted_words_are_not_and_indices_go_below() {
        let of = |text| -> Vec<(String, Position, bool)> {
            pieces(text).into_iter().map(|Piece { words, place, slanted }| (words, place, slanted)).collect()
        };
        let below = |words: &str, slanted| (words.to_owned(), Position::Below, slanted);
        let line = |words: &str, slanted| (words.to_owned(), Position::Line, slanted);
        assert_eq!(of("x_{i,:} ←"), [line("x", true), below("i", true), below(",:", false), line(" ←", false)]);
        assert_eq!(of("sign(u)"), [line("sign", false), line("(", false), line("u", true), line(")", false)]);
        let raised = of("V^⊤·A");
        assert_eq!(raised[1], ("⊤".to_owned(), Position::Above, false));
        assert_eq!(raised.len(), 4);
    }
}
