// y = x - SCALE y: the part of x outside a subspace.
override LEN: u32;
override SCALE: f32;
@group(0) @binding(0) var<storage, read>       x: array<f32>;  // [LEN]
@group(0) @binding(1) var<storage, read_write> y: array<f32>;  // [LEN]

@compute @workgroup_size(64)
fn subtract(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = (group.y * count.x + group.x) * 64u + lane;
    if (at >= LEN) { return; }
    y[at] = fma(-SCALE, y[at], x[at]);
}
