// r = 0 for rows whose norm is at most THRESHOLD times the mean norm; the others keep theirs. One workgroup.
override ROWS: u32;
override THRESHOLD: f32;
override BEGIN_ROWS: bool;  // r holds nothing yet, and counts as 1
@group(0) @binding(0) var<storage, read>       norms: array<f32>;  // [ROWS]
@group(0) @binding(1) var<storage, read_write> r:     array<f32>;  // [ROWS]

@compute @workgroup_size(WG)
fn drop_rows(@builtin(local_invocation_index) lane: u32) {
    var sum = 0.0;
    for (var row = lane; row < ROWS; row += WG) { sum += norms[row]; }
    let least = THRESHOLD * workgroup_sum(sum, lane) / f32(ROWS);
    for (var row = lane; row < ROWS; row += WG) {
        var scale = 1.0;
        if (!BEGIN_ROWS) { scale = r[row]; }
        r[row] = select(scale, 0.0, norms[row] <= least);
    }
}
