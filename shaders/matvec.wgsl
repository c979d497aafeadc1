// y = w x: one workgroup per element of y.
override ACCUMULATE: bool = false;
struct Params {
    n: u32,
    k: u32,
}
@group(0) @binding(0) var<storage, read>       x: array<f32>;  // [K]
@group(0) @binding(1) var<storage, read>       w: array<f32>;  // [N, K]
@group(0) @binding(2) var<storage, read_write> y: array<f32>;  // [N]
@group(0) @binding(3) var<uniform>             params: Params;

@compute @workgroup_size(WG)
fn matvec(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = group.y * count.x + group.x;
    if (row >= params.n) { return; }
    var sum = 0.0;
    for (var k = lane; k < params.k; k += WG) { sum = fma(w[row * params.k + k], x[k], sum); }
    let total = workgroup_sum(sum, lane);
    if (lane == 0u) { y[row] = select(0.0, y[row], ACCUMULATE) + total; }
}
