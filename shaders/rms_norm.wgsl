// y = x / rms(x) * weight with rms(x) = sqrt(mean(x^2) + EPS), one workgroup per row.
override ROWS: u32;
override COLS: u32;  // in Reals
override EPS: f32;
override KEPT: u32 = 4u;  // Reals of a row that a lane keeps, at most MOST_KEPT; later ones are read again
const MOST_KEPT: u32 = 4u;
@group(0) @binding(0) var<storage, read>       x:      array<Real>;    // [ROWS, COLS]
@group(0) @binding(1) var<storage, read>       weight: array<Real>;    // [COLS]
@group(0) @binding(2) var<storage, read_write> y:      array<Stored>;  // [ROWS, COLS]

@compute @workgroup_size(WG)
fn rms_norm(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = group.y * count.x + group.x;
    if (row >= ROWS) { return; }
    let first = row * COLS;
    var kept: array<Real, MOST_KEPT>;
    var squares = Real(0.0);
    for (var i = 0u; i < KEPT; i++) {
        let col = lane + i * WG;
        if (col < COLS) {
            kept[i] = x[first + col];
            squares = fma(kept[i], kept[i], squares);
        }
    }
    for (var col = lane + KEPT * WG; col < COLS; col += WG) { squares = fma(x[first + col], x[first + col], squares); }
    let inverse_rms = 1.0 / sqrt(workgroup_sum(total(squares), lane) / f32(COLS * WIDTH) + EPS);
    for (var i = 0u; i < KEPT; i++) {
        let col = lane + i * WG;
        if (col < COLS) { y[first + col] = stored(kept[i] * inverse_rms * weight[col]); }
    }
    for (var col = lane + KEPT * WG; col < COLS; col += WG) {
        y[first + col] = stored(x[first + col] * inverse_rms * weight[col]);
    }
}
