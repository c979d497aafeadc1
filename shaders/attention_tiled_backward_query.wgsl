// dq = sum over keys of ds k / sqrt(D), with p = exp(s - lse), ds = p (dout v - delta), delta = dout out.
// Two queries per team of lanes, tiles of keys and values in workgroup memory, as in attention_tiled.wgsl.
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

// Workgroups: [blocks of 2 TEAMS queries, heads, batch].
@compute @workgroup_size(64)
fn attention_tiled_backward_query(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let part = part_of(lane);
    let head = group.y;
    let kv_head = head / (params.heads / params.kv_heads);
    let base = group.z * params.seq;
    let block = ((params.seq - 1u) / (2u * TEAMS) - group.x) * 2u * TEAMS;  // those with most keys come first
    let query = block + team_of(lane) * 2u;
    let row0 = (base + min(query, params.seq - 1u)) * params.heads + head;
    let row1 = (base + min(query + 1u, params.seq - 1u)) * params.heads + head;
    let scale = 1.0 / sqrt(f32(4u * HEAD_VEC4));
    var queries: array<mat4x2<f32>, 4>;
    var douts: array<mat4x2<f32>, 4>;
    var dqueries: array<mat4x2<f32>, 4>;
    var sums: array<vec4<f32>, 4>;
    for (var d = 0u; d < DEPTH; d++) {
        let at = part + d * LANES;
        var rows = array<vec4<f32>, 6>();
        if (at < HEAD_VEC4) {
            let at0 = row0 * HEAD_VEC4 + at;
            let at1 = row1 * HEAD_VEC4 + at;
            rows = array(Real(q[at0]), Real(q[at1]), Real(dout[at0]), Real(dout[at1]), Real(out[at0]), Real(out[at1]));
        }
        queries[d] = transpose(mat2x4(rows[0], rows[1])) * scale;
        douts[d] = transpose(mat2x4(rows[2], rows[3]));
        dqueries[d] = mat4x2<f32>();
        sums[0] += vec4(dot(rows[2], rows[4]), dot(rows[3], rows[5]), 0.0, 0.0);
    }
    sum_over_team(&sums, lane);
    let deltas = sums[0].xy;
    if (part == 0u) {
        if (query < params.seq) { delta[row0] = deltas.x; }
        if (query + 1u < params.seq) { delta[row1] = deltas.y; }
    }
    let lses = vec2(lse[row0], lse[row1]);
    let set_end = min(block + (set_of(lane) + 1u) * STRIDE * 2u, params.seq);  // the set's queries see no key from here
    let end = min(block + 2u * TEAMS, params.seq);
    for (var first = 0u; first < end; first += TEAMS) {
        workgroupBarrier();
        stage_rows(base, first, params.kv_heads, kv_head, lane);
        workgroupBarrier();
        let n_keys = min(max(set_end, first) - first, TEAMS);
        for (var key = 0u; key < n_keys; key += BATCH) {
            for (var i = 0u; i < BATCH; i++) {
                var scores = vec2<f32>();
                var dweights = vec2<f32>();
                for (var d = 0u; d < DEPTH; d++) {
                    let at = ((key + i) * DEPTH + d) * LANES + part;
                    scores = add_dots(scores, queries[d], scoring[at]);
                    dweights = add_dots(dweights, douts[d], weighed[at]);
                }
                sums[i] = vec4(scores, dweights);
            }
            sum_over_team(&sums, lane);
            for (var i = 0u; i < BATCH; i++) {
                let seen = vec2(first + key + i) <= vec2(query, query + 1u);
                let weights = exp(select(vec2(UNSEEN), sums[i].xy - lses, seen));
                let ds = weights * (sums[i].zw - deltas);
                for (var d = 0u; d < DEPTH; d++) {
                    dqueries[d] = add_outer(dqueries[d], ds, scoring[((key + i) * DEPTH + d) * LANES + part]);
                }
            }
        }
    }
    for (var d = 0u; d < DEPTH; d++) {
        let at = part + d * LANES;
        let rows = transpose(dqueries[d]) * scale;
        if (query < params.seq && at < HEAD_VEC4) { dq[row0 * HEAD_VEC4 + at] = stored(rows[0]); }
        if (query + 1u < params.seq && at < HEAD_VEC4) { dq[row1 * HEAD_VEC4 + at] = stored(rows[1]); }
    }
}

fn scoring_at(at: u32) -> vec4<f32> { return Real(k[at]); }

fn weighed_at(at: u32) -> vec4<f32> { return Real(v[at]); }
