//! Adapters in tensor-train form, which AdaZeta trains instead of the model.

use serde::{Deserialize, Serialize};

use super::check;
use super::parameter::{ParameterSpec, Role};
use crate::{Error, Result};

/// An adapter around each projection of every MLP: x + scale · up(relu(down(x))), whose two linear layers are tensor
/// trains (Yang et al. 2024, arXiv 2406.18060, after Houlsby et al. 2019, arXiv 1902.00751).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct AdapterConfig {
    /// Width between the two layers of an adapter.
    pub bottleneck: usize,
    /// Rank of the tensor trains.
    pub tensor_rank: usize,
    /// Factor on an adapter's output.
    pub scale: f64,
}

/// A linear layer as a product of [`TensorTrain::CORES`] small tensors (Oseledets 2011, doi 10.1137/090752286; Novikov et
/// al. 2015, arXiv 1509.06569).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TensorTrain {
    /// Factors of the input's width, then of the output's.
    pub factors: [usize; TensorTrain::CORES],
    /// Rank between every pair of neighbours.
    pub rank: usize,
}

impl TensorTrain {
    /// Three factors of each width.
    pub const CORES: usize = 6;

    /// Factors both widths as evenly as possible.
    pub fn new(inputs: usize, outputs: usize, rank: usize) -> Self {
        let ([a, b, c], [d, e, f]) = (balanced(inputs), balanced(outputs));
        Self { factors: [a, b, c, d, e, f], rank }
    }

    /// The shape `[r, n, r']` of each core; the first r and the last r' are 1.
    pub fn cores(&self) -> [[usize; 3]; Self::CORES] {
        std::array::from_fn(|at| {
            let before = if at == 0 { 1 } else { self.rank };
            let after = if at + 1 == Self::CORES { 1 } else { self.rank };
            [before, self.factors[at], after]
        })
    }

    /// Width of the input.
    pub fn inputs(&self) -> usize {
        self.factors[..3].iter().product()
    }

    /// Width of the output.
    pub fn outputs(&self) -> usize {
        self.factors[3..].iter().product()
    }
}

/// Three factors of n with the smallest sum, ascending.
fn balanced(n: usize) -> [usize; 3] {
    let divisors = |n: usize| (1..=n).take_while(move |d| d * d <= n).filter(move |d| n.is_multiple_of(*d));
    let triples = divisors(n).flat_map(|a| divisors(n / a).map(move |b| [a, b, n / a / b]));
    let mut best = triples.min_by_key(|factors| factors.iter().sum::<usize>()).unwrap_or([1, 1, n]);
    best.sort_unstable();
    best
}

impl AdapterConfig {
    /// The projections with adapters: before the first two, after the last.
    pub const PLACES: [&str; 3] = ["gate_proj", "up_proj", "down_proj"];
    /// The two layers of an adapter.
    pub const LAYERS: [&str; 2] = ["down", "up"];
    /// Parameters per adapter: the cores and the bias of each layer.
    pub const PARAMETERS: usize = 2 * (TensorTrain::CORES + 1);

    /// Down to the bottleneck and up again.
    pub fn trains(&self, hidden_size: usize) -> [TensorTrain; 2] {
        let [hidden, narrow] = [hidden_size, self.bottleneck];
        [[hidden, narrow], [narrow, hidden]].map(|[from, to]| TensorTrain::new(from, to, self.tensor_rank))
    }

    /// Every parameter of every adapter: layer by layer, place by place.
    pub(crate) fn parameters(&self, hidden_size: usize, n_layers: usize) -> Vec<ParameterSpec> {
        let mut specs = Vec::new();
        for layer in 0..n_layers {
            for place in Self::PLACES {
                for (part, train) in Self::LAYERS.into_iter().zip(self.trains(hidden_size)) {
                    let name = |what: &str| format!("model.layers.{layer}.mlp.{place}.adapter.{part}.{what}");
                    let mut add = |name, shape| specs.push(ParameterSpec { name, shape, role: Role::Adapter });
                    for (at, core) in train.cores().into_iter().enumerate() {
                        add(name(&format!("cores.{at}")), core.to_vec());
                    }
                    add(name("bias"), vec![train.outputs()]);
                }
            }
        }
        specs
    }

    /// Rejects sizes of 0 and unreasonably large ones; `key` gives the full name of a key.
    pub(crate) fn validate(&self, key: &dyn Fn(&str) -> String) -> Result<()> {
        for (name, value) in [("bottleneck", self.bottleneck), ("tensor_rank", self.tensor_rank)] {
            if !(1..=Self::MOST).contains(&value) {
                return Err(Error::config(key(name), format!("must be from 1 to {}, got {value}", Self::MOST)));
            }
        }
        check::positive(&key("scale"), self.scale)
    }

    /// Largest bottleneck and rank.
    const MOST: usize = 4096;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widths_are_cut_into_even_factors() {
        let cases = [
            (4096, [16, 16, 16]),
            (64, [4, 4, 4]),
            (128, [4, 4, 8]),
            (768, [8, 8, 12]),
            (13, [1, 1, 13]),
            (1, [1, 1, 1]),
            (12, [2, 2, 3]),
        ];
        for (n, factors) in cases {
            assert_eq!(balanced(n), factors, "{n}");
        }
        let train = TensorTrain::new(4096, 64, 5);
        assert_eq!(train.cores(), [[1, 16, 5], [5, 16, 5], [5, 16, 5], [5, 4, 5], [5, 4, 5], [5, 4, 1]]);
        assert_eq!((train.inputs(), train.outputs()), (4096, 64));
    }

    #[test]
    fn an_adapter_has_so_many_parameters_and_few_numbers() {
        let adapter = AdapterConfig { bottleneck: 64, tensor_rank: 5, scale: 1.0 };
        let specs = adapter.parameters(4096, 2);
        assert_eq!(specs.len(), 2 * 3 * AdapterConfig::PARAMETERS);
        assert_eq!(specs[0].name, "model.layers.0.mlp.gate_proj.adapter.down.cores.0");
        assert_eq!(
            (specs[13].name.as_str(), &specs[13].shape[..]),
            ("model.layers.0.mlp.gate_proj.adapter.up.bias", &[4096][..])
        );
        let numbers: usize = specs[..13].iter().map(ParameterSpec::n_elements).sum();
        assert!(numbers < 2 * 4096 * 64 / 100, "{numbers}: a hundredth of two whole matrices");
    }
}
