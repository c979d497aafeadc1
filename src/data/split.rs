//! Chooses the held-out text: whole documents if they are roughly the requested fraction, otherwise one contiguous
//! tail.
//!
//! Windows are never shuffled before splitting: neighbouring windows share sentences, and the validation loss would be
//! too low.

use std::borrow::Cow;

use super::chunk::Chunk;
use super::documents::Surveyed;
use crate::{Error, Result};

/// Training documents followed by held-out documents.
#[derive(Debug, Clone)]
pub(super) struct Split {
    documents: Surveyed,
    /// The document with the first byte of validation text, and that byte's position in it.
    cut: (usize, u64),
    /// How the text was split, for display.
    pub words: String,
    /// Bytes of training text.
    pub train_bytes: u64,
    /// Bytes of validation text.
    pub validation_bytes: u64,
}

/// Which side of the split.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Train,
    Validation,
}

/// Whole documents are held out only if there are at least this many.
const FEWEST_DOCUMENTS: usize = 4;
/// Whole documents are held out only if they are at most this many times the requested fraction.
const LARGEST_EXCESS: f64 = 3.0;
/// Whole documents are held out only if they leave at least this part of the intended training text.
const SMALLEST_REST: f64 = 0.5;

/// Holds out the end of `documents`, about `fraction` of their bytes, or the files named as held out.
///
/// # Errors
/// If the fraction is outside [0, 1), or there is no text or too little for both sides.
pub(super) fn split(documents: Surveyed, fraction: f64) -> Result<Split> {
    if !(0.0..1.0).contains(&fraction) {
        let message = format!("is {fraction}, but must be at least 0 and below 1: 0.05 holds out a twentieth");
        return Err(Error::config("data.validation_fraction", message));
    }
    let n_bytes = documents.n_bytes();
    let n_documents = documents.lengths.len();
    if n_bytes == 0 {
        return Err(Error::Data("the corpus is empty: name a text in data.source".into()));
    }
    let (cut, words) = if let Some(first) = documents.first_held_out {
        let held_out: u64 = documents.lengths[first..].iter().sum();
        let words = format!("held out: the files that are named so, {} of the bytes", percent(held_out, n_bytes));
        ((first, 0), words)
    } else if fraction == 0.0 {
        ((n_documents, 0), "nothing held out".to_owned())
    } else {
        let wanted = fraction * n_bytes as f64;
        let (n_held_out, held_out_bytes) = documents_from_the_end(&documents.lengths, wanted);
        let n_rest_bytes = n_bytes - held_out_bytes;
        let fits = n_documents >= FEWEST_DOCUMENTS
            && held_out_bytes as f64 <= LARGEST_EXCESS * wanted
            && n_rest_bytes as f64 >= SMALLEST_REST * (n_bytes as f64 - wanted);
        if fits {
            let share = percent(held_out_bytes, n_bytes);
            let words =
                format!("held out whole: the last {n_held_out} of {n_documents} documents, {share} of the bytes");
            ((n_documents - n_held_out, 0), words)
        } else {
            let cut = cut_near(&documents, n_bytes - wanted.round() as u64)?;
            let tail = documents.lengths[cut.0..].iter().sum::<u64>() - cut.1;
            (cut, format!("held out: the contiguous tail, {} of the bytes", percent(tail, n_bytes)))
        }
    };
    let train_bytes = documents.lengths[..cut.0].iter().sum::<u64>() + cut.1;
    let validation_bytes = n_bytes - train_bytes;
    let nothing_held_out = cut.0 == n_documents && fraction == 0.0;
    if train_bytes == 0 || validation_bytes == 0 && !nothing_held_out {
        return Err(Error::Data(format!(
            "a corpus of {n_bytes} bytes is too short to hold out {fraction} of it: \
             add text, or raise data.validation_fraction"
        )));
    }
    Ok(Split { documents, cut, words, train_bytes, validation_bytes })
}

impl Split {
    /// Number of documents.
    pub fn n_documents(&self) -> usize {
        self.documents.lengths.len()
    }

