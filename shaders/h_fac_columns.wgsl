// The columns of H-Fac's momentum and second moment, from the blocks' sums.
override ROWS: u32;
override COLS: u32;
override BLOCKS: u32;
override EPS: f32;
override BETA1: f32;
override BETA2: f32;
override LOG_BETA1: f32;
override LOG_BETA2: f32;
@group(0) @binding(0) var<storage, read>       partial:       array<f32>;  // [2, BLOCKS, COLS]
@group(0) @binding(1) var<storage, read>       statistics:    array<f32>;  // [1] tells whether the run was halted
@group(0) @binding(2) var<storage, read_write> col_mean:      array<f32>;  // [COLS]
@group(0) @binding(3) var<storage, read_write> col_sq:        array<f32>;  // [COLS]
@group(0) @binding(4) var<storage, read_write> momentum_term: array<f32>;  // [COLS] the column's part of the momentum term
@group(0) @binding(5) var<uniform>             step:          Step;

@compute @workgroup_size(64)
fn h_fac_columns(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let at = group.x * 64u + lane;
    if (at >= COLS || halted(statistics[1])) { return; }
    var sum = 0.0;
    var square = 0.0;
    for (var block = 0u; block < BLOCKS; block++) {
        sum += partial[block * COLS + at];
        square += partial[(BLOCKS + block) * COLS + at];
    }
    let mean = sum / f32(ROWS);
    let beta1 = corrected_decay(BETA1, LOG_BETA1, step.number);
    let beta2 = corrected_decay(BETA2, LOG_BETA2, step.number);
    let averaged = beta1 * col_mean[at] + (1.0 - beta1) * mean;
    let averaged_sq = beta2 * col_sq[at] + (1.0 - beta2) * (square / f32(ROWS) + EPS);
    col_mean[at] = averaged;
    col_sq[at] = averaged_sq;
    momentum_term[at] = beta1 * (averaged - mean) * inverseSqrt(averaged_sq);
}
