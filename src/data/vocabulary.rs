//! Ids outside a model's vocabulary.

use crate::Error;

pub(super) fn id_too_large(who: &str, id: u32, position: usize, vocab_size: usize) -> Error {
    Error::Data(format!(
        "{who} id {id} at position {position}, but model.vocab_size is {vocab_size}: \
         these ids were made with a larger vocabulary; set model.vocab_size to its size"
    ))
}
