// out = softmax(q kT / sqrt(D) + causal) v, one lane per query and head, four keys at a time; no T x T matrix.
// Query head h reads key head h / (HEADS / KV_HEADS). Keeps the log-sum-exp of every row for the backward pass.
override SEQ: u32;
override HEADS: u32;
override KV_HEADS: u32;
override HEAD_DIM: u32;
override WG: u32 = 64u;
@group(0) @binding(0) var<storage, read>       q:   array<f32>;  // [B*T, H*D]
@group(0) @binding(1) var<storage, read>       k:   array<f32>;  // [B*T, KV*D]
@group(0) @binding(2) var<storage, read>       v:   array<f32>;  // [B*T, KV*D]
@group(0) @binding(3) var<storage, read_write> out: array<f32>;  // [B*T, H*D]
@group(0) @binding(4) var<storage, read_write> lse: array<f32>;  // [B*T, H]

// Workgroups: [blocks of WG queries, heads, batch].
@compute @workgroup_size(WG)
fn attention(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let head = group.y;
    let base = group.z * SEQ;
    let query = group.x * WG + lane;
    let q_at = ((base + min(query, SEQ - 1u)) * HEADS + head) * HEAD_DIM;
    let kv_pitch = KV_HEADS * HEAD_DIM;
    let kv_at = base * kv_pitch + head / (HEADS / KV_HEADS) * HEAD_DIM;
    let scale = 1.0 / sqrt(f32(HEAD_DIM));
    var queries: array<f32, MAX_HEAD_DIM>;
    var sums: array<f32, MAX_HEAD_DIM>;
    for (var d = 0u; d < HEAD_DIM; d++) {
        queries[d] = q[q_at + d] * scale;
        sums[d] = 0.0;
    }
    var top = -3.4e38;
    var total = 0.0;
    let end = min((group.x + 1u) * WG, SEQ);  // the same for all lanes: key addresses stay uniform
    for (var key = 0u; key < end; key += 4u) {
        let at0 = kv_at + key * kv_pitch;
        let at1 = kv_at + min(key + 1u, SEQ - 1u) * kv_pitch;
        let at2 = kv_at + min(key + 2u, SEQ - 1u) * kv_pitch;
        let at3 = kv_at + min(key + 3u, SEQ - 1u) * kv_pitch;
        var scores = vec4<f32>();
        for (var d = 0u; d < HEAD_DIM; d++) {
            scores = fma(vec4(queries[d]), vec4(k[at0 + d], k[at1 + d], k[at2 + d], k[at3 + d]), scores);
        }
        let seen = vec4(key, key + 1u, key + 2u, key + 3u) <= vec4(query);
        scores = select(vec4(-3.4e38), scores, seen);
        let before = top;
        top = max(max(top, max(scores.x, scores.y)), max(scores.z, scores.w));
        let weights = select(vec4<f32>(), exp(scores - top), seen);
        let keep = exp(before - top);
        total = total * keep + weights.x + weights.y + weights.z + weights.w;
        for (var d = 0u; d < HEAD_DIM; d++) {
            sums[d] = sums[d] * keep + dot(weights, vec4(v[at0 + d], v[at1 + d], v[at2 + d], v[at3 + d]));
        }
    }
    if (query < SEQ) {
        for (var d = 0u; d < HEAD_DIM; d++) { out[q_at + d] = sums[d] / total; }
        lse[(base + query) * HEADS + head] = top + log(total);
    }
}
