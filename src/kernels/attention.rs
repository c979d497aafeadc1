//! Causal grouped-query attention and its gradients without a T×T matrix, after FlashAttention (Dao et al., 2022).

use std::fmt;

use super::{
    MAX_LOOP_ITERATIONS, WORKGROUP_SIZE, check_rounds, lanes_within, of_type, reduction_lanes, reduction_rounds,
};
use crate::gpu::{Class, DType, Kernel, Need, Profile, Recorder, Tensor, grid, kernels};
pub use crate::settings::MAX_HEAD_DIM;

kernels! {
    TILED_SHARED = "attention_tiled_shared"
        : "attention_tiled" + "vec4" + "single" + "head_rows" + "team_shared";
    TILED_SHARED_HALF = "attention_tiled_shared_half"
        : "attention_tiled" + "vec4" + "half" + "head_rows" + "team_shared",
        with (Stored = "vec4<f16>"), needs Need::F16;
    TILED_SHUFFLED = "attention_tiled_shuffled"
        : "attention_tiled" + "vec4" + "single" + "head_rows" + "team_shuffled", needs Need::AnySubgroups;
    TILED_SHUFFLED_HALF = "attention_tiled_shuffled_half"
        : "attention_tiled" + "vec4" + "half" + "head_rows" + "team_shuffled",
        with (Stored = "vec4<f16>"), needs Need::AnySubgroups, Need::F16;
    TILED_BACKWARD_QUERY_SHARED = "attention_tiled_backward_query_shared"
        : "attention_tiled_backward_query" + "vec4" + "single" + "head_rows" + "team_shared" + "pairs";
    TILED_BACKWARD_QUERY_SHARED_HALF = "attention_tiled_backward_query_shared_half"
        : "attention_tiled_backward_query" + "vec4" + "half" + "head_rows" + "team_shared" + "pairs",
        with (Stored = "vec4<f16>"), needs Need::F16;
    TILED_BACKWARD_QUERY_SHUFFLED = "attention_tiled_backward_query_shuffled"
        : "attention_tiled_backward_query" + "vec4" + "single" + "head_rows" + "team_shuffled" + "pairs", needs Need::AnySubgroups;
    TILED_BACKWARD_QUERY_SHUFFLED_HALF = "attention_tiled_backward_query_shuffled_half"
        : "attention_tiled_backward_query" + "vec4" + "half" + "head_rows" + "team_shuffled" + "pairs",
        with (Stored = "vec4<f16>"), needs Need::AnySubgroups, Need::F16;
    TILED_BACKWARD_KEY_VALUE_SHARED = "attention_tiled_backward_key_value_shared"
        : "attention_tiled_backward_key_value" + "vec4" + "single" + "head_rows" + "team_shared" + "pairs";
    TILED_BACKWARD_KEY_VALUE_SHARED_HALF = "attention_tiled_backward_key_value_shared_half"
        : "attention_tiled_backward_key_value" + "vec4" + "half" + "head_rows" + "team_shared" + "pairs",
        with (Stored = "vec4<f16>"), needs Need::F16;
    TILED_BACKWARD_KEY_VALUE_SHUFFLED = "attention_tiled_backward_key_value_shuffled"
        : "attention_tiled_backward_key_value" + "vec4" + "single" + "head_rows" + "team_shuffled" + "pairs", needs Need::AnySubgroups;
    TILED_BACKWARD_KEY_VALUE_SHUFFLED_HALF = "attention_tiled_backward_key_value_shuffled_half"
        : "attention_tiled_backward_key_value" + "vec4" + "half" + "head_rows" + "team_shuffled" + "pairs",
        with (Stored = "vec4<f16>"), needs Need::AnySubgroups, Need::F16;
    UNITS = "attention_units"
        + "vec4" + "half" + "attention_units", with (Stored = "vec4<f16>"),
        needs Need::F16, Need::MatrixUnits, Need::Subgroups(32), Need::WorkgroupBytes(32_768);
    UNITS_BACKWARD_QUERY = "attention_units_backward_query"
        + "vec4" + "half" + "attention_units" + "attention_units_backward", with (Stored = "vec4<f16>"),
        needs Need::F16, Need::MatrixUnits, Need::Subgroups(32), Need::WorkgroupBytes(32_768);
    UNITS_BACKWARD_KEY_VALUE = "attention_units_backward_key_value"
        + "vec4" + "half" + "attention_units" + "attention_units_backward", with (Stored = "vec4<f16>"),
        needs Need::F16, Need::MatrixUnits, Need::Subgroups(32), Need::WorkgroupBytes(32_768);
    LANES = "attention_lanes" + "vec4" + "single" + "head_lanes", needs Need::Subgroups(8);
    LANES_HALF = "attention_lanes_half": "attention_lanes" + "vec4" + "half" + "head_lanes",
        with (Stored = "vec4<f16>"), needs Need::Subgroups(8), Need::F16;
    LANES_BACKWARD_QUERY = "attention_lanes_backward_query" + "vec4" + "single" + "head_lanes", needs Need::Subgroups(8);
    LANES_BACKWARD_QUERY_HALF = "attention_lanes_backward_query_half"
        : "attention_lanes_backward_query" + "vec4" + "half" + "head_lanes",
        with (Stored = "vec4<f16>"), needs Need::Subgroups(8), Need::F16;
    LANES_BACKWARD_KEY_VALUE = "attention_lanes_backward_key_value"
        + "vec4" + "single" + "head_lanes", needs Need::Subgroups(8);
    LANES_BACKWARD_KEY_VALUE_HALF = "attention_lanes_backward_key_value_half"
        : "attention_lanes_backward_key_value" + "vec4" + "half" + "head_lanes",
        with (Stored = "vec4<f16>"), needs Need::Subgroups(8), Need::F16;
    ATTENTION_32 = "attention_32": "attention" + "head_32";
    ATTENTION_64 = "attention_64": "attention" + "head_64";
    BACKWARD_QUERY_32 = "attention_backward_query_32": "attention_backward_query" + "head_32";
    BACKWARD_QUERY_64 = "attention_backward_query_64": "attention_backward_query" + "head_64";
    BACKWARD_KEY_VALUE_32 = "attention_backward_key_value_32": "attention_backward_key_value" + "head_32";
    BACKWARD_KEY_VALUE_64 = "attention_backward_key_value_64": "attention_backward_key_value" + "head_64";
    ATTENTION_DELTA = "attention_delta";
    ATTENTION_CACHED = "attention_cached" + "reduce";
    CACHE_APPEND = "cache_append";
}

