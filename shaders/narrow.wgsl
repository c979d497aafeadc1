// x = SCALE y, removing the padding and transposition of `widen`.
override MATRICES: u32 = 1u;
override ROWS: u32;           // per matrix
override COLS: u32;
override WIDE_ROWS: u32 = 0u;  // of y; not needed for a single matrix
override WIDE_COLS: u32;
override TALL: bool;      // y is transposed
override SCALE: f32;
@group(0) @binding(0) var<storage, read>       y: array<f32>;  // [MATRICES, WIDE_ROWS, WIDE_COLS]
@group(0) @binding(1) var<storage, read_write> x: array<f32>;  // [MATRICES, ROWS, COLS]

@compute @workgroup_size(64)
fn narrow(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = (group.y * count.x + group.x) * 64u + lane;
    if (at >= MATRICES * ROWS * COLS) { return; }
    let matrix = at / (ROWS * COLS);
    let row = at / COLS % ROWS;
    let col = at % COLS;
    x[at] = SCALE * y[matrix * WIDE_ROWS * WIDE_COLS + select(row * WIDE_COLS + col, col * WIDE_COLS + row, TALL)];
}
