// dq = sum over keys of ds k / sqrt(D), with p = exp(s - lse), ds = p (dout v - delta); one lane per query and head.
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
@group(0) @binding(6) var<storage, read_write> dq:    array<f32>;  // [B*T, H*D]

// Workgroups: [blocks of WG queries, heads, batch].
@compute @workgroup_size(WG)
fn attention_backward_query(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let head = group.y;
    let base = group.z * SEQ;
    let query = group.x * WG + lane;
    let row = (base + min(query, SEQ - 1u)) * HEADS + head;
    let q_at = row * HEAD_DIM;
    let kv_pitch = KV_HEADS * HEAD_DIM;
    let kv_at = base * kv_pitch + head / (HEADS / KV_HEADS) * HEAD_DIM;
    let scale = 1.0 / sqrt(f32(HEAD_DIM));
    var queries: array<f32, MAX_HEAD_DIM>;
    var douts: array<f32, MAX_HEAD_DIM>;
    var sums: array<f32, MAX_HEAD_DIM>;
    for (var d = 0u; d < HEAD_DIM; d++) {
        queries[d] = q[q_at + d] * scale;
        douts[d] = dout[q_at + d];
        sums[d] = 0.0;
    }
    let end = min((group.x + 1u) * WG, SEQ);
    for (var key = 0u; key < end; key += 4u) {
        let at0 = kv_at + key * kv_pitch;
        let at1 = kv_at + min(key + 1u, SEQ - 1u) * kv_pitch;
        let at2 = kv_at + min(key + 2u, SEQ - 1u) * kv_pitch;
        let at3 = kv_at + min(key + 3u, SEQ - 1u) * kv_pitch;
        var scores = vec4<f32>();
        var dweights = vec4<f32>();
        for (var d = 0u; d < HEAD_DIM; d++) {
            scores = fma(vec4(queries[d]), vec4(k[at0 + d], k[at1 + d], k[at2 + d], k[at3 + d]), scores);
            dweights = fma(vec4(douts[d]), vec4(v[at0 + d], v[at1 + d], v[at2 + d], v[at3 + d]), dweights);
        }
        let seen = vec4(key, key + 1u, key + 2u, key + 3u) <= vec4(query);
        let weights = select(vec4<f32>(), exp(min(scores - lse[row], vec4(0.0))), seen);
        let dscores = weights * (dweights - delta[row]) * scale;
        for (var d = 0u; d < HEAD_DIM; d++) {
            sums[d] += dot(dscores, vec4(k[at0 + d], k[at1 + d], k[at2 + d], k[at3 + d]));
        }
    }
    if (query < SEQ) {
        for (var d = 0u; d < HEAD_DIM; d++) { dq[q_at + d] = sums[d]; }
    }
}
