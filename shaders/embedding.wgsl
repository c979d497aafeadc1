// y[n, :] = table[ids[n] - FIRST, :] for the ids in the table; other rows of y are unchanged.
override ROWS: u32;
override COLS: u32;  // in Reals
override FIRST: u32 = 0u;                // id of the table's first row
override TABLE_ROWS: u32 = 0xffffffffu;  // if the table is a part of one
@group(0) @binding(0) var<storage, read>       ids:   array<u32>;   // [ROWS]
@group(0) @binding(1) var<storage, read>       table: array<Real>;  // [TABLE_ROWS, COLS]
@group(0) @binding(2) var<storage, read_write> y:     array<Real>;  // [ROWS, COLS]

@compute @workgroup_size(256)
fn embedding(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = (group.y * count.x + group.x) * 256u + lane;
    if (at >= ROWS * COLS) { return; }
    let row = ids[at / COLS] - FIRST;  // an id below FIRST wraps around to beyond every table
    if (row < TABLE_ROWS) { y[at] = table[row * COLS + at % COLS]; }
}
