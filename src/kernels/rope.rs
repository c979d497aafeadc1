//! Rotary position embeddings (Su et al., 2021) in Hugging Face's half-split layout.

use super::{REAL_LANES, of_type, widest};
use crate::gpu::{Class, DType, Need, Recorder, Tensor, grid, kernels};

kernels! {
    ROPE = "rope" + "vec4" + "single";
    ROPE_SCALAR = "rope_scalar": "rope" + "scalar" + "single";
    ROPE_HALF = "rope_half": "rope" + "vec4" + "half", with (Stored = "vec4<f16>"), needs Need::F16;
    ROPE_HALF_SCALAR = "rope_half_scalar": "rope" + "scalar" + "half", with (Stored = "f16"), needs Need::F16;
}

/// Cosines and sines by position; computed on the CPU, because WGSL guarantees little accuracy for large angles.
#[derive(Clone, Debug)]
pub struct RopeTables {
    /// `[positions, head_dim / 2]`.
    pub cos: Tensor,
    /// `[positions, head_dim / 2]`.
    pub sin: Tensor,
    /// `[1]` position of the first row: zero in training, the token's position during generation.
    pub start: Tensor,
    /// Radians per position, `[head_dim / 2]`.
    frequencies: Vec<f64>,
}

/// Direction of rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// By the position's angle.
    Forward,
    /// Backward, for the gradient.
    Backward,
}

impl RopeTables {
    /// Allocates tables for `positions` positions; `frequencies` `[head_dim / 2]` are radians per position of each
    /// channel pair.
    pub fn new(rec: &mut Recorder, positions: usize, frequencies: Vec<f64>) -> Self {
        let shape = [positions, frequencies.len()];
        Self {
            cos: rec.persistent(Class::Scratch, DType::F32, "rotary cosines", &shape),
            sin: rec.persistent(Class::Scratch, DType::F32, "rotary sines", &shape),
            start: rec.persistent(Class::Scratch, DType::U32, "first position", &[1]),
            frequencies,
        }
    }

    /// The contents of `cos` and `sin`.
    pub fn values(&self) -> (Vec<f32>, Vec<f32>) {
        let [positions, half] = self.cos.shape[..] else { unreachable!("made by new") };
        let angle = |at: usize| (at / half) as f64 * self.frequencies[at % half];
        let angles = (0..positions * half).map(angle);
        angles.map(|angle| (angle.cos() as f32, angle.sin() as f32)).unzip()
    }
}

/// Rotates queries `[B*T, heads * head_dim]` and keys `[B*T, kv_heads * head_dim]` in place, each given with its number
/// of heads; a row's position is row % `seq` + `tables.start`. Both are f32 or f16.
pub fn rope(rec: &mut Recorder, [q, k]: [(&Tensor, usize); 2], tables: &RopeTables, seq: usize, turn: Rotation) {
    let (rows, half) = (q.0.shape[0], tables.cos.shape[1]);
    for (x, heads) in [q, k] {
        assert_eq!(x.shape, [rows, heads * 2 * half], "rope with {heads} heads");
    }
    let forms = of_type(q.0.dtype, [[&ROPE, &ROPE_SCALAR], [&ROPE_HALF, &ROPE_HALF_SCALAR]]);
    let (kernel, half) = widest(forms, half);
    let sign = if turn == Rotation::Forward { 1.0 } else { -1.0 };
    let constants = [
        ("ROWS", rows as f64),
        ("HEADS", q.1 as f64),
        ("KV_HEADS", k.1 as f64),
        ("HALF", half as f64),
        ("SEQ", seq as f64),
        ("SIGN", sign),
    ];
    let bindings = [q.0, k.0, &tables.cos, &tables.sin, &tables.start];
    let pairs = rows * (q.1 + k.1) * half;
    rec.dispatch(kernel, &bindings, &constants, grid(pairs.div_ceil(REAL_LANES)));
}
