// y = VALUE.
override LEN: u32;  // in Reals
override VALUE: f32 = 0.0;
@group(0) @binding(0) var<storage, read_write> y: array<Real>;  // [LEN]

@compute @workgroup_size(256)
fn fill(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = (group.y * count.x + group.x) * 256u + lane;
    if (at < LEN) { y[at] = Real(VALUE); }
}
