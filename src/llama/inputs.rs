//! The tensors that the host writes for a batch.

use super::attention::Context;
use super::parameters::Llama;
use crate::gpu::{Class, DType, Recorder, Tensor};
use crate::kernels::embedding::TokenBatch;
use crate::kernels::rope::RopeTables;

/// The tensors that the host writes for a batch of `batch` sequences of `seq` tokens.
#[derive(Clone, Debug)]
pub struct BatchInputs {
    /// Sequences.
    pub batch: usize,
    /// Tokens per sequence.
    pub seq: usize,
    /// The input ids.
    pub tokens: TokenBatch,
    /// `[N]` the next ids; [`crate::kernels::cross_entropy::IGNORE`] excludes a position.
    pub targets: Tensor,
    /// Rotary tables of at least `seq` positions.
    pub rope: RopeTables,
}

impl BatchInputs {
    /// Allocates the inputs for batches of this shape.
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
