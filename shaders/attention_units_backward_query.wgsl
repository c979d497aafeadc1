// dq = sum over keys of ds k / sqrt(D), with p = exp(s - lse), ds = p (dout v - delta), delta = dout out, on half-precision
// matrix units; sums and everything by element are f32, and ds becomes f16 as it becomes an operand.
// A workgroup has ROWS queries of a head, with their gradients of the output (lib/attention_units.wgsl).
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

var<workgroup> dscores: array<vec4<f32>, STRIP_LEN>;  // [ROWS, STRIP] dout v

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
    let scale = 1.0 / sqrt(f32(16u * DEPTHS));
    let own_row = lane / 32u * 16u;
    let row = lane / 2u;
    let query = block + row;
    let memory_row = (base + min(query, params.seq - 1u)) * params.heads + head;
    fetch(KEYS, 0u, base, 0u, end, params.kv_heads, kv_head, lane);
    fetch(VALUES, 1u, base, 0u, end, params.kv_heads, kv_head, lane);
    stage_own(QUERIES, base, block, params.heads, head, lane);
    workgroupBarrier();
    var queries: array<coop_mat16x16<f16, A>, 8>;
    for (var d = 0u; d < DEPTHS; d++) {
        queries[d] = coopLoadT<coop_mat16x16<f16, A>>(&tiles[own_row * PITCH + 4u * d], PITCH);
    }
    workgroupBarrier();
    stage_own(DOUTS, base, block, params.heads, head, lane);
    workgroupBarrier();
    var douts: array<coop_mat16x16<f16, A>, 8>;
    for (var d = 0u; d < DEPTHS; d++) {
        douts[d] = coopLoadT<coop_mat16x16<f16, A>>(&tiles[own_row * PITCH + 4u * d], PITCH);
    }
    var of_row = 0.0;
    for (var i = lane % 2u; i < HEAD_VEC4; i += 2u) {
        of_row += dot(Real(dout[memory_row * HEAD_VEC4 + i]), Real(out[memory_row * HEAD_VEC4 + i]));
    }
    of_row += other_half(of_row, lane);
    if (query < params.seq && lane % 2u == 0u) { delta[memory_row] = of_row; }
    let row_lse = lse[memory_row];
    var sums: array<coop_mat16x16<f32, C>, 8>;
    for (var d = 0u; d < DEPTHS; d++) { sums[d] = coop_mat16x16<f32, C>(); }
    for (var first = 0u; first < end; first += TILE) {
        workgroupBarrier();
        stage(0u, lane);
        stage(1u, lane);
        workgroupBarrier();
        fetch(KEYS, 0u, base, first + TILE, end, params.kv_heads, kv_head, lane);
        fetch(VALUES, 1u, base, first + TILE, end, params.kv_heads, kv_head, lane);
        for (var j = 0u; j < TILE; j += 16u) {
            var sum = coop_mat16x16<f32, C>();
            var dsum = coop_mat16x16<f32, C>();
            for (var d = 0u; d < DEPTHS; d++) {
                let keys = coopLoad<coop_mat16x16<f16, B>>(&tiles[j * PITCH + 4u * d], PITCH);
                sum = coopMultiplyAdd(queries[d], keys, sum);
                let values = coopLoad<coop_mat16x16<f16, B>>(&tiles[(TILE + j) * PITCH + 4u * d], PITCH);
                dsum = coopMultiplyAdd(douts[d], values, dsum);
            }
            let found = sum;
            let dfound = dsum;
            let at = own_row * STRIP + j / 4u;
            coopStoreT(found, &scores[at], STRIP);
            coopStoreT(dfound, &dscores[at], STRIP);
        }
        workgroupBarrier();
        for (var i = lane % 2u; i < TILE / 4u; i += 2u) {
            let at = row * STRIP + i;
            let seen = four_from(first + 4u * i) <= vec4(query);
            let weights = select(vec4<f32>(), exp(scale * scores[at] - row_lse), seen);
            shares[at] = stored(weights * (dscores[at] - of_row));
        }
        workgroupBarrier();
        for (var j = 0u; j < TILE; j += 16u) {
            let share = coopLoadT<coop_mat16x16<f16, A>>(&shares[own_row * STRIP + j / 4u], STRIP);
            for (var d = 0u; d < DEPTHS; d++) {
                let keys = coopLoadT<coop_mat16x16<f16, B>>(&tiles[j * PITCH + 4u * d], PITCH);
                sums[d] = coopMultiplyAdd(share, keys, sums[d]);
            }
        }
    }
    for (var d = 0u; d < DEPTHS; d += TILE / 16u) {
        for (var j = 0u; j < TILE / 16u; j++) {
            if (d + j < DEPTHS) {
                let found = sums[d + j];
                let at = own_row * STRIP + 4u * j;
                coopStoreT(found, &scores[at], STRIP);
            }
        }
        workgroupBarrier();
        leave(0u, 4u * d, base, block, params.heads, head, lane);
        workgroupBarrier();
    }
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
