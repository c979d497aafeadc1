// partial[i, b] = the largest |x| of block b of matrix i: the scale of a matrix before conversion to half precision.
struct Params {
    len: u32,  // per matrix, in vec4s
}
@group(0) @binding(0) var<storage, read>       x:       array<vec4<f32>>;  // [matrices, LEN]
@group(0) @binding(1) var<storage, read_write> partial: array<f32>;        // [matrices, blocks]
@group(0) @binding(2) var<uniform>             params:  Params;

@compute @workgroup_size(WG)
fn largest(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    var most = vec4<f32>();
    let first = group.y * params.len;
    for (var at = first + group.x * WG + lane; at < first + params.len; at += count.x * WG) { most = max(most, abs(x[at])); }
    let whole = workgroup_max(max(max(most.x, most.y), max(most.z, most.w)), lane);
    if (lane == 0u) { partial[group.y * count.x + group.x] = whole; }
}
