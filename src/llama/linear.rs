//! A linear layer, with or without a bias.

use super::gradients::GradientSink;
use super::parameters::Parameter;
use crate::Result;
use crate::gpu::{Class, Recorder, Tensor};
use crate::kernels::bias::{add_bias, column_sum};
use crate::kernels::columns::{put_columns, take_columns};
use crate::kernels::{Output, Target, matmul};

/// y = x wᵀ + b, with w `[out, in]` whole or split by rows; each part then produces some columns of y.
#[derive(Clone, Copy)]
pub(super) struct Linear<'a> {
    pub weight: &'a [Parameter],
    /// b `[out]`.
    pub bias: Option<&'a Parameter>,
}

impl Linear<'_> {
    /// `[N, out]` for x `[N, in]`.
    pub fn forward(&self, rec: &mut Recorder, x: &Tensor) -> Tensor {
        let y = self.output(rec, x);
        self.forward_to(rec, x, &y);
        y
    }

    /// A tensor for the output, `[N, out]`.
    pub fn output(&self, rec: &mut Recorder, x: &Tensor) -> Tensor {
        rec.transient(Class::Activations, x.dtype, "linear", &[x.shape[0], self.outputs()])
    }

    /// w, if it is in one part and there is no bias.
    pub fn only_weight(&self) -> Option<&Tensor> {
        match (self.weight, self.bias) {
            ([Parameter { rows: None, weight, .. }], None) => Some(weight),
            _ => None,
        }
    }

    /// The same into an existing tensor.
    pub fn forward_to(&self, rec: &mut Recorder, x: &Tensor, y: &Tensor) {
        for part in self.weight {
            let own = part_of(rec, y, part);
            matmul::nt(rec, x, &part.weight, &own, Output::Write);
            if let Some(rows) = &part.rows {
                put_columns(rec, &own, y, rows.start);
            }
        }
        if let Some(bias) = self.bias {
            add_bias(rec, y, &bias.weight);
        }
    }

    /// Number of columns of y.
    pub fn outputs(&self) -> usize {
        self.weight.iter().map(|part| part.weight.shape[0]).sum()
    }

    /// dx (+)= dy w.
    pub fn input_gradient(&self, rec: &mut Recorder, dy: &Tensor, dx: &Tensor, output: Output) {
        for (index, part) in self.weight.iter().enumerate() {
            let output = if index == 0 { output } else { Output::Accumulate };
            let dy = columns_of(rec, dy, part);
            matmul::nn(rec, &dy, &part.weight, dx, output);
        }
    }

    /// dw (+)= dyᵀ x and db (+)= Σ rows of dy. Nothing may read w afterwards, so the input's gradient comes first.
    pub fn weight_gradient(
        &self,
        rec: &mut Recorder,
        dy: &Tensor,
        x: &Tensor,
        sink: &mut GradientSink<'_, '_>,
    ) -> Result<()> {
        self.add_weight_gradient(rec, dy, x, sink.output, sink);
        self.whole(rec, sink)?;
        let Some(bias) = self.bias else { return Ok(()) };
        column_sum(rec, dy, sink.target(bias));
        sink.whole(rec, bias)
    }

    /// The same for some of the rows of dy and x; the gradient is not complete yet.
    pub fn add_weight_gradient(
        &self,
        rec: &mut Recorder,
        dy: &Tensor,
        x: &Tensor,
        output: Output,
        sink: &mut GradientSink<'_, '_>,
    ) {
        for part in self.weight {
            let dy = columns_of(rec, dy, part);
            matmul::weight_gradient(rec, &dy, x, Target { output, ..sink.target(part) });
        }
    }

    /// Reports that the weight's gradient is complete.
    pub fn whole(&self, rec: &mut Recorder, sink: &mut GradientSink<'_, '_>) -> Result<()> {
        self.weight.iter().try_for_each(|part| sink.whole(rec, part))
    }
}

/// A tensor for the columns of y that a part of the weight produces: y itself, if the part is the whole weight.
fn part_of(rec: &mut Recorder, y: &Tensor, part: &Parameter) -> Tensor {
    match &part.rows {
        None => y.clone(),
        Some(rows) => rec.transient(Class::Activations, y.dtype, "columns", &[y.shape[0], rows.len()]),
    }
}

/// The columns of dy for a part of the weight.
fn columns_of(rec: &mut Recorder, dy: &Tensor, part: &Parameter) -> Tensor {
    let own = part_of(rec, dy, part);
    if let Some(rows) = &part.rows {
        take_columns(rec, dy, rows.start, &own);
    }
    own
}