    /// Identifies this text and split.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn key(&self) -> String {
        format!("{} {} {}", self.documents.sha256(), self.cut.0, self.cut.1)
    }

    /// All text in order; a document that is cut is not marked as ended at the cut.
    pub fn chunks(&self) -> impl Iterator<Item = Result<(Side, Chunk<'_>)>> + Send {
        let (last, at) = self.cut;
        let mut start = 0;
        let mut rest = None;
        let mut chunks = self.documents.chunks();
        std::iter::from_fn(move || {
            if let Some(rest) = rest.take() {
                return Some(Ok((Side::Validation, rest)));
            }
            let (document, mut chunk) = match chunks.next()? {
                Ok(found) => found,
                Err(error) => return Some(Err(error)),
            };
            if document != last {
                return Some(Ok((if document < last { Side::Train } else { Side::Validation }, chunk)));
            }
            let here = (at - start.min(at)).min(chunk.text.len() as u64) as usize;
            start += chunk.text.len() as u64;
            if here == 0 {
                return Some(Ok((Side::Validation, chunk)));
            }
            if here < chunk.text.len() || chunk.ends_document {
                let after = Cow::Owned(chunk.text[here..].to_owned());
                rest = Some(Chunk { text: after, ends_document: chunk.ends_document });
                chunk = Chunk { text: Cow::Owned(chunk.text[..here].to_owned()), ends_document: false };
            }
            Some(Ok((Side::Train, chunk)))
        })
    }
}

/// The fewest documents from the end with at least `wanted` bytes in total, and their bytes.
fn documents_from_the_end(lengths: &[u64], wanted: f64) -> (usize, u64) {
    let (mut count, mut n_bytes) = (0, 0);
    for length in lengths.iter().rev() {
        if count > 0 && n_bytes as f64 >= wanted {
            break;
        }
        count += 1;
        n_bytes += length;
    }
    (count, n_bytes)
}

/// A place to cut near byte `at` of all documents: between two documents, else after the line with that byte if it ends
/// soon, else at a character boundary.
fn cut_near(documents: &Surveyed, at: u64) -> Result<(usize, u64)> {
    const FARTHEST: usize = 200;
    if at == 0 {
        return Ok((0, 0));
    }
    let (mut document, mut start) = (0, 0);
    while start + documents.lengths[document] < at {
        start += documents.lengths[document];
        document += 1;
    }
    let (length, at) = (documents.lengths[document], at - start);
    if at == length {
        return Ok((document + 1, 0));
    }
    // The text from that byte on, far enough to find the end of a line.
    let mut ahead = String::new();
    let mut position = 0;
    let mut first = at;
    for chunk in documents.chunks() {
        let (number, chunk) = chunk?;
        if number != document {
            continue;
        }
        let end = position + chunk.text.len() as u64;
        if end > at && ahead.len() <= FARTHEST {
            let from = chunk.text.ceil_char_boundary((at - position.min(at)) as usize);
            if ahead.is_empty() {
                first = position + from as u64;
            }
            ahead += &chunk.text[from..];
        }
        position = end;
        if ahead.len() > FARTHEST || chunk.ends_document {
            break;
        }
    }
    let distance = ahead.find('\n').filter(|distance| *distance <= FARTHEST).map_or(0, |distance| distance as u64 + 1);
    let cut = if first + distance < length { first + distance } else { first };
    Ok(if cut == length { (document + 1, 0) } else { (document, cut) })
}

fn percent(part: u64, whole: u64) -> String {
    format!("{:.1} %", 100.0 * part as f64 / whole as f64)
}

#[cfg(test)]
mod tests {
    use super::super::documents::Documents;
    use super::*;

    fn documents(lengths: &[usize]) -> Vec<String> {
        let letters = "abcdefghij".chars();
        lengths.iter().zip(letters).map(|(length, letter)| letter.to_string().repeat(*length)).collect()
    }

    fn split_of(documents: Vec<String>, fraction: f64) -> Result<Split> {
        split(Documents::from(documents).survey(&mut |_: &str| ())?, fraction)
    }

    /// The texts of one side, one per document.
    fn texts(split: &Split, wanted: Side) -> Vec<String> {
        let mut texts = vec![String::new()];
        for found in split.chunks() {
            let (side, chunk) = found.unwrap();
            if side == wanted {
                *texts.last_mut().unwrap() += &chunk.text;
                texts.extend(chunk.ends_document.then(String::new));
            }
        }
        texts.retain(|text| !text.is_empty());
        texts
    }

