// r *= factor / divisor: a whole-matrix scaling in the row scalings.
override ROWS: u32;
override BEGIN_ROWS: bool;        // r holds nothing yet, and counts as 1
override HAS_DIVISOR: bool;       // else it is 1
@group(0) @binding(0) var<storage, read>       factor:  array<f32>;  // [1]
@group(0) @binding(1) var<storage, read>       divisor: array<f32>;  // [1]
@group(0) @binding(2) var<storage, read_write> r:       array<f32>;  // [ROWS]

@compute @workgroup_size(64)
fn scale_whole(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = group.x * 64u + lane;
    if (row >= ROWS) { return; }
    var scale = factor[0];
    if (HAS_DIVISOR) { scale = select(0.0, scale / divisor[0], divisor[0] > 0.0); }
    if (!BEGIN_ROWS) { scale *= r[row]; }
    r[row] = scale;
}
