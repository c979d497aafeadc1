// x *= mask of the unit to which a column belongs: WIDTH adjacent columns each.
struct Params {
    len: u32,
    cols: u32,
    width: u32,
}
@group(0) @binding(0) var<storage, read>       mask:   array<f32>;  // [at least COLS / WIDTH]
@group(0) @binding(1) var<storage, read_write> x:      array<f32>;  // [LEN / COLS, COLS]
@group(0) @binding(2) var<uniform>             params: Params;

@compute @workgroup_size(64)
fn mask_columns(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = (group.y * count.x + group.x) * 64u + lane;
    if (at >= params.len) { return; }
    x[at] *= mask[at % params.cols / params.width];
}
