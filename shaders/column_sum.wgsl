// y (+)= sum over the rows of x, one lane per column.
override ROWS: u32;
override COLS: u32;
override ACCUMULATE: bool = false;
@group(0) @binding(0) var<storage, read>       x: array<f32>;  // [ROWS, COLS]
@group(0) @binding(1) var<storage, read_write> y: array<f32>;  // [COLS]

@compute @workgroup_size(64)
fn column_sum(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let col = group.x * 64u + lane;
    if (col >= COLS) { return; }
    var sum = 0.0;
    for (var row = 0u; row < ROWS; row++) { sum += x[row * COLS + col]; }
    y[col] = select(0.0, y[col], ACCUMULATE) + sum;
}