/// Sizes of an attention: N = batch · seq rows; queries are `[N, heads * head_dim]`, keys and values
/// `[N, kv_heads * head_dim]`; query head h uses key head h / (heads / kv_heads).
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Sequences.
    pub batch: usize,
    /// Tokens per sequence.
    pub seq: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Channels per head; a multiple of 4, at most [`MAX_HEAD_DIM`].
    pub head_dim: usize,
}

/// Key-value cache for generation.
#[derive(Clone, Debug)]
pub struct Cache {
    /// `[positions, kv_heads * head_dim]`.
    pub k: Tensor,
    /// `[positions, kv_heads * head_dim]`.
    pub v: Tensor,
}

/// Which kernels compute an attention, and how they divide it among lanes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// One query or key per lane, with the whole head in registers and no barriers: for software adapters without
    /// subgroup operations.
    LaneEach,
    /// Four queries or keys per lane, with the whole head in registers; the 8 lanes of a subgroup load rows for each
    /// other: for llvmpipe.
    FourPerLane {
        /// Parts that a score's sum is divided into, as for a team of so many lanes: 1 or 2.
        parts: usize,
    },
    /// A team of lanes per few queries or keys, with sums through workgroup memory; runs on every adapter.
    TeamShared {
        /// Lanes per team: a power of two, at most 16.
        lanes: usize,
    },
    /// The same with sums through subgroup operations.
    TeamShuffled {
        /// Lanes per team: a power of two, at most 16.
        lanes: usize,
        /// Lanes of a set of teams, which must fit in a subgroup.
        set: usize,
    },
    /// Half precision on matrix units, 64 queries or keys per workgroup.
    Units,
}

