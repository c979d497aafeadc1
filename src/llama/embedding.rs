//! The token embedding, where the residual stream begins.

use super::gradients::GradientSink;
use super::parameters::Parameter;
use crate::Result;
use crate::gpu::{Class, DType, Recorder, Tensor};
use crate::kernels::embedding::{TokenBatch, embedding, embedding_backward};
use crate::kernels::fill::fill;
use crate::kernels::{Output, Target};

/// x = table[id].
pub(super) struct Embedding<'a> {
    /// `[V, C]`, whole or split by rows.
    pub table: &'a [Parameter],
    /// Whether the table is also the head's weight.
    pub tied: bool,
}

impl Embedding<'_> {
    /// `[N, C]` for ids `[N]`.
    pub fn forward(&self, rec: &mut Recorder, ids: &Tensor) -> Tensor {
        let shape = [ids.len(), self.table[0].weight.shape[1]];
        let residual = rec.transient(Class::Activations, DType::F32, "residual", &shape);
        for part in self.table {
            embedding(rec, ids, &part.weight, part.rows.as_ref(), &residual);
        }
        residual
    }

    /// The table's gradient from that of its output; if the table is tied, the head has already written its part.
    pub fn backward(
        &self,
        rec: &mut Recorder,
        tokens: &TokenBatch,
        dresidual: &Tensor,
        sink: &mut GradientSink<'_, '_>,
    ) -> Result<()> {
        for part in self.table {
            if sink.output == Output::Write && !self.tied {
                fill(rec, part.gradient(), 0.0);
            }
            let target = Target { output: Output::Accumulate, ..sink.target(part) };
            embedding_backward(rec, tokens, dresidual, part.rows.as_ref(), target);
            sink.whole(rec, part)?;
        }
        Ok(())
    }
}
