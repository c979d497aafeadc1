// The rows of H-Fac's momentum and second moment: averages of the means of g and of g^2 + EPS, the row's part of the
// momentum term, and the column sums partial[0, b, j] and partial[1, b, j] of g and g^2 over the rows of block b.
override ROWS: u32;
override COLS: u32;    // at most MAX_PER_LANE * WG
override BLOCK: u32;   // rows per workgroup
override BLOCKS: u32;
override EPS: f32;
override BETA1: f32;
override BETA2: f32;
override LOG_BETA1: f32;
override LOG_BETA2: f32;
const MAX_PER_LANE: u32 = 64u;
@group(0) @binding(0) var<storage, read>       gradient:      array<f32>;  // [ROWS, COLS]
@group(0) @binding(1) var<storage, read>       statistics:    array<f32>;  // [1] is the clip factor
@group(0) @binding(2) var<storage, read_write> row_mean:      array<f32>;  // [ROWS]
@group(0) @binding(3) var<storage, read_write> row_sq:        array<f32>;  // [ROWS]
@group(0) @binding(4) var<storage, read_write> momentum_term: array<f32>;  // [ROWS] the row's part of the momentum term
@group(0) @binding(5) var<storage, read_write> partial:       array<f32>;  // [2, BLOCKS, COLS]
@group(0) @binding(6) var<uniform>             step:          Step;

@compute @workgroup_size(WG)
fn h_fac_rows(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let per_lane = (COLS + WG - 1u) / WG;
    let beta1 = corrected_decay(BETA1, LOG_BETA1, step.number);
    let beta2 = corrected_decay(BETA2, LOG_BETA2, step.number);
    var sums: array<f32, MAX_PER_LANE>;
    var squares: array<f32, MAX_PER_LANE>;
    for (var i = 0u; i < per_lane; i++) {
        sums[i] = 0.0;
        squares[i] = 0.0;
    }
    for (var at = group.x * BLOCK; at < min(ROWS, (group.x + 1u) * BLOCK); at++) {
        var sum = 0.0;
        var square = 0.0;
        for (var i = 0u; i < per_lane; i++) {
            let col = lane + i * WG;
            if (col < COLS) {
                let g = gradient[at * COLS + col] * statistics[1];
                sum += g;
                square = fma(g, g, square);
                sums[i] += g;
                squares[i] = fma(g, g, squares[i]);
            }
        }
        let mean = workgroup_sum(sum, lane) / f32(COLS);
        let mean_sq = workgroup_sum(square, lane) / f32(COLS) + EPS;
        if (lane == 0u && !halted(statistics[1])) {
            let averaged = beta1 * row_mean[at] + (1.0 - beta1) * mean;
            let averaged_sq = beta2 * row_sq[at] + (1.0 - beta2) * mean_sq;
            row_mean[at] = averaged;
            row_sq[at] = averaged_sq;
            momentum_term[at] = beta1 * (averaged - mean) * inverseSqrt(averaged_sq);
        }
    }
    for (var i = 0u; i < per_lane; i++) {
        let col = lane + i * WG;
        if (col < COLS) {
            partial[group.x * COLS + col] = sums[i];
            partial[(BLOCKS + group.x) * COLS + col] = squares[i];
        }
    }
}