/// The variant for a shape on an adapter, for queries, keys and values of this type.
///
/// Each lane of a team keeps at most 16 channels of a vector. The backward pass to keys and values holds four such
/// vectors for each of two keys, and so stays below 200 registers for any head size.
pub fn select(profile: &Profile, shape: &Shape, dtype: DType) -> Variant {
    let fits_units = shape.head_dim.is_multiple_of(16) && shape.head_dim <= 128;
    if dtype == DType::F16 && fits_units && !profile.software && profile.runs(&UNITS) {
        return Variant::Units;
    }
    let lanes = shape.head_dim.div_ceil(16).next_power_of_two();
    if profile.software && profile.runs(&LANES) && shape.suits_four_per_lane() {
        return Variant::FourPerLane { parts: lanes };
    }
    match profile.min_subgroup_lanes.map(|lanes| lanes as usize) {
        Some(subgroup) if subgroup >= lanes => Variant::TeamShuffled { lanes, set: subgroup.min(TEAM_WORKGROUP) },
        _ if profile.software && shape.suits_a_lane() && dtype == DType::F32 => Variant::LaneEach,
        _ => Variant::TeamShared { lanes },
    }
}

/// `@workgroup_size` of the team kernels.
const TEAM_WORKGROUP: usize = 64;

/// The passes, whose kernels and work division differ.
#[derive(Clone, Copy, Debug)]
enum Pass {
    Forward,
    BackwardQuery,
    BackwardKeyValue,
}

impl Variant {
    /// The variant for the forward pass, which is faster through workgroup memory on a GPU: at 64 × 256 tokens and 8
    /// heads of 64 an H100 takes 0.30 ms instead of 0.44 ms with shuffles. Backward, shuffles win: 0.74 ms against
    /// 0.80.
    fn forward(self, profile: &Profile) -> Self {
        match self {
            Self::TeamShuffled { lanes, .. } if !profile.software => Self::TeamShared { lanes },
            other => other,
        }
    }

