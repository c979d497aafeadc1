// y[:, Y_FIRST + j] = x[:, X_FIRST + j] for j below COLS; other columns of y are unchanged.
struct Params {
    rows: u32,
    cols: u32,     // to copy; this and all that follow in Stored
    x_cols: u32,   // of x
    x_first: u32,
    y_cols: u32,   // of y
    y_first: u32,
}
@group(0) @binding(0) var<storage, read>       x:      array<Stored>;  // [ROWS, X_COLS]
@group(0) @binding(1) var<storage, read_write> y:      array<Stored>;  // [ROWS, Y_COLS]
@group(0) @binding(2) var<uniform>             params: Params;

@compute @workgroup_size(256)
fn copy_columns(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = (group.y * count.x + group.x) * 256u + lane;
    let row = at / params.cols;
    if (row >= params.rows) { return; }
    let col = at % params.cols;
    y[row * params.y_cols + params.y_first + col] = x[row * params.x_cols + params.x_first + col];
}
