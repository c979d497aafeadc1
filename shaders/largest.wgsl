// partial[b] = the largest |x| of block b: of what size a matrix is, before it goes to half precision.
struct Params {
    len: u32,  // of x, in vec4s
}
@group(0) @binding(0) var<storage, read>       x:       array<vec4<f32>>;  // [LEN]
@group(0) @binding(1) var<storage, read_write> partial: array<f32>;        // [workgroups]
@group(0) @binding(2) var<uniform>             params:  Params;

@compute @workgroup_size(WG)
fn largest(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    var most = vec4<f32>();
    for (var at = group.x * WG + lane; at < params.len; at += count.x * WG) { most = max(most, abs(x[at])); }
    let whole = workgroup_max(max(max(most.x, most.y), max(most.z, most.w)), lane);
    if (lane == 0u) { partial[group.x] = whole; }
}