    fn kernel(self, pass: Pass, head_dim: usize, dtype: DType) -> &'static Kernel {
        let of_head = |[small, large]: [&'static Kernel; 2]| if head_dim > 32 { large } else { small };
        let of_type = |forms: [&'static Kernel; 2]| of_type(dtype, forms);
        match (self, pass) {
            (Self::TeamShared { .. }, Pass::Forward) => of_type([&TILED_SHARED, &TILED_SHARED_HALF]),
            (Self::TeamShared { .. }, Pass::BackwardQuery) => {
                of_type([&TILED_BACKWARD_QUERY_SHARED, &TILED_BACKWARD_QUERY_SHARED_HALF])
            }
            (Self::TeamShared { .. }, Pass::BackwardKeyValue) => {
                of_type([&TILED_BACKWARD_KEY_VALUE_SHARED, &TILED_BACKWARD_KEY_VALUE_SHARED_HALF])
            }
            (Self::TeamShuffled { .. }, Pass::Forward) => of_type([&TILED_SHUFFLED, &TILED_SHUFFLED_HALF]),
            (Self::TeamShuffled { .. }, Pass::BackwardQuery) => {
                of_type([&TILED_BACKWARD_QUERY_SHUFFLED, &TILED_BACKWARD_QUERY_SHUFFLED_HALF])
            }
            (Self::TeamShuffled { .. }, Pass::BackwardKeyValue) => {
                of_type([&TILED_BACKWARD_KEY_VALUE_SHUFFLED, &TILED_BACKWARD_KEY_VALUE_SHUFFLED_HALF])
            }
            (Self::LaneEach, Pass::Forward) => of_head([&ATTENTION_32, &ATTENTION_64]),
            (Self::LaneEach, Pass::BackwardQuery) => of_head([&BACKWARD_QUERY_32, &BACKWARD_QUERY_64]),
            (Self::LaneEach, Pass::BackwardKeyValue) => of_head([&BACKWARD_KEY_VALUE_32, &BACKWARD_KEY_VALUE_64]),
            (Self::FourPerLane { .. }, Pass::Forward) => of_type([&LANES, &LANES_HALF]),
            (Self::FourPerLane { .. }, Pass::BackwardQuery) => {
                of_type([&LANES_BACKWARD_QUERY, &LANES_BACKWARD_QUERY_HALF])
            }
            (Self::FourPerLane { .. }, Pass::BackwardKeyValue) => {
                of_type([&LANES_BACKWARD_KEY_VALUE, &LANES_BACKWARD_KEY_VALUE_HALF])
            }
            (Self::Units, Pass::Forward) => &UNITS,
            (Self::Units, Pass::BackwardQuery) => &UNITS_BACKWARD_QUERY,
            (Self::Units, Pass::BackwardKeyValue) => &UNITS_BACKWARD_KEY_VALUE,
        }
    }

    /// Queries or keys per workgroup.
    fn per_workgroup(self, pass: Pass) -> usize {
        match (self, pass) {
            // One vector of the CPU; this variant has no barriers, which would be expensive.
            (Self::LaneEach, _) => 8,
            (Self::FourPerLane { .. }, _) => 32,
            (Self::Units, _) => 64,
            (Self::TeamShared { lanes } | Self::TeamShuffled { lanes, .. }, Pass::Forward) => {
                4 * TEAM_WORKGROUP / lanes
            }
            (Self::TeamShared { lanes } | Self::TeamShuffled { lanes, .. }, _) => 2 * TEAM_WORKGROUP / lanes,
        }
    }

    fn constants(self, pass: Pass, shape: &Shape) -> Vec<(&'static str, f64)> {
        let head_vec4 = shape.head_dim / 4;
        let team = |lanes: usize, stride: usize, batch: usize| {
            vec![
                ("HEAD_VEC4", head_vec4),
                ("LANES", lanes),
                ("DEPTH", head_vec4.div_ceil(lanes)),
                ("TEAMS", TEAM_WORKGROUP / lanes),
                ("STRIDE", stride),
                ("BATCH", batch),
            ]
        };
        let how = match (self, pass) {
            (Self::LaneEach, _) => vec![("HEAD_DIM", shape.head_dim), ("WG", self.per_workgroup(pass))],
            (Self::FourPerLane { parts }, _) => vec![("HEAD_VEC4", head_vec4), ("PARTS", parts)],
            // Two barriers serve as many sums as fit in workgroup memory.
            (Self::TeamShared { lanes }, _) => team(lanes, TEAM_WORKGROUP / lanes, 4),
            // Forward, the sums are rescaled once per batch.
            (Self::TeamShuffled { lanes, set }, Pass::Forward) => team(lanes, set / lanes, 4),
            // Backward, operands stay in registers until their sums are done, and more than one would not fit.
            (Self::TeamShuffled { lanes, set }, _) => team(lanes, set / lanes, 1),
            (Self::Units, _) => vec![("DEPTHS", shape.head_dim / 16)],
        };
        let sizes = [("SEQ", shape.seq), ("HEADS", shape.heads), ("KV_HEADS", shape.kv_heads)];
        sizes.into_iter().chain(how).map(|(name, value)| (name, value as f64)).collect()
    }

    /// Loop iterations per lane, ignoring short loops; see [`MAX_LOOP_ITERATIONS`].
    fn rounds(self, pass: Pass, shape: &Shape) -> usize {
        let (lanes, batch, sum_rounds) = match (self, pass) {
            (Self::LaneEach | Self::FourPerLane { .. }, _) => return 0, // see `Shape::suits_…`
            (Self::Units, _) => return 0,                               // never on a software adapter
            (Self::TeamShared { lanes }, _) => (lanes, 4, 4_usize.div_ceil(lanes)),
            (Self::TeamShuffled { lanes, .. }, Pass::Forward) => (lanes, 4, 0),
            (Self::TeamShuffled { lanes, .. }, _) => (lanes, 1, 0),
        };
        let of_head = 1 + shape.seq.div_ceil(TEAM_WORKGROUP / lanes) + shape.seq.div_ceil(batch) * (1 + sum_rounds);
        if matches!(pass, Pass::BackwardKeyValue) { shape.heads / shape.kv_heads * of_head } else { of_head }
    }

    fn dispatch(self, rec: &mut Recorder, pass: Pass, bindings: &[&Tensor], shape: &Shape) {
        let heads_at_once = if matches!(pass, Pass::BackwardKeyValue) { shape.kv_heads } else { shape.heads };
        let blocks = shape.seq.div_ceil(self.per_workgroup(pass));
        let groups = [blocks, heads_at_once, shape.batch].map(|n| n as u32);
        let Shape { batch, seq, heads, kv_heads, head_dim } = shape;
        let what = || format!("attention of {heads} heads on {kv_heads} over {seq} tokens");
        let advice = "a shorter train.sequence_length, or more key and value heads";
        check_rounds(rec, self.rounds(pass, shape), what, advice);
        let kernel = self.kernel(pass, shape.head_dim, bindings[0].dtype);
        rec.dispatch(kernel, bindings, &self.constants(pass, shape), groups);
        let (name, products) = match pass {
            Pass::Forward => ("forward", 2),
            Pass::BackwardQuery => ("backward to queries", 3),
            Pass::BackwardKeyValue => ("backward to keys and values", 4),
        };
        let flops = products * shape.flops_of_product();
        rec.flops(flops);
        let what = format!("attention {name}, {batch}x{seq} tokens, {heads} and {kv_heads} heads of {head_dim}");
        rec.chose(what, self.to_string(), flops);
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LaneEach => f.write_str("lane_each"),
            Self::FourPerLane { .. } => f.write_str("four per lane"),
            Self::TeamShared { lanes } => write!(f, "shared in teams of {lanes}"),
            Self::TeamShuffled { lanes, .. } => write!(f, "shuffled in teams of {lanes}"),
            Self::Units => f.write_str("matrix units"),
        }
    }
}

