// dx (+)= weight dy / rms - x mean(x weight dy) / rms^3, one workgroup per row; keeps 1 / rms for the weight's gradient.
override ROWS: u32;
override COLS: u32;
override EPS: f32;
override ACCUMULATE: bool = false;  // onto the gradient that the residual stream brings
@group(0) @binding(0) var<storage, read>       x:           array<f32>;  // [ROWS, COLS]
@group(0) @binding(1) var<storage, read>       weight:      array<f32>;  // [COLS]
@group(0) @binding(2) var<storage, read>       dy:          array<f32>;  // [ROWS, COLS]
@group(0) @binding(3) var<storage, read_write> dx:          array<f32>;  // [ROWS, COLS]
@group(0) @binding(4) var<storage, read_write> inverse_rms: array<f32>;  // [ROWS]

@compute @workgroup_size(WG)
fn rms_norm_backward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = group.y * count.x + group.x;
    if (row >= ROWS) { return; }
    var squares = 0.0;
    var product = 0.0;
    for (var col = lane; col < COLS; col += WG) {
        let at = row * COLS + col;
        squares = fma(x[at], x[at], squares);
        product = fma(x[at], weight[col] * dy[at], product);
    }
    let inverse = 1.0 / sqrt(workgroup_sum(squares, lane) / f32(COLS) + EPS);
    let mean = workgroup_sum(product, lane) / f32(COLS) * inverse * inverse;
    for (var col = lane; col < COLS; col += WG) {
        let at = row * COLS + col;
        dx[at] = select(0.0, dx[at], ACCUMULATE) + inverse * (weight[col] * dy[at] - x[at] * mean);
    }
    if (lane == 0u) { inverse_rms[row] = inverse; }
}
