//! What pruning removes: groups of heads that share a key head, and channels of the feed-forward layers.

use crate::gpu::{Class, DType, Recorder, Tensor};
use crate::kernels::bias::column_squares;
use crate::kernels::prune::mask_columns;
use crate::settings::ModelConfig;

/// The kinds of units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnitKind {
    /// Query heads that share a key head, with that head: columns of the input of `o_proj`.
    Heads,
    /// A channel: one column of the input of `down_proj`.
    Channels,
}

impl UnitKind {
    /// Both kinds.
    pub const ALL: [Self; 2] = [Self::Heads, Self::Channels];

    /// Units per layer.
    pub fn per_layer(self, config: &ModelConfig) -> usize {
        match self {
            Self::Heads => config.num_key_value_heads,
            Self::Channels => config.intermediate_size,
        }
    }

    /// End of the name of the matrix that reads the units.
    pub fn reader(self) -> &'static str {
        match self {
            Self::Heads => "self_attn.o_proj.weight",
            Self::Channels => "mlp.down_proj.weight",
        }
    }

    /// Columns per layer of the matrix that reads the units.
    pub fn columns(self, config: &ModelConfig) -> usize {
        match self {
            Self::Heads => config.query_size(),
            Self::Channels => config.intermediate_size,
        }
    }
}

/// A number per unit, or per column of the matrix that reads them, for every layer: `[layers, n]`, with rows padded so
/// that each can be bound alone.
#[derive(Clone, Debug)]
pub struct PerLayer {
    /// `[layers, padded]`; the padding stays zero.
    pub tensor: Tensor,
    /// Numbers per layer.
    pub n: usize,
}

impl PerLayer {
    /// Allocates `n` numbers for each of `layers`.
    pub fn new(rec: &mut Recorder, name: &str, layers: usize, n: usize) -> Self {
        let tensor = rec.persistent(Class::Scratch, DType::F32, name, &[layers, n.next_multiple_of(PITCH)]);
        Self { tensor, n }
    }

    /// Each layer's numbers, without the padding.
    pub fn values<'a>(&self, all: &'a [f32]) -> impl Iterator<Item = &'a [f32]> {
        let n = self.n;
        all.chunks(self.tensor.shape[1]).map(move |row| &row[..n])
    }

    /// The tensor's contents for these numbers of each layer.
    pub fn padded<'a>(&self, layers: impl IntoIterator<Item = &'a [f32]>) -> Vec<f32> {
        let pad = self.tensor.shape[1] - self.n;
        layers.into_iter().flat_map(|row| row.iter().copied().chain(std::iter::repeat_n(0.0, pad))).collect()
    }

    /// A copy for each of `copies`, one after the other.
    pub fn copies(rec: &mut Recorder, name: &str, copies: usize, layers: usize, n: usize) -> (Tensor, Vec<Self>) {
        let all = Self::new(rec, name, copies * layers, n).tensor;
        let copy = |at: usize| Self { tensor: all.rows(at * layers..(at + 1) * layers), n };
        let copies = (0..copies).map(copy).collect();
        (all, copies)
    }

    fn of(&self, layer: usize) -> Tensor {
        self.tensor.rows(layer..layer + 1)
    }
}

/// Rows begin at multiples of 256 bytes: a valid binding offset on every adapter, so that the numbers of units, from
/// which masks are drawn, are the same on all.
const PITCH: usize = 64;

/// What a forward pass does with the columns that belong to units, for heads and for channels.
#[derive(Clone, Copy)]
pub enum Units<'a> {
    /// Multiplies the columns of each unit by its mask.
    Masked([&'a PerLayer; 2]),
    /// Adds the squares of each column to a sum.
    Measured([&'a PerLayer; 2]),
}

impl Units<'_> {
    /// Of one kind, in one layer.
    pub(super) fn of(self, kind: UnitKind, layer: usize) -> LayerUnits {
        match self {
            Self::Masked(masks) => {
                let mask = masks[kind as usize];
                LayerUnits::Masked(mask.of(layer), mask.n)
            }
            Self::Measured(sums) => LayerUnits::Measured(sums[kind as usize].of(layer)),
        }
    }
}

/// The same in one layer.
#[derive(Clone)]
pub(super) enum LayerUnits {
    /// The mask, and its number of units.
    Masked(Tensor, usize),
    /// The sums.
    Measured(Tensor),
}

impl LayerUnits {
    /// Applies it to x `[N, columns]`, the input of `o_proj` or `down_proj`.
    pub fn apply(&self, rec: &mut Recorder, x: &Tensor) {
        match self {
            Self::Masked(mask, units) => mask_columns(rec, mask, *units, x),
            Self::Measured(sums) => column_squares(rec, x, sums),
        }
    }
}
