//! What is held out for validation: whole documents where they give roughly the wanted share, else one contiguous tail.
//!
//! Never shuffled windows: neighbouring windows share sentences, and the validation loss would flatter the model.

use crate::{Error, Result};

/// Documents to train on and documents held out.
#[derive(Debug, Clone, PartialEq)]
pub struct Split {
    /// The beginning of the corpus.
    pub train: Vec<String>,
    /// Its end.
    pub validation: Vec<String>,
    /// Whether the last document of `train` is continued by the first of `validation`.
    pub cuts_a_document: bool,
    /// How it was split, in words, for a person.
    pub words: String,
}

/// Whole documents are only held out of at least this many.
const FEWEST_DOCUMENTS: usize = 4;
/// Whole documents are only held out if they are at most this many times the wanted share …
const LARGEST_EXCESS: f64 = 3.0;
/// … and leave at least this part of what training was to have.
const SMALLEST_REST: f64 = 0.5;

/// Holds out the end of `documents`, about `fraction` of their bytes.
///
/// # Errors
/// A fraction outside [0, 1), no text, or too little text to leave something on both sides.
pub fn split(documents: Vec<String>, fraction: f64) -> Result<Split> {
    if !(0.0..1.0).contains(&fraction) {
        let message = format!("is {fraction}, but must be at least 0 and below 1: 0.05 holds out a twentieth");
        return Err(Error::config("data.validation_fraction", message));
    }
    let n_bytes: usize = documents.iter().map(String::len).sum();
    if n_bytes == 0 {
        return Err(Error::Data("the corpus is empty: name a text in data.source".into()));
    }
    if fraction == 0.0 {
        let words = "nothing held out".to_owned();
        return Ok(Split { train: documents, validation: Vec::new(), cuts_a_document: false, words });
    }
    let wanted = fraction * n_bytes as f64;
    let (n_held_out, held_out_bytes) = documents_from_the_end(&documents, wanted);
    let n_rest_bytes = n_bytes - held_out_bytes;
    let fits = documents.len() >= FEWEST_DOCUMENTS
        && held_out_bytes as f64 <= LARGEST_EXCESS * wanted
        && n_rest_bytes as f64 >= SMALLEST_REST * (n_bytes as f64 - wanted);
    let split = if fits {
        let words = format!(
            "held out whole: the last {n_held_out} of {} documents, {} of the bytes",
            documents.len(),
            percent(held_out_bytes, n_bytes)
        );
        let mut train = documents;
        let validation = train.split_off(train.len() - n_held_out);
        Split { train, validation, cuts_a_document: false, words }
    } else {
        split_tail(documents, n_bytes, n_bytes - wanted.round() as usize)
    };
    if split.train.is_empty() || split.validation.is_empty() {
        return Err(Error::Data(format!(
            "a corpus of {n_bytes} bytes is too short to hold out {fraction} of it: \
             add text, or raise data.validation_fraction"
        )));
    }
    Ok(split)
}

/// The fewest documents from the end with at least `wanted` bytes, and their bytes.
fn documents_from_the_end(documents: &[String], wanted: f64) -> (usize, usize) {
    let (mut count, mut n_bytes) = (0, 0);
    for document in documents.iter().rev() {
        if count > 0 && n_bytes as f64 >= wanted {
            break;
        }
        count += 1;
        n_bytes += document.len();
    }
    (count, n_bytes)
}

fn split_tail(documents: Vec<String>, n_bytes: usize, cut: usize) -> Split {
    let mut train = Vec::new();
    let mut validation = Vec::new();
    let mut cuts_a_document = false;
    let mut start = 0;
    for document in documents {
        let end = start + document.len();
        if end <= cut {
            train.push(document);
        } else if start >= cut {
            validation.push(document);
        } else {
            let at = cut_position(&document, cut - start);
            let (before, after) = document.split_at(at);
            cuts_a_document = !before.is_empty() && !after.is_empty();
            train.extend((!before.is_empty()).then(|| before.to_owned()));
            validation.extend((!after.is_empty()).then(|| after.to_owned()));
        }
        start = end;
    }
    let tail: usize = validation.iter().map(String::len).sum();
    let words = format!("held out: the contiguous tail, {} of the bytes", percent(tail, n_bytes));
    Split { train, validation, cuts_a_document, words }
}

/// After the line that holds byte `at`, if that ends soon; else at a character boundary.
fn cut_position(text: &str, at: usize) -> usize {
    let at = text.ceil_char_boundary(at);
    match text[at..].find('\n') {
        Some(distance) if distance <= 200 && at + distance + 1 < text.len() => at + distance + 1,
        _ => at,
    }
}

fn percent(part: usize, whole: usize) -> String {
    format!("{:.1} %", 100.0 * part as f64 / whole as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn documents(lengths: &[usize]) -> Vec<String> {
        let letters = "abcdefghij".chars();
        lengths.iter().zip(letters).map(|(length, letter)| letter.to_string().repeat(*length)).collect()
    }

    #[test]
    fn whole_documents_from_the_end_when_they_fit() {
        let split = split(documents(&[40, 30, 20, 10, 5]), 0.1).unwrap();
        assert_eq!(split.validation, documents(&[40, 30, 20, 10, 5])[3..]);
        assert_eq!(split.train.len(), 3);
        assert_eq!(split.words, "held out whole: the last 2 of 5 documents, 14.3 % of the bytes");
        assert!(!split.cuts_a_document);
    }

    #[test]
    fn a_tail_when_documents_are_few_or_large() {
        for (lengths, fraction) in [(vec![50, 50], 0.1), (vec![10, 10, 10, 70], 0.1), (vec![1, 1, 1, 97], 0.5)] {
            let all = documents(&lengths).concat();
            let split = split(documents(&lengths), fraction).unwrap();
            let tail: usize = split.validation.iter().map(String::len).sum();
            assert_eq!(tail, (all.len() as f64 * fraction) as usize, "{lengths:?}");
            assert_eq!([split.train.concat(), split.validation.concat()].concat(), all);
            assert!(split.cuts_a_document && split.words.contains("contiguous tail"), "{}", split.words);
        }
    }

    #[test]
    fn a_tail_starts_on_a_line_and_never_inside_a_character() {
        let text = "first line\nsecond line\nthird line\n".to_owned();
        let halves = split(vec![text], 0.5).unwrap();
        assert_eq!(halves.validation, ["third line\n"]);
        let halves = split(vec!["é".repeat(9)], 0.5).unwrap();
        assert_eq!((halves.train.concat().len(), halves.validation.concat().len()), (10, 8));
    }

    #[test]
    fn bad_fractions_and_short_texts_are_errors() {
        for fraction in [1.0, -0.1, f64::NAN] {
            let error = split(documents(&[10]), fraction).unwrap_err().to_string();
            assert!(error.starts_with("data.validation_fraction: is "), "{error}");
        }
        assert!(split(Vec::new(), 0.1).unwrap_err().to_string().contains("corpus is empty"));
        assert!(split(documents(&[1]), 0.1).unwrap_err().to_string().contains("1 bytes is too short"));
        assert!(split(documents(&[10]), 0.0).unwrap().validation.is_empty());
    }
}
