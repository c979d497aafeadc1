// dv = sum of p dout and dk = sum of ds q / sqrt(D) over the queries that see a key, in all heads of its group.
// Two keys per team of lanes, tiles of queries and their gradients in workgroup memory, as in attention_tiled.wgsl.
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

var<workgroup> rows: array<vec2<f32>, 64>;  // [TEAMS] log-sum-exp and delta

// Workgroups: [blocks of 2 TEAMS keys, key heads, batch].
@compute @workgroup_size(64)
fn attention_tiled_backward_key_value(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let part = part_of(lane);
    let base = group.z * params.seq;
    let block = group.x * 2u * TEAMS;
    let key = block + team_of(lane) * 2u;
    let row0 = (base + min(key, params.seq - 1u)) * params.kv_heads + group.y;
    let row1 = (base + min(key + 1u, params.seq - 1u)) * params.kv_heads + group.y;
    let scale = 1.0 / sqrt(f32(4u * HEAD_VEC4));
    var keys: array<mat4x2<f32>, 4>;
    var values: array<mat4x2<f32>, 4>;
    var dkeys: array<mat4x2<f32>, 4>;
    var dvalues: array<mat4x2<f32>, 4>;
    var sums: array<vec4<f32>, 4>;
    for (var d = 0u; d < DEPTH; d++) {
        let at = part + d * LANES;
        var own = array<vec4<f32>, 4>();
        if (at < HEAD_VEC4) {
            let at0 = row0 * HEAD_VEC4 + at;
            let at1 = row1 * HEAD_VEC4 + at;
            own = array(Real(k[at0]), Real(k[at1]), Real(v[at0]), Real(v[at1]));
        }
        keys[d] = transpose(mat2x4(own[0], own[1])) * scale;
        values[d] = transpose(mat2x4(own[2], own[3]));
        dkeys[d] = mat4x2<f32>();
        dvalues[d] = mat4x2<f32>();
    }
    let set_first = block + set_of(lane) * STRIDE * 2u;  // no earlier query sees a key of the set
    let per_group = params.heads / params.kv_heads;
    for (var head = group.y * per_group; head < (group.y + 1u) * per_group; head++) {
        for (var first = block; first < params.seq; first += TEAMS) {
            workgroupBarrier();
            stage_rows(base, first, params.heads, head, lane);
            if (lane < TEAMS) {
                let row = (base + min(first + lane, params.seq - 1u)) * params.heads + head;
                rows[lane] = vec2(lse[row], delta[row]);
            }
            workgroupBarrier();
            let n_queries = min(params.seq - first, TEAMS);
            for (var query = (max(set_first, first) - first) / BATCH * BATCH; query < n_queries; query += BATCH) {
                for (var i = 0u; i < BATCH; i++) {
                    var scores = vec2<f32>();
                    var dweights = vec2<f32>();
                    for (var d = 0u; d < DEPTH; d++) {
                        let at = ((query + i) * DEPTH + d) * LANES + part;
                        scores = add_dots(scores, keys[d], scoring[at]);
                        dweights = add_dots(dweights, values[d], weighed[at]);
                    }
                    sums[i] = vec4(scores, dweights);
                }
                sum_over_team(&sums, lane);
                for (var i = 0u; i < BATCH; i++) {
                    let position = first + query + i;
                    let sees = (vec2(key, key + 1u) <= vec2(position)) & vec2(position < params.seq);
                    let row = rows[query + i];
                    let weights = exp(select(vec2(UNSEEN), sums[i].xy - row.x, sees));
                    let ds = weights * (sums[i].zw - row.y);
                    for (var d = 0u; d < DEPTH; d++) {
                        let at = ((query + i) * DEPTH + d) * LANES + part;
                        dvalues[d] = add_outer(dvalues[d], weights, weighed[at]);
                        dkeys[d] = add_outer(dkeys[d], ds, scoring[at]);
                    }
                }
            }
        }
    }
    for (var d = 0u; d < DEPTH; d++) {
        let at = part + d * LANES;
        let dks = transpose(dkeys[d]) * scale;
        let dvs = transpose(dvalues[d]);
        if (key < params.seq && at < HEAD_VEC4) {
            dk[row0 * HEAD_VEC4 + at] = stored(dks[0]);
            dv[row0 * HEAD_VEC4 + at] = stored(dvs[0]);
        }
        if (key + 1u < params.seq && at < HEAD_VEC4) {
            dk[row1 * HEAD_VEC4 + at] = stored(dks[1]);
            dv[row1 * HEAD_VEC4 + at] = stored(dvs[1]);
        }
    }
}

fn scoring_at(at: u32) -> vec4<f32> { return Real(q[at]); }

fn weighed_at(at: u32) -> vec4<f32> { return Real(dout[at]); }
