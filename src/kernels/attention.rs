//! Causal grouped-query attention without a T×T matrix, after FlashAttention (Dao et al., 2022), and its gradients.

use super::{LANES, reduction_lanes};
use crate::gpu::{Class, DType, Kernel, Recorder, Tensor, grid, kernels};

kernels! {
    ATTENTION_32 = "attention_32": "attention" + "head_32";
    ATTENTION_64 = "attention_64": "attention" + "head_64";
    ATTENTION_128 = "attention_128": "attention" + "head_128";
    ATTENTION_256 = "attention_256": "attention" + "head_256";
    ATTENTION_BACKWARD_QUERY_32 = "attention_backward_query_32": "attention_backward_query" + "head_32";
    ATTENTION_BACKWARD_QUERY_64 = "attention_backward_query_64": "attention_backward_query" + "head_64";
    ATTENTION_BACKWARD_QUERY_128 = "attention_backward_query_128": "attention_backward_query" + "head_128";
    ATTENTION_BACKWARD_QUERY_256 = "attention_backward_query_256": "attention_backward_query" + "head_256";
    ATTENTION_BACKWARD_KEY_VALUE_32 = "attention_backward_key_value_32": "attention_backward_key_value" + "head_32";
    ATTENTION_BACKWARD_KEY_VALUE_64 = "attention_backward_key_value_64": "attention_backward_key_value" + "head_64";
    ATTENTION_BACKWARD_KEY_VALUE_128 = "attention_backward_key_value_128": "attention_backward_key_value" + "head_128";
    ATTENTION_BACKWARD_KEY_VALUE_256 = "attention_backward_key_value_256": "attention_backward_key_value" + "head_256";
    ATTENTION_DELTA = "attention_delta";
    ATTENTION_CACHED = "attention_cached" + "reduce";
    CACHE_APPEND = "cache_append";
}

/// Largest head the kernels keep in registers.
pub const MAX_HEAD_DIM: usize = 256;

/// Sizes of an attention: N = batch · seq rows; queries are `[N, heads * head_dim]`, keys and values
/// `[N, kv_heads * head_dim]`; query head h reads key head h / (heads / kv_heads).
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Sequences.
    pub batch: usize,
    /// Tokens of a sequence.
    pub seq: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Components of a head; a multiple of 4, at most [`MAX_HEAD_DIM`].
    pub head_dim: usize,
}

/// Keys and values of the tokens so far, while generating.
#[derive(Clone, Debug)]
pub struct Cache {
    /// `[positions, kv_heads * head_dim]`.
    pub k: Tensor,
    /// `[positions, kv_heads * head_dim]`.
    pub v: Tensor,
}