impl Shape {
    /// FLOPs of one query-key or weight-value product under the causal mask; a multiply-add counts as two.
    fn flops_of_product(&self) -> u64 {
        [self.batch, self.heads, self.head_dim, self.seq, self.seq + 1].into_iter().map(|n| n as u64).product()
    }

    /// Whether [`Variant::LaneEach`] supports it: the head must fit in registers, because larger ones take longer to
    /// compile than they save, and a key's loops must end within the iterations that llvmpipe allows.
    fn suits_a_lane(&self) -> bool {
        let of_vectors = 2 * (self.head_dim / 4);
        let of_head = 1 + self.seq.div_ceil(4) * (1 + of_vectors);
        self.head_dim <= 64 && self.heads / self.kv_heads * of_head + of_vectors <= MAX_LOOP_ITERATIONS
    }

    /// Whether [`Variant::FourPerLane`] supports it, by the same limits.
    fn suits_four_per_lane(&self) -> bool {
        let eights = self.seq.div_ceil(8);
        let of_keys = self.heads / self.kv_heads * (1 + eights * (1 + 8));
        self.head_dim <= 32 && of_keys.max(eights * (1 + 2 * (1 + 4 + 4))) <= MAX_LOOP_ITERATIONS
    }

    fn check(&self, q: &Tensor, k: &Tensor, v: &Tensor) {
        assert_eq!(self.head_dim % 4, 0, "head_dim of {self:?} is no multiple of 4");
        assert!(self.head_dim <= MAX_HEAD_DIM, "head_dim {} is above {MAX_HEAD_DIM}", self.head_dim);
        let n = self.batch * self.seq;
        assert_eq!(q.shape, [n, self.heads * self.head_dim], "attention queries for {self:?}");
        assert_eq!(k.shape, [n, self.kv_heads * self.head_dim], "attention keys for {self:?}");
        assert_eq!(v.shape, k.shape, "attention values for {self:?}");
    }
}

/// out `[N, heads * head_dim]` = causal attention, in the type of queries, keys and values; lse `[N, heads]` is kept
/// for the gradient.
pub fn attention(rec: &mut Recorder, qkv: [&Tensor; 3], out: &Tensor, lse: &Tensor, shape: Shape) {
    let [q, k, v] = qkv;
    shape.check(q, k, v);
    let variant = select(&rec.profile, &shape, q.dtype).forward(&rec.profile);
    variant.dispatch(rec, Pass::Forward, &[q, k, v, out, lse], &shape);
}

