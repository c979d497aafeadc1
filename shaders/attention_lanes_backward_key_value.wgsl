// dv = sum of p dout and dk = sum of ds q / sqrt(D) over the queries that see a key, in all heads of its group.
// Four keys per lane, eight queries in the registers of eight lanes. Bit-identical to
// attention_tiled_backward_key_value.wgsl.
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

var<private> dkeys: array<mat4x4<f32>, 8>;   // [vec4 of the head]
var<private> dvalues: array<mat4x4<f32>, 8>;

// Workgroups: [blocks of 32 keys, key heads, batch].
@compute @workgroup_size(8)
fn attention_lanes_backward_key_value(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let base = group.z * params.seq;
    let block = group.x * 32u;
    let key = block + 4u * lane;
    let positions = vec4(key, key + 1u, key + 2u, key + 3u);
    let rows = (vec4(base) + min(positions, vec4(params.seq - 1u))) * params.kv_heads + vec4(group.y);
    let scale = 1.0 / sqrt(f32(4u * HEAD_VEC4));
    for (var d = 0u; d < 8u; d++) {
        if (d < HEAD_VEC4) {
            let at = rows * HEAD_VEC4 + vec4(d);
            own_scoring[d] = four_rows(Real(k[at.x]), Real(k[at.y]), Real(k[at.z]), Real(k[at.w])) * scale;
            own_weighed[d] = four_rows(Real(v[at.x]), Real(v[at.y]), Real(v[at.z]), Real(v[at.w]));
            dkeys[d] = mat4x4<f32>();
            dvalues[d] = mat4x4<f32>();
        }
    }
    let per_group = params.heads / params.kv_heads;
    for (var head = group.y * per_group; head < (group.y + 1u) * per_group; head++) {
        // No earlier query sees a key of the block.
        for (var first = block; first < params.seq; first += 8u) {
            let mine = (base + min(first + lane, params.seq - 1u)) * params.heads + head;
            load_row(mine * HEAD_VEC4);
            let own = vec2(lse[mine], delta[mine]);
            for (var source = 0u; source < min(8u, params.seq - first); source++) {
                let row = subgroupShuffle(own, source);
                let sees = positions <= vec4(first + source);
                let weights = exp(select(vec4(UNSEEN), scores_of(source) - row.x, sees));
                let ds = weights * (dweights_of(source) - row.y);
                for (var d = 0u; d < 8u; d++) {
                    if (d < HEAD_VEC4) {
                        dvalues[d] = add_outer(dvalues[d], weights, weighed_of(source, d));
                        dkeys[d] = add_outer(dkeys[d], ds, scoring_of(source, d));
                    }
                }
            }
        }
    }
    for (var d = 0u; d < 8u; d++) {
        if (d < HEAD_VEC4) {
            let at = rows * HEAD_VEC4 + vec4(d);
            let dks = transpose(dkeys[d]) * scale;
            let dvs = transpose(dvalues[d]);
            if (key < params.seq) {
                dk[at.x] = stored(dks[0]);
                dv[at.x] = stored(dvs[0]);
            }
            if (key + 1u < params.seq) {
                dk[at.y] = stored(dks[1]);
                dv[at.y] = stored(dvs[1]);
            }
            if (key + 2u < params.seq) {
                dk[at.z] = stored(dks[2]);
                dv[at.z] = stored(dvs[2]);
            }
            if (key + 3u < params.seq) {
                dk[at.w] = stored(dks[3]);
                dv[at.w] = stored(dvs[3]);
            }
        }
    }
}

fn scoring_at(at: u32) -> vec4<f32> { return Real(q[at]); }

fn weighed_at(at: u32) -> vec4<f32> { return Real(dout[at]); }
