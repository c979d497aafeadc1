// out = softmax(q kT / sqrt(D) + causal) v, four queries per team of lanes, tiles of keys and values in workgroup
// memory.
// Query head h reads key head h / (HEADS / KV_HEADS). Keeps the log-sum-exp of every row for the backward pass.
// Each lane of a team holds a part of every vector (lib/head_rows.wgsl), and so a part of every score; lib/team_*.wgsl
// adds the parts. Register matrices are [components, queries]: each key is used for four queries at once.
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

// Workgroups: [blocks of 4 TEAMS queries, heads, batch].
@compute @workgroup_size(64)
fn attention_tiled(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let part = part_of(lane);
    let head = group.y;
    let kv_head = head / (params.heads / params.kv_heads);
    let base = group.z * params.seq;
    let block = ((params.seq - 1u) / (4u * TEAMS) - group.x) * 4u * TEAMS;  // those with most keys come first
    let query = block + team_of(lane) * 4u;
    var queries: array<mat4x4<f32>, 4>;
    var sums: array<mat4x4<f32>, 4>;
    for (var d = 0u; d < DEPTH; d++) {
        let at = part + d * LANES;
        let rows = mat4x4(
            query_at(base, query, head, at), query_at(base, query + 1u, head, at),
            query_at(base, query + 2u, head, at), query_at(base, query + 3u, head, at),
        );
        queries[d] = transpose(rows) * (1.0 / sqrt(f32(4u * HEAD_VEC4)));
        sums[d] = mat4x4<f32>();
    }
    var top = vec4(UNSEEN);
    var total = vec4<f32>();
    let set_end = min(block + (set_of(lane) + 1u) * STRIDE * 4u, params.seq);  // the set's queries see no key from here
    let end = min(block + 4u * TEAMS, params.seq);
    for (var first = 0u; first < end; first += TEAMS) {
        workgroupBarrier();
        stage_rows(base, first, params.kv_heads, kv_head, lane);
        workgroupBarrier();
        let n_keys = min(max(set_end, first) - first, TEAMS);
        for (var key = 0u; key < n_keys; key += BATCH) {
            var scores: array<vec4<f32>, 4>;
            for (var i = 0u; i < BATCH; i++) {
                scores[i] = vec4<f32>();
                for (var d = 0u; d < DEPTH; d++) {
                    scores[i] = add_dots(scores[i], queries[d], scoring[((key + i) * DEPTH + d) * LANES + part]);
                }
            }
            sum_over_team(&scores, lane);
            if (first + key + BATCH > query) {
                for (var i = 0u; i < BATCH; i++) {
                    let seen = vec4(first + key + i) <= vec4(query, query + 1u, query + 2u, query + 3u);
                    scores[i] = select(vec4(UNSEEN), scores[i], seen);
                }
            }
            let before = top;
            for (var i = 0u; i < BATCH; i++) { top = max(top, scores[i]); }
            if (any(top > before)) {
                let keep = exp(before - top);
                total *= keep;
                for (var d = 0u; d < DEPTH; d++) { sums[d] = scaled(sums[d], keep); }
            }
            // Every query sees the first key, so top is a score and the weight of an unseen key is zero.
            for (var i = 0u; i < BATCH; i++) {
                let weights = exp(scores[i] - top);
                total += weights;
                for (var d = 0u; d < DEPTH; d++) {
                    sums[d] = add_outer(sums[d], weights, weighed[((key + i) * DEPTH + d) * LANES + part]);
                }
            }
        }
    }
    for (var d = 0u; d < DEPTH; d++) {
        let at = part + d * LANES;
        var rows = transpose(scaled(sums[d], 1.0 / total));
        for (var r = 0u; r < 4u; r++) {
            if (query + r < params.seq && at < HEAD_VEC4) {
                out[((base + query + r) * params.heads + head) * HEAD_VEC4 + at] = stored(rows[r]);
            }
        }
    }
    var lses = top + log(total);
    for (var r = 0u; r < 4u; r++) {
        if (query + r < params.seq && part == 0u) { lse[(base + query + r) * params.heads + head] = lses[r]; }
    }
}

fn scoring_at(at: u32) -> vec4<f32> { return Real(k[at]); }

fn weighed_at(at: u32) -> vec4<f32> { return Real(v[at]); }

fn query_at(base: u32, query: u32, head: u32, at: u32) -> vec4<f32> {
    if (at >= HEAD_VEC4) { return vec4<f32>(); }
    return Real(q[((base + min(query, params.seq - 1u)) * params.heads + head) * HEAD_VEC4 + at]);
}

// sums + x of each query times y.
fn add_dots(sums: vec4<f32>, x: mat4x4<f32>, y: vec4<f32>) -> vec4<f32> {
    return fma(x[3], vec4(y.w), fma(x[2], vec4(y.z), fma(x[1], vec4(y.y), fma(x[0], vec4(y.x), sums))));
}

// sums + weights y, with each query's own weight.
fn add_outer(sums: mat4x4<f32>, weights: vec4<f32>, y: vec4<f32>) -> mat4x4<f32> {
    return mat4x4(
        fma(weights, vec4(y.x), sums[0]), fma(weights, vec4(y.y), sums[1]),
        fma(weights, vec4(y.z), sums[2]), fma(weights, vec4(y.w), sums[3]),
    );
}

fn scaled(x: mat4x4<f32>, factors: vec4<f32>) -> mat4x4<f32> {
    return mat4x4(x[0] * factors, x[1] * factors, x[2] * factors, x[3] * factors);
}
