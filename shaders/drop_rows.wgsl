// r = 0 for rows whose norm is at most THRESHOLD times the mean norm of their matrix; others are unchanged. One
// workgroup per matrix.
override ROWS: u32;  // per matrix
override THRESHOLD: f32;
override BEGIN_ROWS: bool;  // r is not yet set, and counts as 1
@group(0) @binding(0) var<storage, read>       norms: array<f32>;  // [matrices, ROWS]
@group(0) @binding(1) var<storage, read_write> r:     array<f32>;  // [matrices, ROWS]

@compute @workgroup_size(WG)
fn drop_rows(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let first = group.x * ROWS;
    var sum = 0.0;
    for (var row = lane; row < ROWS; row += WG) { sum += norms[first + row]; }
    let least = THRESHOLD * workgroup_sum(sum, lane) / f32(ROWS);
    for (var row = lane; row < ROWS; row += WG) {
        var scale = 1.0;
        if (!BEGIN_ROWS) { scale = r[first + row]; }
        r[first + row] = select(scale, 0.0, norms[first + row] <= least);
    }
}
