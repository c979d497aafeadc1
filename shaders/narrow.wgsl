// x = SCALE y, without the padding and transposition of `widen`.
override ROWS: u32;
override COLS: u32;
override WIDE_COLS: u32;  // of y
override TALL: bool;      // y is transposed
override SCALE: f32;
@group(0) @binding(0) var<storage, read>       y: array<f32>;  // [at least ROWS or COLS, WIDE_COLS]
@group(0) @binding(1) var<storage, read_write> x: array<f32>;  // [ROWS, COLS]

@compute @workgroup_size(64)
fn narrow(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = (group.y * count.x + group.x) * 64u + lane;
    if (at >= ROWS * COLS) { return; }
    let row = at / COLS;
    let col = at % COLS;
    x[at] = SCALE * y[select(row * WIDE_COLS + col, col * WIDE_COLS + row, TALL)];
}
