// dv = sum of p dout and dk = sum of ds q / sqrt(D) over the queries that see a key, in all heads of its group, on
// half-precision matrix units, with p and ds as in attention_units_backward_query.wgsl.
// A workgroup handles ROWS keys of a head, with their values (lib/attention_units.wgsl); scores are [keys, queries]
// here.
struct Params {
    seq: u32,
    heads: u32,
    kv_heads: u32,
}
@group(0) @binding(0) var<storage, read>       q:     array<Stored>;  // [B*T, H*D]
@group(0) @binding(1) var<storage, read>       k:     array<Stored>;  // [B*T, KV*D]
@group(0) @binding(2) var<storage, read>       v:     array<Stored>;  // [B*T, KV*D]
@group(0) @binding(3) var<storage, read>       dout:  array<Stored>;  // [B*T, H*D]
@group(0) @binding(4) var<storage, read>       lse:   array<f32>;     // [B*T, H]
@group(0) @binding(5) var<storage, read>       delta: array<f32>;     // [B*T, H]
@group(0) @binding(6) var<storage, read_write> dk:    array<Stored>;  // [B*T, KV*D]
@group(0) @binding(7) var<storage, read_write> dv:    array<Stored>;  // [B*T, KV*D]
@group(0) @binding(8) var<uniform>             params: Params;

const KEYS: u32 = 0u;
const VALUES: u32 = 1u;
const QUERIES: u32 = 2u;
const DOUTS: u32 = 3u;

var<workgroup> rows: array<vec2<f32>, TILE>;          // [TILE] log-sum-exp and delta of each query
var<private> next_row: vec2<f32>;
var<private> dkeys: array<coop_mat16x16<f32, C>, 8>;  // [DEPTHS]; sums accumulates dv

// Workgroups: [blocks of ROWS keys, key heads, batch].
@compute @workgroup_size(LANES)
fn attention_units_backward_key_value(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let base = group.z * params.seq;
    let block = group.x * ROWS;
    let per_group = params.heads / params.kv_heads;
    let of_head = (params.seq - block + TILE - 1u) / TILE;  // tiles of queries that see a key of the block
    let end = per_group * of_head;
    let own_row = lane / 32u * 16u;
    let row = lane / 2u;
    let key = block + row;
    fetch_queries(base, group.y * per_group, block, lane);
    stage_own(KEYS, base, block, params.kv_heads, group.y, lane);
    workgroupBarrier();
    keep_own(own_row);
    workgroupBarrier();
    stage_own(VALUES, base, block, params.kv_heads, group.y, lane);
    workgroupBarrier();
    keep_beside(own_row);
    for (var turn = 0u; turn < end; turn++) {
        let first = block + turn % of_head * TILE;
        workgroupBarrier();
        stage(0u, lane);
        stage(1u, lane);
        if (lane < TILE) { rows[lane] = next_row; }
        workgroupBarrier();
        if (turn + 1u < end) {
            let after = block + (turn + 1u) % of_head * TILE;
            fetch_queries(base, group.y * per_group + (turn + 1u) / of_head, after, lane);
        }
        for (var j = 0u; j < TILE; j += 16u) { score(own_row, j); }
        workgroupBarrier();
        weigh_row(row, key, first, lane);
        workgroupBarrier();
        for (var j = 0u; j < TILE; j += 16u) {
            add_rows(own_row, 1u, j);
            score_beside(own_row, j);
        }
        workgroupBarrier();
        share_row(row, lane);
        workgroupBarrier();
        for (var j = 0u; j < TILE; j += 16u) { add_queries(own_row, j); }
    }
    let place = Place(base, block, params.kv_heads, group.y);
    leave_sums(VALUES, place, own_row, lane);
    leave(dkeys[0], 0u, KEYS, place, own_row, lane);
    if (DEPTHS > 1u) { leave(dkeys[1], 1u, KEYS, place, own_row, lane); }
    if (DEPTHS > 2u) { leave(dkeys[2], 2u, KEYS, place, own_row, lane); }
    if (DEPTHS > 3u) { leave(dkeys[3], 3u, KEYS, place, own_row, lane); }
    if (DEPTHS > 4u) { leave(dkeys[4], 4u, KEYS, place, own_row, lane); }
    if (DEPTHS > 5u) { leave(dkeys[5], 5u, KEYS, place, own_row, lane); }
    if (DEPTHS > 6u) { leave(dkeys[6], 6u, KEYS, place, own_row, lane); }
    if (DEPTHS > 7u) { leave(dkeys[7], 7u, KEYS, place, own_row, lane); }
}

