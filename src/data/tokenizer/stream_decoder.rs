//! Decodes a stream of token ids into whole characters.

use std::collections::HashMap;

use tokenizers::{
    DecoderWrapper, ModelWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper, tokenizer::DecodeStream,
};

use super::{Tokenizer, failed, has_byte_level_decoder};
use crate::Result;
use crate::data::byte_level::{byte_characters, take_characters};

/// Decodes text token by token: an id that ends inside a character yields nothing until the character is complete.
///
/// The pieces together equal the result of [`Tokenizer::decode`] for all ids.
pub struct StreamDecoder<'a> {
    tokenizer: &'a Tokenizer,
    decoding: Decoding<'a>,
}

enum Decoding<'a> {
    /// Ids stand for bytes; bytes of an incomplete character wait here.
    ByteLevel { bytes_of: HashMap<char, u8>, pending: Vec<u8> },
    /// Anything else; the library knows which tokens depend on their neighbours.
    Other(Box<LibraryStream<'a>>),
}

type LibraryStream<'a> =
    DecodeStream<'a, ModelWrapper, NormalizerWrapper, PreTokenizerWrapper, PostProcessorWrapper, DecoderWrapper>;

impl<'a> StreamDecoder<'a> {
    /// Starts a stream at the next id.
    pub fn new(tokenizer: &'a Tokenizer) -> Self {
        let decoding = if has_byte_level_decoder(&tokenizer.inner) {
            Decoding::ByteLevel { bytes_of: byte_characters().into_iter().zip(0..=255).collect(), pending: Vec::new() }
        } else {
            Decoding::Other(Box::new(tokenizer.inner.decode_stream(false)))
        };
        Self { tokenizer, decoding }
    }

    /// The text completed by `id`; often empty.
    ///
    /// # Errors
    /// If the id is outside the vocabulary.
    pub fn push(&mut self, id: u32) -> Result<String> {
        let Some(token) = self.tokenizer.inner.id_to_token(id) else { return Err(self.tokenizer.no_such_id(id)) };
        match &mut self.decoding {
            Decoding::ByteLevel { bytes_of, pending } => {
                match token.chars().map(|c| bytes_of.get(&c).copied()).collect::<Option<Vec<u8>>>() {
                    Some(bytes) => pending.extend(bytes),
                    None => pending.extend(token.as_bytes()), // an added token, which is its own text
                }
                Ok(take_characters(pending))
            }
            Decoding::Other(stream) => stream.step(id).map(Option::unwrap_or_default).map_err(failed("decode")),
        }
    }

    /// The remaining text at the end: a replacement character for an incomplete one.
    pub fn finish(self) -> String {
        match self.decoding {
            Decoding::ByteLevel { pending, .. } => String::from_utf8_lossy(&pending).into_owned(),
            Decoding::Other(_) => String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{ODD, prose};
    use super::*;

    fn stream(tokenizer: &Tokenizer, ids: &[u32]) -> Vec<String> {
        let mut decoder = StreamDecoder::new(tokenizer);
        let mut parts: Vec<String> = ids.iter().map(|id| decoder.push(*id).unwrap()).collect();
        parts.push(decoder.finish());
        parts
    }

    #[test]
    fn characters_wait_until_they_are_whole() {
        let bytes = Tokenizer::bytes();
        let ids = bytes.encode("h😀é").unwrap();
        assert_eq!(stream(&bytes, &ids), ["h", "", "", "", "😀", "", "é", ""]);
        assert_eq!(stream(&bytes, &ids[..3]), ["h", "", "", "\u{fffd}"]);
        assert_eq!(stream(&bytes, &[0xff, 0x41]), ["\u{fffd}", "A", ""], "what no byte can complete does not wait");
    }

    #[test]
    fn the_parts_together_are_what_decode_gives() {
        let bpe = Tokenizer::train_bpe(&prose(), 300, &mut |_: &str| ()).unwrap();
        for tokenizer in [&Tokenizer::bytes(), &bpe] {
            let ids = tokenizer.encode(ODD).unwrap();
            assert_eq!(stream(tokenizer, &ids).concat(), ODD);
        }
        assert_eq!(stream(&bpe, &[0]).concat(), "<|endoftext|>");
        // Every pair of bytes before a letter and at the end: all kinds of invalid UTF-8.
        let bytes = Tokenizer::bytes();
        for first in 0..256 {
            for second in 0..256 {
                for ids in [[first, second, 0x9f, 0x98].as_slice(), &[first, second], &[first, second, 0x41]] {
                    assert_eq!(stream(&bytes, ids).concat(), bytes.decode(ids).unwrap(), "{ids:?}");
                }
            }
        }
    }

    #[test]
    fn other_tokenizers_stream_through_the_library() {
        let json = r###"{"version":"1.0","added_tokens":[],"normalizer":null,"pre_tokenizer":null,
            "post_processor":null,"decoder":{"type":"WordPiece","prefix":"##","cleanup":false},
            "model":{"type":"WordLevel","vocab":{"un":0,"##do":1,"it":2},"unk_token":"un"}}"###;
        let tokenizer = Tokenizer::from_json(json).unwrap();
        assert_eq!(stream(&tokenizer, &[0, 1, 2]).concat(), "undo it");
        let mut decoder = StreamDecoder::new(&tokenizer);
        let error = decoder.push(3).unwrap_err().to_string();
        assert_eq!(error, "id 3 is outside the tokenizer's vocabulary of 3");
    }
}