/// Gradients of queries, keys and values from dout and the forward pass's results.
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
    let delta = rec.transient(Class::Scratch, DType::F32, "attention delta", &lse.shape);
    let variant = select(&rec.profile, &shape, q.dtype);
    if variant == Variant::LaneEach {
        let rows = lse.len();
        let constants = [("ROWS", rows as f64), ("HEAD_DIM", shape.head_dim as f64)];
        rec.dispatch(&ATTENTION_DELTA, &[out, dout, &delta], &constants, grid(rows.div_ceil(WORKGROUP_SIZE)));
        variant.dispatch(rec, Pass::BackwardQuery, &[q, k, v, dout, lse, &delta, dq], &shape);
    } else {
        // It already holds dout in registers, so it computes delta for the next kernel.
        variant.dispatch(rec, Pass::BackwardQuery, &[q, k, v, out, dout, lse, &delta, dq], &shape);
    }
    variant.dispatch(rec, Pass::BackwardKeyValue, &[q, k, v, dout, lse, &delta, dk, dv], &shape);
}

/// out `[1, heads * head_dim]` for one token at position `start`, attending to the cache.
pub fn attention_cached(rec: &mut Recorder, q: &Tensor, cache: &Cache, start: &Tensor, out: &Tensor, shape: Shape) {
    let positions = cache.k.shape[0];
    assert_eq!(q.len(), shape.heads * shape.head_dim, "attention_cached queries for {shape:?}");
    let scores = rec.transient(Class::Scratch, DType::F32, "attention scores", &[shape.heads, positions]);
    let lanes = lanes_within(&rec.profile, reduction_lanes(&rec.profile), |lanes| {
        let [of_positions, of_head] = [positions, shape.head_dim].map(|n| n.div_ceil(lanes));
        of_positions * (2 + shape.head_dim) + of_head * (1 + positions) + 2 * reduction_rounds(lanes)
    });
    let constants = [
        ("POSITIONS", positions as f64),
        ("HEADS", shape.heads as f64),
        ("KV_HEADS", shape.kv_heads as f64),
        ("HEAD_DIM", shape.head_dim as f64),
        ("WG", lanes as f64),
    ];
    let bindings = [q, &cache.k, &cache.v, start, &scores, out];
    rec.dispatch(&ATTENTION_CACHED, &bindings, &constants, [shape.heads as u32, 1, 1]);
}

