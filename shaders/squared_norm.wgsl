// partial[b] = sum of x^2 over block b.
override LEN: u32;
override BLOCK: u32;
@group(0) @binding(0) var<storage, read>       x:       array<f32>;  // [LEN]
@group(0) @binding(1) var<storage, read_write> partial: array<f32>;  // [blocks]

@compute @workgroup_size(WG)
fn squared_norm(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    var sum = 0.0;
    for (var at = group.x * BLOCK + lane; at < min(LEN, (group.x + 1u) * BLOCK); at += WG) { sum = fma(x[at], x[at], sum); }
    let total = workgroup_sum(sum, lane);
    if (lane == 0u) { partial[group.x] = total; }
}
