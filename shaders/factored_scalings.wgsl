// A factored second moment as scalings of G: diag(r) G diag(c) = clip G / sqrt(row col / mean(row)).
override ROWS: u32;
override COLS: u32;
override HAS_ROWS: bool;  // else the weight is a vector: ROWS is 1, and only columns are averaged
@group(0) @binding(0) var<storage, read>       row:        array<f32>;  // [ROWS]
@group(0) @binding(1) var<storage, read>       col:        array<f32>;  // [COLS]
@group(0) @binding(2) var<storage, read>       statistics: array<f32>;  // [1] is the clip factor
@group(0) @binding(3) var<storage, read_write> r:          array<f32>;  // [ROWS]
@group(0) @binding(4) var<storage, read_write> c:          array<f32>;  // [COLS]

@compute @workgroup_size(WG)
fn factored_scalings(@builtin(local_invocation_index) lane: u32) {
    var total = 0.0;
    if (HAS_ROWS) {
        for (var at = lane; at < ROWS; at += WG) { total += row[at]; }
    }
    let mean = workgroup_sum(total, lane) / f32(ROWS);
    for (var at = lane; at < ROWS; at += WG) {
        var scale = statistics[1];
        if (HAS_ROWS) { scale *= sqrt(mean / row[at]); }
        r[at] = scale;
    }
    for (var at = lane; at < COLS; at += WG) { c[at] = inverseSqrt(col[at]); }
}
