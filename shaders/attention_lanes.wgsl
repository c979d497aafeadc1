// out = softmax(q kT / sqrt(D) + causal) v, four queries per lane, eight keys in the registers of eight lanes.
// Bit-identical to attention_tiled.wgsl. Keeps the log-sum-exp of every row for the backward pass.
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

var<private> sums: array<mat4x4<f32>, 8>;  // [vec4 of the head]

// Workgroups: [blocks of 32 queries, heads, batch].
@compute @workgroup_size(8)
fn attention_lanes(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let head = group.y;
    let kv_head = head / (params.heads / params.kv_heads);
    let base = group.z * params.seq;
    let block = ((params.seq - 1u) / 32u - group.x) * 32u;  // those with most keys come first
    let query = block + 4u * lane;
    for (var d = 0u; d < 8u; d++) {
        if (d < HEAD_VEC4) {
            let rows = four_rows(
                query_at(base, query, head, d), query_at(base, query + 1u, head, d),
                query_at(base, query + 2u, head, d), query_at(base, query + 3u, head, d),
            );
            own_scoring[d] = rows * (1.0 / sqrt(f32(4u * HEAD_VEC4)));
            sums[d] = mat4x4<f32>();
        }
    }
    let positions = vec4(query, query + 1u, query + 2u, query + 3u);
    var top = vec4(UNSEEN);
    var total = vec4<f32>();
    let end = min(block + 32u, params.seq);
    for (var first = 0u; first < end; first += 8u) {
        load_row(((base + min(first + lane, params.seq - 1u)) * params.kv_heads + kv_head) * HEAD_VEC4);
        // Sums are rescaled once per four keys. The loops' bounds are no constants, so that Mesa does not unroll them.
        for (var batch = 0u; batch < min(8u, end - first); batch += 4u) {
            let n = min(4u, end - first - batch);
            let before = top;
            var scores: array<vec4<f32>, 4>;
            for (var i = 0u; i < n; i++) {
                let seen = vec4(first + batch + i) <= positions;
                scores[i] = select(vec4(UNSEEN), scores_of(batch + i), seen);
                top = max(top, scores[i]);
            }
            let keep = exp(before - top);
            total *= keep;
            for (var d = 0u; d < 8u; d++) {
                if (d < HEAD_VEC4) { sums[d] = scaled(sums[d], keep); }
            }
            // Every query sees the first key, so top is a score and the weight of an unseen key is zero.
            for (var i = 0u; i < n; i++) {
                let weights = exp(scores[i] - top);
                total += weights;
                for (var d = 0u; d < 8u; d++) {
                    if (d < HEAD_VEC4) { sums[d] = add_outer(sums[d], weights, weighed_of(batch + i, d)); }
                }
            }
        }
    }
    for (var d = 0u; d < 8u; d++) {
        if (d < HEAD_VEC4) {
            let rows = transpose(scaled(sums[d], 1.0 / total));
            let at = ((base + query) * params.heads + head) * HEAD_VEC4 + d;
            let pitch = params.heads * HEAD_VEC4;
            if (query < params.seq) { out[at] = stored(rows[0]); }
            if (query + 1u < params.seq) { out[at + pitch] = stored(rows[1]); }
            if (query + 2u < params.seq) { out[at + 2u * pitch] = stored(rows[2]); }
            if (query + 3u < params.seq) { out[at + 3u * pitch] = stored(rows[3]); }
        }
    }
    let lses = top + log(total);
    let row = (base + query) * params.heads + head;
    if (query < params.seq) { lse[row] = lses.x; }
    if (query + 1u < params.seq) { lse[row + params.heads] = lses.y; }
    if (query + 2u < params.seq) { lse[row + 2u * params.heads] = lses.z; }
    if (query + 3u < params.seq) { lse[row + 3u * params.heads] = lses.w; }
}

fn scoring_at(at: u32) -> vec4<f32> { return Real(k[at]); }

fn weighed_at(at: u32) -> vec4<f32> { return Real(v[at]); }

fn query_at(base: u32, query: u32, head: u32, d: u32) -> vec4<f32> {
    return Real(q[((base + min(query, params.seq - 1u)) * params.heads + head) * HEAD_VEC4 + d]);
}

fn scaled(x: mat4x4<f32>, factors: vec4<f32>) -> mat4x4<f32> {
    return mat4x4(x[0] * factors, x[1] * factors, x[2] * factors, x[3] * factors);
}