// dkeys += ds of 16 queries of the first tile, starting at its row j, times those queries.
fn add_queries(own_row: u32, j: u32) {
    let share = coopLoadT<coop_mat16x16<f16, A>>(&shares[own_row * SHARE + j / 4u], SHARE);
    let at = j * PITCH;
    dkeys[0] = coopMultiplyAdd(share, coopLoadT<coop_mat16x16<f16, B>>(&tiles[at], PITCH), dkeys[0]);
    if (DEPTHS > 1u) { dkeys[1] = coopMultiplyAdd(share, coopLoadT<coop_mat16x16<f16, B>>(&tiles[at + 4u], PITCH), dkeys[1]); }
    if (DEPTHS > 2u) { dkeys[2] = coopMultiplyAdd(share, coopLoadT<coop_mat16x16<f16, B>>(&tiles[at + 8u], PITCH), dkeys[2]); }
    if (DEPTHS > 3u) { dkeys[3] = coopMultiplyAdd(share, coopLoadT<coop_mat16x16<f16, B>>(&tiles[at + 12u], PITCH), dkeys[3]); }
    if (DEPTHS > 4u) { dkeys[4] = coopMultiplyAdd(share, coopLoadT<coop_mat16x16<f16, B>>(&tiles[at + 16u], PITCH), dkeys[4]); }
    if (DEPTHS > 5u) { dkeys[5] = coopMultiplyAdd(share, coopLoadT<coop_mat16x16<f16, B>>(&tiles[at + 20u], PITCH), dkeys[5]); }
    if (DEPTHS > 6u) { dkeys[6] = coopMultiplyAdd(share, coopLoadT<coop_mat16x16<f16, B>>(&tiles[at + 24u], PITCH), dkeys[6]); }
    if (DEPTHS > 7u) { dkeys[7] = coopMultiplyAdd(share, coopLoadT<coop_mat16x16<f16, B>>(&tiles[at + 28u], PITCH), dkeys[7]); }
}

// p of four queries starting at first + 4 i; they enter as shares.
fn weigh(row: u32, key: u32, first: u32, i: u32) -> vec4<f32> {
    let positions = four_from(first + 4u * i);
    let sees = (vec4(key) <= positions) & (positions < vec4(params.seq));
    let lses = vec4(rows[4u * i].x, rows[4u * i + 1u].x, rows[4u * i + 2u].x, rows[4u * i + 3u].x);
    let score = scores[row * STRIP + i] / sqrt(f32(16u * DEPTHS));
    let weights = select(vec4<f32>(), exp(score - lses), sees);
    shares[row * SHARE + i] = stored(weights);
    return weights;
}

// ds of the same, once p has been accumulated.
fn share(row: u32, i: u32, weights: vec4<f32>) {
    let deltas = vec4(rows[4u * i].y, rows[4u * i + 1u].y, rows[4u * i + 2u].y, rows[4u * i + 3u].y);
    shares[row * SHARE + i] = stored(weights * (scores[row * STRIP + i] - deltas));
}

// A tile of queries with their output gradients, and the values kept for its rows.
fn fetch_queries(base: u32, head: u32, first: u32, lane: u32) {
    fetch(QUERIES, 0u, base, first, params.seq, params.heads, head, lane);
    fetch(DOUTS, 1u, base, first, params.seq, params.heads, head, lane);
    if (lane < TILE) {
        let row = (base + min(first + lane, params.seq - 1u)) * params.heads + head;
        next_row = vec2(lse[row], delta[row]);
    }
}

fn element(source: u32, at: u32) -> vec4<f16> {
    switch source {
        case KEYS: { return k[at]; }
        case VALUES: { return v[at]; }
        case QUERIES: { return q[at]; }
        default: { return dout[at]; }
    }
}

fn put(target_matrix: u32, row: u32, at: u32, sum: vec4<f32>) {
    if (target_matrix == KEYS) {
        dk[at] = stored(sum / sqrt(f32(16u * DEPTHS)));
    } else {
        dv[at] = stored(sum);
    }
}
