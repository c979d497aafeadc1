// y = x / rms(x) * weight with rms(x) = sqrt(mean(x^2) + EPS), one workgroup per row.
override ROWS: u32;
override COLS: u32;
override EPS: f32;
@group(0) @binding(0) var<storage, read>       x:      array<f32>;  // [ROWS, COLS]
@group(0) @binding(1) var<storage, read>       weight: array<f32>;  // [COLS]
@group(0) @binding(2) var<storage, read_write> y:      array<f32>;  // [ROWS, COLS]

@compute @workgroup_size(WG)
fn rms_norm(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = group.y * count.x + group.x;
    if (row >= ROWS) { return; }
    var squares = 0.0;
    for (var col = lane; col < COLS; col += WG) {
        let value = x[row * COLS + col];
        squares = fma(value, value, squares);
    }
    let inverse_rms = 1.0 / sqrt(workgroup_sum(squares, lane) / f32(COLS) + EPS);
    for (var col = lane; col < COLS; col += WG) { y[row * COLS + col] = x[row * COLS + col] * inverse_rms * weight[col]; }
}