impl Shape {
    /// The kernel with room for this head size.
    fn kernel(&self, by_room: [&'static Kernel; 4]) -> &'static Kernel {
        let size = [32, 64, 128, MAX_HEAD_DIM].iter().position(|&room| self.head_dim <= room);
        by_room[size.unwrap_or_else(|| panic!("head_dim {} is above {MAX_HEAD_DIM}", self.head_dim))]
    }

    /// Lanes of a workgroup: queries or keys side by side.
    fn lanes(&self, rec: &Recorder) -> usize {
        if rec.profile.software { 8 } else { 64 }
    }

    fn constants(&self, rec: &Recorder) -> Vec<(&'static str, f64)> {
        vec![
            ("SEQ", self.seq as f64),
            ("HEADS", self.heads as f64),
            ("KV_HEADS", self.kv_heads as f64),
            ("HEAD_DIM", self.head_dim as f64),
            ("WG", self.lanes(rec) as f64),
        ]
    }

    fn groups(&self, rec: &Recorder, heads: usize) -> [u32; 3] {
        [self.seq.div_ceil(self.lanes(rec)) as u32, heads as u32, self.batch as u32]
    }

    /// Multiply-adds of one product of queries and keys, or of weights and values, under the causal mask, counted as two.
    fn flops_of_product(&self) -> u64 {
        (self.batch * self.heads * self.head_dim * self.seq * (self.seq + 1)) as u64
    }

    fn check(&self, q: &Tensor, k: &Tensor, v: &Tensor) {
        assert_eq!(self.head_dim % 4, 0, "head_dim of {self:?} is no multiple of 4");
        let n = self.batch * self.seq;
        assert_eq!(q.shape, [n, self.heads * self.head_dim], "attention queries for {self:?}");
        assert_eq!(k.shape, [n, self.kv_heads * self.head_dim], "attention keys for {self:?}");
        assert_eq!(v.shape, k.shape, "attention values for {self:?}");
    }
}

/// out `[N, heads * head_dim]` = causal attention; lse `[N, heads]` is kept for the gradient.
pub fn attention(rec: &mut Recorder, qkv: [&Tensor; 3], out: &Tensor, lse: &Tensor, shape: Shape) {
    let [q, k, v] = qkv;
    shape.check(q, k, v);
    let (constants, groups) = (shape.constants(rec), shape.groups(rec, shape.heads));
    rec.dispatch(
        shape.kernel([&ATTENTION_32, &ATTENTION_64, &ATTENTION_128, &ATTENTION_256]),
        &[q, k, v, out, lse],
        &constants,
        groups,
    );
    rec.flops(2 * shape.flops_of_product());
}

/// Gradients of queries, keys and values from dout, with what the forward pass left.
pub fn attention_backward(
    rec: &mut Recorder,
    qkv: [&Tensor; 3],
    out: &Tensor,
    lse: &Tensor,
    dout: &Tensor,
    dqkv: [&Tensor; 3],
    shape: Shape,
) {
    let ([q, k, v], [dq, dk, dv]) = (qkv, dqkv);
    shape.check(q, k, v);
    shape.check(dq, dk, dv);
    let rows = lse.len();
    let delta = rec.transient(Class::Scratch, DType::F32, "attention delta", &lse.shape);
    let constants = [("ROWS", rows as f64), ("HEAD_DIM", shape.head_dim as f64)];
    rec.dispatch(&ATTENTION_DELTA, &[out, dout, &delta], &constants, grid(rows.div_ceil(LANES)));

    let constants = shape.constants(rec);
    let groups = shape.groups(rec, shape.heads);
    rec.dispatch(
        shape.kernel([
            &ATTENTION_BACKWARD_QUERY_32,
            &ATTENTION_BACKWARD_QUERY_64,
            &ATTENTION_BACKWARD_QUERY_128,
            &ATTENTION_BACKWARD_QUERY_256,
        ]),
        &[q, k, v, dout, lse, &delta, dq],
        &constants,
        groups,
    );
    rec.flops(3 * shape.flops_of_product());
    let groups = shape.groups(rec, shape.kv_heads);
    rec.dispatch(
        shape.kernel([
            &ATTENTION_BACKWARD_KEY_VALUE_32,
            &ATTENTION_BACKWARD_KEY_VALUE_64,
            &ATTENTION_BACKWARD_KEY_VALUE_128,
            &ATTENTION_BACKWARD_KEY_VALUE_256,
        ]),
        &[q, k, v, dout, lse, &delta, dk, dv],
        &constants,
        groups,
    );
    rec.flops(4 * shape.flops_of_product());
}

/// out `[1, heads * head_dim]` for one token at position `start`, over the cache.
pub fn attention_cached(rec: &mut Recorder, q: &Tensor, cache: &Cache, start: &Tensor, out: &Tensor, shape: Shape) {
    let positions = cache.k.shape[0];
    assert_eq!(q.len(), shape.heads * shape.head_dim, "attention_cached queries for {shape:?}");
    let scores = rec.transient(Class::Scratch, DType::F32, "attention scores", &[shape.heads, positions]);
    let constants = [
        ("POSITIONS", positions as f64),
        ("HEADS", shape.heads as f64),
        ("KV_HEADS", shape.kv_heads as f64),
        ("HEAD_DIM", shape.head_dim as f64),
        ("WG", reduction_lanes(&rec.profile) as f64),
    ];
    let bindings = [q, &cache.k, &cache.v, start, &scores, out];
    rec.dispatch(&ATTENTION_CACHED, &bindings, &constants, [shape.heads as u32, 1, 1]);
}

/// cache\[start, :\] = x for one token's keys or values x `[1, kv_heads * head_dim]`.
pub fn cache_append(rec: &mut Recorder, x: &Tensor, start: &Tensor, cache: &Tensor) {
    assert_eq!(x.len(), cache.shape[1], "cache_append into {:?}", cache.shape);
    let groups = [x.len().div_ceil(LANES) as u32, 1, 1];
    rec.dispatch(&CACHE_APPEND, &[x, start, cache], &[("COLS", x.len() as f64)], groups);
}
