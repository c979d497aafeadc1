// y = y + bias, in place, row by row.
override LEN: u32;   // in Reals
override COLS: u32;  // in Reals
@group(0) @binding(0) var<storage, read_write> y:    array<Stored>;  // [LEN / COLS, COLS]
@group(0) @binding(1) var<storage, read>       bias: array<Real>;    // [COLS]

@compute @workgroup_size(256)
fn add_bias(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = (group.y * count.x + group.x) * 256u + lane;
    if (at < LEN) { y[at] = stored(Real(y[at]) + bias[at % COLS]); }
}
