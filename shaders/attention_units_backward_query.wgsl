// dq = sum over keys of ds k / sqrt(D), with p = exp(s - lse), ds = p (dout v - delta), delta = dout out, on
// half-precision matrix units; sums and element-wise work are f32, and ds is converted to f16 when it becomes an
// operand.
// A workgroup handles ROWS queries of a head, with their output gradients (lib/attention_units.wgsl).
struct Params {
    seq: u32,
    heads: u32,
    kv_heads: u32,
}
@group(0) @binding(0) var<storage, read>       q:     array<Stored>;  // [B*T, H*D]
@group(0) @binding(1) var<storage, read>       k:     array<Stored>;  // [B*T, KV*D]
@group(0) @binding(2) var<storage, read>       v:     array<Stored>;  // [B*T, KV*D]
@group(0) @binding(3) var<storage, read>       out:   array<Stored>;  // [B*T, H*D]
@group(0) @binding(4) var<storage, read>       dout:  array<Stored>;  // [B*T, H*D]
@group(0) @binding(5) var<storage, read>       lse:   array<f32>;     // [B*T, H]
@group(0) @binding(6) var<storage, read_write> delta: array<f32>;     // [B*T, H]
@group(0) @binding(7) var<storage, read_write> dq:    array<Stored>;  // [B*T, H*D]
@group(0) @binding(8) var<uniform>             params: Params;

const QUERIES: u32 = 0u;
const DOUTS: u32 = 1u;
const KEYS: u32 = 2u;
const VALUES: u32 = 3u;

var<private> of_query: vec2<f32>;  // log-sum-exp and delta of this lane's row

// Workgroups: [blocks of ROWS queries, heads, batch].
@compute @workgroup_size(LANES)
fn attention_units_backward_query(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let head = group.y;
    let kv_head = head / (params.heads / params.kv_heads);
    let base = group.z * params.seq;
    let block = ((params.seq - 1u) / ROWS - group.x) * ROWS;  // those with most keys come first
    let end = min(block + ROWS, params.seq);
    let own_row = lane / 32u * 16u;
    let row = lane / 2u;
    let query = block + row;
    let memory_row = (base + min(query, params.seq - 1u)) * params.heads + head;
    fetch(KEYS, 0u, base, 0u, end, params.kv_heads, kv_head, lane);
    fetch(VALUES, 1u, base, 0u, end, params.kv_heads, kv_head, lane);
    stage_own(QUERIES, base, block, params.heads, head, lane);
    workgroupBarrier();
    keep_own(own_row);
    workgroupBarrier();
    stage_own(DOUTS, base, block, params.heads, head, lane);
    workgroupBarrier();
    keep_beside(own_row);
    var of_row = 0.0;
    for (var i = lane % 2u; i < HEAD_VEC4; i += 2u) {
        of_row += dot(Real(dout[memory_row * HEAD_VEC4 + i]), Real(out[memory_row * HEAD_VEC4 + i]));
    }
    of_row += other_half(of_row, lane);
    if (query < params.seq && lane % 2u == 0u) { delta[memory_row] = of_row; }
    of_query = vec2(lse[memory_row], of_row);
    for (var first = 0u; first < end; first += TILE) {
        workgroupBarrier();
        stage(0u, lane);
        stage(1u, lane);
        workgroupBarrier();
        fetch(KEYS, 0u, base, first + TILE, end, params.kv_heads, kv_head, lane);
        fetch(VALUES, 1u, base, first + TILE, end, params.kv_heads, kv_head, lane);
        for (var j = 0u; j < TILE; j += 16u) { score(own_row, j); }
        workgroupBarrier();
        weigh_row(row, query, first, lane);
        workgroupBarrier();
        for (var j = 0u; j < TILE; j += 16u) { score_beside(own_row, j); }
        workgroupBarrier();
        share_row(row, lane);
        workgroupBarrier();
        for (var j = 0u; j < TILE; j += 16u) { add_rows(own_row, 0u, j); }
    }
    leave_sums(0u, Place(base, block, params.heads, head), own_row, lane);
}

// p of four keys starting at first + 4 i.
fn weigh(row: u32, query: u32, first: u32, i: u32) -> vec4<f32> {
    let score = scores[row * STRIP + i] / sqrt(f32(16u * DEPTHS));
    return select(vec4<f32>(), exp(score - of_query.x), four_from(first + 4u * i) <= vec4(query));
}

// ds of the same.
fn share(row: u32, i: u32, weights: vec4<f32>) {
    shares[row * SHARE + i] = stored(weights * (scores[row * STRIP + i] - of_query.y));
}

fn element(source: u32, at: u32) -> vec4<f16> {
    switch source {
        case QUERIES: { return q[at]; }
        case DOUTS: { return dout[at]; }
        case KEYS: { return k[at]; }
        default: { return v[at]; }
    }
}

fn put(target_matrix: u32, row: u32, at: u32, sum: vec4<f32>) {
    dq[at] = stored(sum / sqrt(f32(16u * DEPTHS)));
}
