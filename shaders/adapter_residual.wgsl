// y = x + SCALE (up + bias): an adapter's output.
override LEN: u32;
override COLS: u32;
override SCALE: f32;
@group(0) @binding(0) var<storage, read>       x:    array<f32>;  // [LEN / COLS, COLS]
@group(0) @binding(1) var<storage, read>       up:   array<f32>;  // [LEN / COLS, COLS]
@group(0) @binding(2) var<storage, read>       bias: array<f32>;  // [COLS]
@group(0) @binding(3) var<storage, read_write> y:    array<f32>;  // [LEN / COLS, COLS]

@compute @workgroup_size(64)
fn adapter_residual(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = (group.y * count.x + group.x) * 64u + lane;
    if (at < LEN) { y[at] = x[at] + SCALE * (up[at] + bias[at % COLS]); }
}
