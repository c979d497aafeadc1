//! Head and loss, through the vocabulary in chunks: the logits of a full batch are never stored whole.

use super::forward::BatchInputs;
use super::parameters::Llama;
use crate::gpu::{Class, DType, Recorder, Tensor};
use crate::kernels::{Output, cross_entropy, matmul};

/// Bytes of logits at a time.
const LOGITS_BYTES: usize = 64 << 20;

/// Vocabulary ids of each chunk.
fn chunks(rec: &Recorder, n_tokens: usize, llama: &Llama) -> Vec<std::ops::Range<usize>> {
    let vocab = llama.config.vocab_size;
    let row_bytes = 4 * n_tokens.max(llama.config.hidden_size);
    let bytes = LOGITS_BYTES.min(rec.profile.max_binding_bytes as usize);
    // Multiples of 64 rows of the head start where a binding may, whatever the hidden size.
    let len = (bytes / row_bytes / 64 * 64).max(64);
    (0..vocab).step_by(len).map(|start| start..(start + len).min(vocab)).collect()
}

/// loss `[1]` (+)= scale · Σ −ln p(target). Returns the statistics `[N, 4]` and, if there is one chunk, its logits.
pub(super) fn loss(
    rec: &mut Recorder,
    llama: &Llama,
    inputs: &BatchInputs,
    normed: &Tensor,
    loss: &Tensor,
    scale: f64,
    output: Output,
) -> (Tensor, Option<Tensor>) {
    let n = normed.shape[0];
    let statistics = rec.transient(Class::Activations, DType::F32, "loss statistics", &[n, 4]);
    let chunks = chunks(rec, n, llama);
    let mut kept = None;
    for chunk in &chunks {
        let logits = logits(rec, llama, normed, chunk);
        let first = if chunk.start == 0 { Output::Write } else { Output::Accumulate };
        cross_entropy::statistics(rec, &logits, &inputs.targets, &statistics, chunk.start, first);
        kept = (chunks.len() == 1).then_some(logits);
    }
    cross_entropy::loss(rec, &statistics, &inputs.targets, loss, scale, output);
    (statistics, kept)
}

/// Loss as [`loss`], and its gradients: of `normed`, which is returned, and of the head's weight.
pub(super) fn loss_and_gradient(
    rec: &mut Recorder,
    llama: &Llama,
    inputs: &BatchInputs,
    normed: &Tensor,
    loss_sum: &Tensor,
    scale: f64,
    output: Output,
) -> Tensor {
    let (statistics, mut kept) = loss(rec, llama, inputs, normed, loss_sum, scale, output);
    let dnormed = rec.transient(Class::Activations, DType::F32, "gradient of normed", &normed.shape);
    for chunk in chunks(rec, normed.shape[0], llama) {
        // With several chunks the logits are computed again rather than stored.
        let logits = kept.take().unwrap_or_else(|| logits(rec, llama, normed, &chunk));
        cross_entropy::backward(rec, &logits, &inputs.targets, &statistics, chunk.start, scale);
        let first = if chunk.start == 0 { Output::Write } else { Output::Accumulate };
        matmul::nn(rec, &logits, &llama.head().weight.rows(chunk.clone()), &dnormed, first);
        matmul::tn(rec, &logits, normed, &llama.head().gradient().rows(chunk), output);
    }
    dnormed
}

fn logits(rec: &mut Recorder, llama: &Llama, normed: &Tensor, chunk: &std::ops::Range<usize>) -> Tensor {
    let logits = rec.transient(Class::Activations, DType::F32, "logits", &[normed.shape[0], chunk.len()]);
    matmul::nt(rec, normed, &llama.head().weight.rows(chunk.clone()), &logits, Output::Write);
    logits
}