/// cache\[start, :\] = x for one token's keys or values x `[1, kv_heads * head_dim]`.
pub fn cache_append(rec: &mut Recorder, x: &Tensor, start: &Tensor, cache: &Tensor) {
    assert_eq!(x.len(), cache.shape[1], "cache_append into {:?}", cache.shape);
    let groups = [x.len().div_ceil(WORKGROUP_SIZE) as u32, 1, 1];
    rec.dispatch(&CACHE_APPEND, &[x, start, cache], &[("COLS", x.len() as f64)], groups);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variant_follows_the_adapter_and_the_head() {
        let adapter =
            |software, min_subgroup_lanes| Profile { software, min_subgroup_lanes, ..Profile::webgpu_default() };
        let (plain, software) = (adapter(false, None), adapter(true, None));
        let subgroups = |lanes| adapter(false, Some(lanes));
        let llvmpipe = Profile { subgroup_lanes: Some(8), ..adapter(true, Some(8)) };
        let (shared, shuffled) = ("attention_tiled_shared", "attention_tiled_shuffled");
        let table = [
            // [seq, heads, head_dim], kernel, queries per workgroup, [lanes per team, vec4s per lane, teams per set]
            (&software, [256, 8, 32], "attention_32", 8, None),
            (&software, [4096, 1, 64], "attention_64", 8, None),
            (&software, [4096, 2, 64], shared, 64, Some([4, 4, 16])),
            (&software, [256, 8, 80], shared, 32, Some([8, 3, 8])),
            (&adapter(true, Some(8)), [256, 8, 64], shuffled, 64, Some([4, 4, 2])),
            (&adapter(true, Some(8)), [256, 8, 32], shuffled, 128, Some([2, 4, 4])),
            (&llvmpipe, [256, 8, 32], "attention_lanes", 32, None),
            (&llvmpipe, [256, 8, 36], shuffled, 64, Some([4, 3, 2])),
            (&llvmpipe, [1 << 15, 2, 32], shuffled, 128, Some([2, 4, 4])),
            (&plain, [256, 8, 16], shared, 256, Some([1, 4, 64])),
            (&plain, [256, 8, 64], shared, 64, Some([4, 4, 16])),
            (&plain, [256, 8, 96], shared, 32, Some([8, 3, 8])),
            (&subgroups(32), [256, 8, 32], shuffled, 128, Some([2, 4, 16])),
            (&subgroups(32), [256, 8, 64], shuffled, 64, Some([4, 4, 8])),
            (&subgroups(32), [256, 8, 80], shuffled, 32, Some([8, 3, 4])),
            (&subgroups(32), [256, 8, 128], shuffled, 32, Some([8, 4, 4])),
            (&subgroups(128), [256, 8, 64], shuffled, 64, Some([4, 4, 16])),
            (&subgroups(8), [256, 8, 128], shuffled, 32, Some([8, 4, 1])),
            (&subgroups(8), [256, 8, 256], shared, 16, Some([16, 4, 4])),
            (&subgroups(4), [256, 8, 96], shared, 32, Some([8, 3, 8])),
        ];
        for (profile, [seq, heads, head_dim], name, queries, team) in table {
            let shape = Shape { batch: 1, seq, heads, kv_heads: 1, head_dim };
            let variant = select(profile, &shape, DType::F32);
            let forward = variant.forward(profile);
            assert_eq!(matches!(forward, Variant::TeamShuffled { .. }), profile.software && name == shuffled);
            let what = format!("{variant:?} for head_dim {head_dim}");
            for pass in [Pass::Forward, Pass::BackwardQuery, Pass::BackwardKeyValue] {
                assert!(profile.runs(variant.kernel(pass, head_dim, DType::F32)), "{what}, {pass:?}");
            }
            assert_eq!(variant.kernel(Pass::Forward, head_dim, DType::F32).name, name, "{what}");
            assert_eq!(variant.per_workgroup(Pass::Forward), queries, "{what}");
            let constants = variant.constants(Pass::Forward, &shape);
            let of = |name| constants.iter().find(|(given, _)| *given == name).map(|(_, value)| *value as usize);
            assert_eq!(["LANES", "DEPTH", "STRIDE"].map(of), team.map_or([None; 3], |team| team.map(Some)), "{what}");
        }
    }

    #[test]
    fn half_precision_takes_matrix_units_for_the_heads_that_fit_them() {
        let card = Profile {
            f16: true,
            subgroup_lanes: Some(32),
            min_subgroup_lanes: Some(32),
            matrix_units: true,
            max_workgroup_bytes: 32 << 10,
            ..Profile::webgpu_default()
        };
        let small = Profile { max_workgroup_bytes: 16 << 10, ..card.clone() };
        let wide = Profile { subgroup_lanes: Some(64), min_subgroup_lanes: Some(64), ..card.clone() };
        let without = Profile { matrix_units: false, ..card.clone() };
        let (f16, f32) = (DType::F16, DType::F32);
        let table = [
            // type, head_dim, whether it uses matrix units
            (&card, f16, 16, true),
            (&card, f16, 64, true),
            (&card, f16, 80, true),
            (&card, f16, 128, true),
            (&card, f16, 144, false),
            (&card, f16, 72, false),
            (&card, f32, 64, false),
            (&small, f16, 64, false),
            (&wide, f16, 64, false),
            (&without, f16, 64, false),
        ];
        for (profile, dtype, head_dim, on_units) in table {
            let shape = Shape { batch: 1, seq: 256, heads: 8, kv_heads: 8, head_dim };
            let variant = select(profile, &shape, dtype);
            let what = format!("{variant:?} for head_dim {head_dim}");
            assert_eq!(variant == Variant::Units, on_units, "{what}");
            for pass in [Pass::Forward, Pass::BackwardQuery, Pass::BackwardKeyValue] {
                assert!(profile.runs(variant.forward(profile).kernel(pass, head_dim, dtype)), "{what}, {pass:?}");
            }
        }
    }
}
