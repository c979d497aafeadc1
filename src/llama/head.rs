//! Head and loss, computed once in chunks of tokens: the logits of a full batch are never stored whole.

use std::ops::Range;

use super::gradients::GradientSink;
use super::linear::Linear;
use crate::Result;
use crate::gpu::{Class, DType, Profile, Recorder, Tensor};
use crate::kernels::{Output, cross_entropy};

/// Bytes of logits per chunk.
const LOGITS_BYTES: u64 = 64 << 20;
/// The same on a GPU with large enough bindings: every chunk reads and writes the gradient of the head's weight once.
const LOGITS_BYTES_OF_A_GPU: u64 = 256 << 20;

/// p = softmax(h wᵀ), with h `[N, C]` the final norm's output and w `[V, C]`.
pub(super) struct Head<'a> {
    pub weight: Linear<'a>,
    /// Whether the weight is the embedding table, whose gradient is complete only at the end of the backward pass.
    pub tied: bool,
}

/// How to accumulate a micro-batch's loss: sum (+)= scale · Σ −ln p(target).
#[derive(Clone, Copy, Debug)]
pub struct Loss<'a> {
    /// `[1]`.
    pub sum: &'a Tensor,
    /// One over the tokens per step gives their mean.
    pub scale: f64,
    /// The first micro-batch of a step writes, the others accumulate; the same applies to parameter gradients, if any.
    pub output: Output,
}

impl Head<'_> {
    /// Only the loss, for targets `[N]`.
    pub fn loss(&self, rec: &mut Recorder, normed: &Tensor, targets: &Tensor, Loss { sum, scale, output }: Loss<'_>) {
        let losses = rec.transient(Class::Activations, DType::F32, "losses", &[normed.shape[0]]);
        for chunk in self.chunks(rec, normed) {
            let [normed, targets, losses] = [normed, targets, &losses].map(|tensor| tensor.rows(chunk.clone()));
            let logits = self.logits(rec, &normed);
            cross_entropy::losses(rec, &logits, &targets, &losses);
        }
        cross_entropy::sum(rec, &losses, sum, scale, output);
    }

    /// The loss and its gradients: that of `normed`, which is returned, and that of the weight.
    pub fn loss_and_gradient(
        &self,
        rec: &mut Recorder,
        normed: &Tensor,
        targets: &Tensor,
        Loss { sum, scale, output }: Loss<'_>,
        sink: &mut GradientSink<'_, '_>,
    ) -> Result<Tensor> {
        let losses = rec.transient(Class::Activations, DType::F32, "losses", &[normed.shape[0]]);
        let dnormed = rec.transient(Class::Activations, normed.dtype, "gradient of normed", &normed.shape);
        for chunk in self.chunks(rec, normed) {
            let [normed, dnormed, targets, losses] =
                [normed, &dnormed, targets, &losses].map(|tensor| tensor.rows(chunk.clone()));
            let logits = self.logits(rec, &normed);
            let loss_scale = sink.loss_scale.map(|of| &of.scale);
            cross_entropy::losses_and_gradient(rec, &logits, &targets, &losses, scale, loss_scale);
            let dlogits = logits; // computed in place
            self.weight.input_gradient(rec, &dlogits, &dnormed, Output::Write);
            let output = if chunk.start == 0 { sink.output } else { Output::Accumulate };
            self.weight.add_weight_gradient(rec, &dlogits, &normed, output, sink);
        }
        cross_entropy::sum(rec, &losses, sum, scale, output);
        if !self.tied {
            self.weight.whole(rec, sink)?;
        }
        Ok(dnormed)
    }

    fn logits(&self, rec: &mut Recorder, normed: &Tensor) -> Tensor {
        let shape = [normed.shape[0], self.weight.outputs()];
        let logits = rec.transient(Class::Activations, normed.dtype, "logits", &shape);
        self.weight.forward_to(rec, normed, &logits);
        logits
    }

    fn chunks(&self, rec: &Recorder, normed: &Tensor) -> Vec<Range<usize>> {
        chunks(&rec.profile, normed.shape[0], self.weight.outputs(), normed.dtype)
    }
}

/// The tokens of each chunk: equal lengths except for the last.
fn chunks(profile: &Profile, n_tokens: usize, vocab: usize, dtype: DType) -> Vec<Range<usize>> {
    let len = n_tokens.div_ceil(n_tokens.div_ceil(most_rows(profile, vocab, dtype)));
    let len = len.next_multiple_of(first_rows(profile, dtype));
    (0..n_tokens).step_by(len).map(|start| start..(start + len).min(n_tokens)).collect()
}

/// Most rows of logits per chunk; [`Recorder::check_limits`] refuses a vocabulary that exceeds all bindings.
fn most_rows(profile: &Profile, vocab: usize, dtype: DType) -> usize {
    let of_a_gpu = !profile.software && profile.max_binding_bytes >= LOGITS_BYTES_OF_A_GPU;
    let budget = if of_a_gpu { LOGITS_BYTES_OF_A_GPU } else { LOGITS_BYTES.min(profile.max_binding_bytes) };
    let step = first_rows(profile, dtype);
    (budget as usize / (dtype.size() as usize * vocab) / step * step).max(step)
}

/// Chunks start at multiples of this many rows: valid binding offsets in every tensor with one row per token.
fn first_rows(profile: &Profile, dtype: DType) -> usize {
    // Also whole tiles of the products.
    ((profile.offset_alignment / dtype.size()) as usize).max(64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_cover_the_tokens_in_pieces_that_fit() {
        let default = Profile::webgpu_default();
        let gpu = Profile { max_binding_bytes: (2 << 30) - 4, offset_alignment: 16, ..default.clone() };
        let software = Profile { software: true, ..gpu.clone() };
        let lens = |profile, n, vocab| chunks(profile, n, vocab, DType::F32).iter().map(Range::len).collect::<Vec<_>>();
        assert_eq!(lens(&gpu, 16384, 32000), [2048; 8]);
        assert_eq!(lens(&gpu, 8192, 8192), [8192]);
        assert_eq!(lens(&default, 1024, 1024), [1024]);
        assert_eq!(lens(&software, 1000, 32000), [512, 488]);
        assert_eq!(lens(&default, 1100, 32000), [384, 384, 332]);
        assert_eq!(lens(&default, 7, 13), [7]);
        // Half precision has room for twice the rows.
        let half = |profile, n| chunks(profile, n, 32000, DType::F16).iter().map(Range::len).collect::<Vec<_>>();
        assert_eq!((half(&gpu, 16384), half(&default, 1100)), (vec![4096; 4], vec![640, 460]));
        for (profile, n, vocab) in [(&gpu, 70_001, 128_256), (&default, 4097, 50_257), (&software, 129, 262_144)] {
            let chunks = chunks(profile, n, vocab, DType::F32);
            assert_eq!((chunks[0].start, chunks.last().unwrap().end), (0, n));
            for pair in chunks.windows(2) {
                assert_eq!((pair[0].end, pair[1].start * 4 % 256), (pair[1].start, 0));
            }
            for chunk in chunks {
                assert!((chunk.len() * vocab * 4) as u64 <= profile.max_binding_bytes.min(LOGITS_BYTES_OF_A_GPU));
            }
        }
    }

    #[test]
    fn a_vocabulary_beyond_every_budget_still_has_whole_chunks() {
        let default = Profile::webgpu_default();
        assert_eq!(chunks(&default, 130, 600_000, DType::F32), [0..64, 64..128, 128..130]);
    }
}