    #[test]
    fn whole_documents_from_the_end_when_they_fit() {
        let all = documents(&[40, 30, 20, 10, 5]);
        let split = split_of(all.clone(), 0.1).unwrap();
        assert_eq!(
            (texts(&split, Side::Train), texts(&split, Side::Validation)),
            (all[..3].to_vec(), all[3..].to_vec())
        );
        assert_eq!(split.words, "held out whole: the last 2 of 5 documents, 14.3 % of the bytes");
        assert_eq!((split.train_bytes, split.validation_bytes), (90, 15));
        assert_eq!(split.cut, (3, 0));
    }

    #[test]
    fn a_tail_when_documents_are_few_or_large() {
        for (lengths, fraction) in [(vec![50, 50], 0.1), (vec![10, 10, 10, 70], 0.1), (vec![1, 1, 1, 97], 0.5)] {
            let all = documents(&lengths).concat();
            let split = split_of(documents(&lengths), fraction).unwrap();
            let (train, validation) = (texts(&split, Side::Train).concat(), texts(&split, Side::Validation).concat());
            assert_eq!(validation.len(), (all.len() as f64 * fraction) as usize, "{lengths:?}");
            assert_eq!(train + &validation, all);
            assert!(split.cut.1 > 0 && split.words.contains("contiguous tail"), "{}", split.words);
        }
    }

    #[test]
    fn a_tail_starts_on_a_line_and_never_inside_a_character() {
        let text = "first line\nsecond line\nthird line\n".to_owned();
        let halves = split_of(vec![text], 0.5).unwrap();
        assert_eq!(texts(&halves, Side::Validation), ["third line\n"]);
        let halves = split_of(vec!["é".repeat(9)], 0.5).unwrap();
        assert_eq!((halves.train_bytes, halves.validation_bytes), (10, 8));
        // A cut between two documents cuts none.
        let halves = split_of(documents(&[5, 5]), 0.5).unwrap();
        assert_eq!((texts(&halves, Side::Train), halves.cut.1 > 0), (documents(&[5]), false));
    }

    #[test]
    fn documents_are_used_once_and_those_without_words_never() {
        let all = ["one", " \n", "two", "one", "", "three"].map(str::to_owned).to_vec();
        let surveyed = Documents::from(all).survey(&mut |_: &str| ()).unwrap();
        assert_eq!((surveyed.n_blank, surveyed.n_twice, &surveyed.lengths[..]), (2, 1, &[3, 3, 5][..]));
        let kept: Vec<_> = surveyed.chunks().map(|chunk| chunk.unwrap().1.text.into_owned()).collect();
        assert_eq!(kept, ["one", "two", "three"]);
    }

    #[test]
    #[cfg(not(target_arch = "wasm32"))]
    fn a_text_that_changes_between_two_readings_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        let source = [path.display().to_string()];
        std::fs::write(&path, "one line\nanother\n").unwrap();
        let corpus = super::super::sources::load(&source, "text", folder.path(), &mut |_: &str| ()).unwrap();
        let split = split(corpus.documents.survey(&mut |_: &str| ()).unwrap(), 0.5).unwrap();
        assert!(split.chunks().all(|chunk| chunk.is_ok()));
        for changed in ["one line\nanother, longer\n", "One line\nanother\n"] {
            std::fs::write(&path, changed).unwrap();
            let error = split.chunks().find_map(Result::err).expect(changed).to_string();
            assert!(error.starts_with("the text was changed by another program"), "{error}");
        }
    }

    #[test]
    fn bad_fractions_and_short_texts_are_errors() {
        for fraction in [1.0, -0.1, f64::NAN] {
            let error = split_of(documents(&[10]), fraction).unwrap_err().to_string();
            assert!(error.starts_with("data.validation_fraction: is "), "{error}");
        }
        assert!(split_of(Vec::new(), 0.1).unwrap_err().to_string().contains("corpus is empty"));
        assert!(split_of(documents(&[1]), 0.1).unwrap_err().to_string().contains("1 bytes is too short"));
        assert_eq!(split_of(documents(&[10]), 0.0).unwrap().validation_bytes, 0);
    }
}
