// y = VALUE.
override LEN: u32;
override VALUE: f32 = 0.0;
@group(0) @binding(0) var<storage, read_write> y: array<f32>;  // [LEN]

@compute @workgroup_size(64)
fn fill(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = (group.y * count.x + group.x) * 64u + lane;
    if (at < LEN) { y[at] = VALUE; }
}
