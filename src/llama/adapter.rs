//! Adapters around the projections of a feed-forward block, in models that have them.

use super::parameters::Parameter;
use crate::gpu::{Class, DType, Recorder, Tensor};
use crate::kernels::adapter::{adapter_residual, bias_relu, tensor_train};
use crate::settings::{AdapterConfig, TensorTrain};

/// The adapters of one block, in the order of [`AdapterConfig::PLACES`].
pub(super) struct Adapters<'a> {
    pub before_gate: Adapter<'a>,
    pub before_up: Adapter<'a>,
    pub after_down: Adapter<'a>,
}

/// y = x + scale · up( relu(down(x)) ), where down and up are each a tensor train plus a bias.
pub(super) struct Adapter<'a> {
    down: Train<'a>,
    up: Train<'a>,
    scale: f64,
}

impl<'a> Adapters<'a> {
    /// From the parameters of one block's adapters.
    pub fn new(config: AdapterConfig, parameters: &'a [Parameter]) -> Self {
        let adapter = |place: usize| {
            let of_place = &parameters[place * AdapterConfig::PARAMETERS..][..AdapterConfig::PARAMETERS];
            let (down, up) = of_place.split_at(TensorTrain::CORES + 1);
            Adapter { down: Train(down), up: Train(up), scale: config.scale }
        };
        Self { before_gate: adapter(0), before_up: adapter(1), after_down: adapter(2) }
    }
}

impl Adapter<'_> {
    /// `[N, C]` of x `[N, C]`.
    pub fn forward(&self, rec: &mut Recorder, x: &Tensor) -> Tensor {
        let narrow = self.down.forward(rec, x);
        bias_relu(rec, &narrow, self.down.bias());
        let wide = self.up.forward(rec, &narrow);
        let y = rec.transient(Class::Activations, DType::F32, "adapted", &x.shape);
        adapter_residual(rec, [x, &wide], self.up.bias(), &y, self.scale);
        y
    }
}

/// A tensor train: its cores, followed by its bias.
struct Train<'a>(&'a [Parameter]);

impl Train<'_> {
    /// Without the bias.
    fn forward(&self, rec: &mut Recorder, x: &Tensor) -> Tensor {
        let cores: Vec<&Tensor> = self.0[..TensorTrain::CORES].iter().map(|core| &core.weight).collect();
        tensor_train(rec, x, &cores)
    }

    fn bias(&self) -> &Tensor {
        &self.0[TensorTrain::CORES].weight
    }
}
