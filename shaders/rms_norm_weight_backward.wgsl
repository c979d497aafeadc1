// partial[b, :] = sum over the rows of block b of dy x / rms: one lane per column and block.
override ROWS: u32;
override COLS: u32;
override BLOCK: u32;  // rows of a block
@group(0) @binding(0) var<storage, read>       x:           array<f32>;  // [ROWS, COLS]
@group(0) @binding(1) var<storage, read>       dy:          array<f32>;  // [ROWS, COLS]
@group(0) @binding(2) var<storage, read>       inverse_rms: array<f32>;  // [ROWS]
@group(0) @binding(3) var<storage, read_write> partial:     array<f32>;  // [blocks, COLS]

@compute @workgroup_size(64)
fn rms_norm_weight_backward(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let col = group.x * 64u + lane;
    if (col >= COLS) { return; }
    var sum = 0.0;
    for (var row = group.y * BLOCK; row < min(ROWS, (group.y + 1u) * BLOCK); row++) {
        sum = fma(dy[row * COLS + col], x[row * COLS + col] * inverse_rms[row], sum);
    }
    partial[group.y * COLS + col] = sum;
}
