// y[n, :] = table[ids[n], :].
override ROWS: u32;
override COLS: u32;  // in Reals
@group(0) @binding(0) var<storage, read>       ids:   array<u32>;   // [ROWS]
@group(0) @binding(1) var<storage, read>       table: array<Real>;  // [vocabulary, COLS]
@group(0) @binding(2) var<storage, read_write> y:     array<Real>;  // [ROWS, COLS]

@compute @workgroup_size(256)
fn embedding(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = (group.y * count.x + group.x) * 256u + lane;
    if (at < ROWS * COLS) { y[at] = table[ids[at / COLS] * COLS + at % COLS]; }
}
