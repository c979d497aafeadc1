// out = softmax(q kT / sqrt(D)) v for one token over the cache, one workgroup per head.
override HEAD_DIM: u32;
struct Params {
    positions: u32,
    heads: u32,
    kv_heads: u32,
}
@group(0) @binding(0) var<storage, read>       q:      array<f32>;  // [H*D]
@group(0) @binding(1) var<storage, read>       k:      array<f32>;  // [POSITIONS, KV*D]
@group(0) @binding(2) var<storage, read>       v:      array<f32>;  // [POSITIONS, KV*D]
@group(0) @binding(3) var<storage, read>       start:  array<u32>;  // [1] position of this token
@group(0) @binding(4) var<storage, read_write> scores: array<f32>;  // [H, POSITIONS]
@group(0) @binding(5) var<storage, read_write> out:    array<f32>;  // [H*D]
@group(0) @binding(6) var<uniform>             params: Params;

@compute @workgroup_size(WG)
fn attention_cached(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let head = group.x;
    let n_keys = start[0] + 1u;
    let kv_pitch = params.kv_heads * HEAD_DIM;
    let kv_at = head / (params.heads / params.kv_heads) * HEAD_DIM;
    let scale = 1.0 / sqrt(f32(HEAD_DIM));
    var top = -3.4e38;
    for (var key = lane; key < n_keys; key += WG) {
        var score = 0.0;
        for (var d = 0u; d < HEAD_DIM; d++) { score = fma(q[head * HEAD_DIM + d], k[key * kv_pitch + kv_at + d], score); }
        scores[head * params.positions + key] = score * scale;
        top = max(top, score * scale);
    }
    let highest = workgroup_max(top, lane);
    var sum = 0.0;
    for (var key = lane; key < n_keys; key += WG) {
        let weight = exp(scores[head * params.positions + key] - highest);
        scores[head * params.positions + key] = weight;
        sum += weight;
    }
    let total = workgroup_sum(sum, lane);
    storageBarrier();
    for (var d = lane; d < HEAD_DIM; d += WG) {
        var mixed = 0.0;
        for (var key = 0u; key < n_keys; key++) {
            mixed = fma(scores[head * params.positions + key], v[key * kv_pitch + kv_at + d], mixed);
        }
        out[head * HEAD_DIM + d] = mixed / total;
    }
}
