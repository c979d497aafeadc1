// r *= factor / divisor: scales a whole matrix through its row scalings.
override MATRICES: u32 = 1u;
override ROWS: u32;               // per matrix
override BEGIN_ROWS: bool;        // r is not yet set, and counts as 1
override HAS_DIVISOR: bool;       // else the divisor is 1
@group(0) @binding(0) var<storage, read>       factor:  array<f32>;  // [MATRICES]
@group(0) @binding(1) var<storage, read>       divisor: array<f32>;  // [MATRICES]
@group(0) @binding(2) var<storage, read_write> r:       array<f32>;  // [MATRICES, ROWS]

@compute @workgroup_size(64)
fn scale_whole(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = group.x * 64u + lane;
    if (row >= MATRICES * ROWS) { return; }
    let matrix = row / ROWS;
    var scale = factor[matrix];
    if (HAS_DIVISOR) { scale = select(0.0, scale / divisor[matrix], divisor[matrix] > 0.0); }
    if (!BEGIN_ROWS) { scale *= r[row]; }
    r[row] = scale;
}
