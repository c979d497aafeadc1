// y = w x: one workgroup per element of y.
override N: u32;
override K: u32;
override ACCUMULATE: bool = false;
@group(0) @binding(0) var<storage, read>       x: array<f32>;  // [K]
@group(0) @binding(1) var<storage, read>       w: array<f32>;  // [N, K]
@group(0) @binding(2) var<storage, read_write> y: array<f32>;  // [N]

@compute @workgroup_size(WG)
fn matvec(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = group.y * count.x + group.x;
    if (row >= N) { return; }
    var sum = 0.0;
    for (var k = lane; k < K; k += WG) { sum = fma(w[row * K + k], x[k], sum); }
    let total = workgroup_sum(sum, lane);
    if (lane == 0u) { y[row] = select(0.0, y[row], ACCUMULATE) + total; }
}
