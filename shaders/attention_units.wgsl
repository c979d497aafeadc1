// out = softmax(q kT / sqrt(D) + causal) v on half-precision matrix units; sums, scores and softmax are f32.
// Query head h reads key head h / (HEADS / KV_HEADS). Keeps the log-sum-exp of every row for the backward pass.
// A workgroup handles ROWS queries of a head and scans the keys twice (lib/attention_units.wgsl): first for the largest
// score of each row, then for the sums. A cooperative matrix cannot be scaled by row, so sums that follow a running
// maximum would have to leave the units for every tile of keys; recomputing scores costs less. Weights are at most 1
// when converted to f16, and sums are divided by the rows' totals when written.
struct Params {
    seq: u32,
    heads: u32,
    kv_heads: u32,
}
@group(0) @binding(0) var<storage, read>       q:   array<Stored>;  // [B*T, H*D]
@group(0) @binding(1) var<storage, read>       k:   array<Stored>;  // [B*T, KV*D]
@group(0) @binding(2) var<storage, read>       v:   array<Stored>;  // [B*T, KV*D]
@group(0) @binding(3) var<storage, read_write> out: array<Stored>;  // [B*T, H*D]
@group(0) @binding(4) var<storage, read_write> lse: array<f32>;     // [B*T, H]
@group(0) @binding(5) var<uniform>             params: Params;

const QUERIES: u32 = 0u;
const KEYS: u32 = 1u;
const VALUES: u32 = 2u;

// Workgroups: [blocks of ROWS queries, heads, batch].
@compute @workgroup_size(LANES)
fn attention_units(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let head = group.y;
    let kv_head = head / (params.heads / params.kv_heads);
    let base = group.z * params.seq;
    let block = ((params.seq - 1u) / ROWS - group.x) * ROWS;  // those with most keys come first
    let end = min(block + ROWS, params.seq);
    let scale = 1.0 / sqrt(f32(16u * DEPTHS));
    let own_row = lane / 32u * 16u;
    let row = lane / 2u;
    let query = block + row;
    stage_own(QUERIES, base, block, params.heads, head, lane);
    workgroupBarrier();
    keep_own(own_row);
    fetch(KEYS, 0u, base, 0u, end, params.kv_heads, kv_head, lane);
    workgroupBarrier();
    var top = UNSEEN;
    for (var first = 0u; first < end; first += TILE) {
        stage(0u, lane);
        workgroupBarrier();
        fetch(KEYS, 0u, base, first + TILE, end, params.kv_heads, kv_head, lane);
        for (var j = 0u; j < TILE; j += 16u) { score(own_row, j); }
        workgroupBarrier();
        for (var i = lane % 2u; i < TILE / 4u; i += 2u) {
            let seen = four_from(first + 4u * i) <= vec4(query);
            top = max(top, greatest(select(vec4(UNSEEN), scores[row * STRIP + i], seen)));
        }
    }
    top = max(top, other_half(top, lane));
    fetch(KEYS, 0u, base, 0u, end, params.kv_heads, kv_head, lane);
    var weight_sum = 0.0;
    for (var first = 0u; first < end; first += TILE) {
        stage(0u, lane);
        workgroupBarrier();
        fetch(VALUES, 1u, base, first, end, params.kv_heads, kv_head, lane);
        for (var j = 0u; j < TILE; j += 16u) { score(own_row, j); }
        stage(1u, lane);
        workgroupBarrier();
        // Every query sees the first key, so top is a score.
        for (var i = lane % 2u; i < TILE / 4u; i += 2u) {
            let seen = four_from(first + 4u * i) <= vec4(query);
            let weights = select(vec4<f32>(), exp(scale * (scores[row * STRIP + i] - top)), seen);
            weight_sum += total(weights);
            shares[row * SHARE + i] = stored(weights);
        }
        fetch(KEYS, 0u, base, first + TILE, end, params.kv_heads, kv_head, lane);
        workgroupBarrier();
        for (var j = 0u; j < TILE; j += 16u) { add_rows(own_row, 1u, j); }
    }
    weight_sum += other_half(weight_sum, lane);
    if (query < params.seq && lane % 2u == 0u) {
        lse[(base + query) * params.heads + head] = scale * top + log(weight_sum);
    }
    leave_sums(0u, Place(base, block, params.heads, head), own_row, lane);
}

fn element(source: u32, at: u32) -> vec4<f16> {
    switch source {
        case QUERIES: { return q[at]; }
        case KEYS: { return k[at]; }
        default: { return v[at]; }
    }
}

fn put(target_matrix: u32, row: u32, at: u32, sum: vec4<f32>) {
    out[at] = stored(sum / (halves[2u * row] + halves[2u * row + 1u]));
}
