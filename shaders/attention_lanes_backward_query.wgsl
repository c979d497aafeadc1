// dq = sum over keys of ds k / sqrt(D), with p = exp(s - lse), ds = p (dout v - delta), delta = dout out.
// Four queries per lane, eight keys in the registers of eight lanes. Bit-identical to attention_tiled_backward_query.wgsl.
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

var<private> dqueries: array<mat4x4<f32>, 8>;  // [vec4 of the head]

// Workgroups: [blocks of 32 queries, heads, batch].
@compute @workgroup_size(8)
fn attention_lanes_backward_query(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let head = group.y;
    let kv_head = head / (params.heads / params.kv_heads);
    let base = group.z * params.seq;
    let block = ((params.seq - 1u) / 32u - group.x) * 32u;  // those with most keys come first
    let query = block + 4u * lane;
    let positions = vec4(query, query + 1u, query + 2u, query + 3u);
    let rows = (vec4(base) + min(positions, vec4(params.seq - 1u))) * params.heads + vec4(head);
    let scale = 1.0 / sqrt(f32(4u * HEAD_VEC4));
    var even = vec4<f32>();
    var odd = vec4<f32>();
    for (var d = 0u; d < 8u; d++) {
        if (d < HEAD_VEC4) {
            let at = rows * HEAD_VEC4 + vec4(d);
            own_scoring[d] = four_rows(Real(q[at.x]), Real(q[at.y]), Real(q[at.z]), Real(q[at.w])) * scale;
            let grads = mat4x4(Real(dout[at.x]), Real(dout[at.y]), Real(dout[at.z]), Real(dout[at.w]));
            let outs = mat4x4(Real(out[at.x]), Real(out[at.y]), Real(out[at.z]), Real(out[at.w]));
            own_weighed[d] = transpose(grads);
            dqueries[d] = mat4x4<f32>();
            let dots = vec4(
                dot(grads[0], outs[0]), dot(grads[1], outs[1]), dot(grads[2], outs[2]), dot(grads[3], outs[3]),
            );
            if (is_odd_part(d)) { odd += dots; } else { even += dots; }
        }
    }
    let deltas = even + odd;
    if (query < params.seq) { delta[rows.x] = deltas.x; }
    if (query + 1u < params.seq) { delta[rows.y] = deltas.y; }
    if (query + 2u < params.seq) { delta[rows.z] = deltas.z; }
    if (query + 3u < params.seq) { delta[rows.w] = deltas.w; }
    let lses = vec4(lse[rows.x], lse[rows.y], lse[rows.z], lse[rows.w]);
    let end = min(block + 32u, params.seq);
    for (var first = 0u; first < end; first += 8u) {
        load_row(((base + min(first + lane, params.seq - 1u)) * params.kv_heads + kv_head) * HEAD_VEC4);
        for (var source = 0u; source < min(8u, end - first); source++) {
            let seen = vec4(first + source) <= positions;
            let weights = exp(select(vec4(UNSEEN), scores_of(source) - lses, seen));
            let ds = weights * (dweights_of(source) - deltas);
            for (var d = 0u; d < 8u; d++) {
                if (d < HEAD_VEC4) { dqueries[d] = add_outer(dqueries[d], ds, scoring_of(source, d)); }
            }
        }
    }
    for (var d = 0u; d < 8u; d++) {
        if (d < HEAD_VEC4) {
            let grads = transpose(dqueries[d]) * scale;
            if (query < params.seq) { dq[rows.x * HEAD_VEC4 + d] = stored(grads[0]); }
            if (query + 1u < params.seq) { dq[rows.y * HEAD_VEC4 + d] = stored(grads[1]); }
            if (query + 2u < params.seq) { dq[rows.z * HEAD_VEC4 + d] = stored(grads[2]); }
            if (query + 3u < params.seq) { dq[rows.w * HEAD_VEC4 + d] = stored(grads[3]); }
        }
    }
}

fn scoring_at(at: u32) -> vec4<f32> { return Real(k[at]); }

fn weighed_at(at: u32) -> vec4<f32> { return Real(v[at]); }
