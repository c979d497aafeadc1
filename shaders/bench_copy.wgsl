// y = x, one vec4 per lane: peak memory bandwidth.
override LEN: u32;  // vec4s
@group(0) @binding(0) var<storage, read>       x: array<vec4<f32>>;  // [LEN]
@group(0) @binding(1) var<storage, read_write> y: array<vec4<f32>>;  // [LEN]

@compute @workgroup_size(256)
fn bench_copy(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = (group.y * count.x + group.x) * 256u + lane;
    if (at < LEN) { y[at] = x[at]; }
}
