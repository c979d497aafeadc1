// x = max(x + bias, 0), in place.
override LEN: u32;
override COLS: u32;
@group(0) @binding(0) var<storage, read_write> x:    array<f32>;  // [LEN / COLS, COLS]
@group(0) @binding(1) var<storage, read>       bias: array<f32>;  // [COLS]

@compute @workgroup_size(64)
fn bias_relu(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = (group.y * count.x + group.x) * 64u + lane;
    if (at < LEN) { x[at] = max(x[at] + bias[at % COLS], 0.0); }
}
