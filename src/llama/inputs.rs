//! What the host writes for a batch.

use super::attention::Context;
use super::parameters::Llama;
use crate::gpu::{Class, DType, Recorder, Tensor};
use crate::kernels::embedding::TokenBatch;
use crate::kernels::rope::RopeTables;

/// What the host writes for a batch of `batch` sequences of `seq` tokens.
#[derive(Clone, Debug)]
pub struct BatchInputs {
    /// Sequences.
    pub batch: usize,
    /// Tokens of a sequence.
    pub seq: usize,
    /// The inputs' ids.
    pub tokens: TokenBatch,
    /// `[N]` the ids that follow; [`crate::kernels::cross_entropy::IGNORE`] counts nothing.
    pub targets: Tensor,
    /// Rotary tables of at least `seq` positions.
    pub rope: RopeTables,
}

impl BatchInputs {
    /// Tensors for the inputs of batches of this shape.
    pub fn new(rec: &mut Recorder, llama: &Llama, batch: usize, seq: usize) -> Self {
        let config = &llama.config;
        Self {
            batch,
            seq,
            tokens: TokenBatch::new(rec, batch * seq),
            targets: rec.persistent(Class::Scratch, DType::U32, "target ids", &[batch * seq]),
            rope: RopeTables::new(rec, seq, config.rotary_frequencies()),
        }
    }

    pub(super) fn context(&self) -> Context<'_> {
        Context { batch: self.batch, seq: self.seq, rope: &self.rope, cache: None }
    }
}
