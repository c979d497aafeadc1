// dv = sum of p dout and dk = sum of ds q / sqrt(D) over the queries that see a key, in all heads of its group.
// One lane per key and key head; queries in ascending order, two at a time.
override SEQ: u32;
override HEADS: u32;
override KV_HEADS: u32;
override HEAD_DIM: u32;
override WG: u32 = 64u;
@group(0) @binding(0) var<storage, read>       q:     array<f32>;  // [B*T, H*D]
@group(0) @binding(1) var<storage, read>       k:     array<f32>;  // [B*T, KV*D]
@group(0) @binding(2) var<storage, read>       v:     array<f32>;  // [B*T, KV*D]
@group(0) @binding(3) var<storage, read>       dout:  array<f32>;  // [B*T, H*D]
@group(0) @binding(4) var<storage, read>       lse:   array<f32>;  // [B*T, H]
@group(0) @binding(5) var<storage, read>       delta: array<f32>;  // [B*T, H]
@group(0) @binding(6) var<storage, read_write> dk:    array<f32>;  // [B*T, KV*D]
@group(0) @binding(7) var<storage, read_write> dv:    array<f32>;  // [B*T, KV*D]

// Workgroups: [blocks of WG keys, key heads, batch].
@compute @workgroup_size(WG)
fn attention_backward_key_value(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let base = group.z * SEQ;
    let key = group.x * WG + lane;
    let kv_at = ((base + min(key, SEQ - 1u)) * KV_HEADS + group.y) * HEAD_DIM;
    let scale = 1.0 / sqrt(f32(HEAD_DIM));
    let per_group = HEADS / KV_HEADS;
    var keys: array<f32, MAX_HEAD_DIM>;
    var values: array<f32, MAX_HEAD_DIM>;
    var dkeys: array<f32, MAX_HEAD_DIM>;
    var dvalues: array<f32, MAX_HEAD_DIM>;
    for (var d = 0u; d < HEAD_DIM; d++) {
        keys[d] = k[kv_at + d] * scale;
        values[d] = v[kv_at + d];
        dkeys[d] = 0.0;
        dvalues[d] = 0.0;
    }
    for (var head = group.y * per_group; head < (group.y + 1u) * per_group; head++) {
        for (var query = group.x * WG; query < SEQ; query += 2u) {
            let row0 = (base + query) * HEADS + head;
            let row1 = (base + min(query + 1u, SEQ - 1u)) * HEADS + head;
            let at0 = row0 * HEAD_DIM;
            let at1 = row1 * HEAD_DIM;
            var scores = vec2<f32>();
            var dweights = vec2<f32>();
            for (var d = 0u; d < HEAD_DIM; d++) {
                scores = fma(vec2(keys[d]), vec2(q[at0 + d], q[at1 + d]), scores);
                dweights = fma(vec2(values[d]), vec2(dout[at0 + d], dout[at1 + d]), dweights);
            }
            let sees = vec2(key <= query, key <= query + 1u && query + 1u < SEQ);
            let weights = select(vec2<f32>(), exp(min(scores - vec2(lse[row0], lse[row1]), vec2(0.0))), sees);
            let dscores = weights * (dweights - vec2(delta[row0], delta[row1])) * scale;
            for (var d = 0u; d < HEAD_DIM; d++) {
                dvalues[d] += dot(weights, vec2(dout[at0 + d], dout[at1 + d]));
                dkeys[d] += dot(dscores, vec2(q[at0 + d], q[at1 + d]));
            }
        }
    }
    if (key < SEQ) {
        for (var d = 0u; d < HEAD_DIM; d++) {
            dk[kv_at + d] = dkeys[d];
            dv[kv_at + d] = dvalues[d];
        }
    }
}
