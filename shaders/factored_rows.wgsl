// The rows of a factored second moment (Adafactor): row[i] = BETA row[i] + (1 - BETA) mean over columns of (g^2 + EPS),
// with BETA = 1 - t^-DECAY; and the sums of squares that the columns need: partial[b, j] over the rows of block b.
override ROWS: u32;
override COLS: u32;   // at most MAX_PER_LANE * WG
override BLOCK: u32;  // rows per workgroup
override EPS: f32;
override DECAY: f32;
const MAX_PER_LANE: u32 = 64u;
@group(0) @binding(0) var<storage, read>       gradient:   array<f32>;  // [ROWS, COLS]
@group(0) @binding(1) var<storage, read>       statistics: array<f32>;  // [1] is the clip factor
@group(0) @binding(2) var<storage, read_write> row:        array<f32>;  // [ROWS]
@group(0) @binding(3) var<storage, read_write> partial:    array<f32>;  // [blocks, COLS]
@group(0) @binding(4) var<uniform>             step:       Step;

@compute @workgroup_size(WG)
fn factored_rows(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let per_lane = (COLS + WG - 1u) / WG;
    let rest = pow(f32(step.number), -DECAY);
    var column_sums: array<f32, MAX_PER_LANE>;
    for (var i = 0u; i < per_lane; i++) { column_sums[i] = 0.0; }
    for (var at = group.x * BLOCK; at < min(ROWS, (group.x + 1u) * BLOCK); at++) {
        var squares = 0.0;
        for (var i = 0u; i < per_lane; i++) {
            let col = lane + i * WG;
            if (col < COLS) {
                let g = gradient[at * COLS + col] * statistics[1];
                squares = fma(g, g, squares);
                column_sums[i] = fma(g, g, column_sums[i]);
            }
        }
        let mean = workgroup_sum(squares, lane) / f32(COLS) + EPS;
        if (lane == 0u && !halted(statistics[1])) { row[at] = (1.0 - rest) * row[at] + rest * mean; }
    }
    for (var i = 0u; i < per_lane; i++) {
        let col = lane + i * WG;
        if (col < COLS) { partial[group.x * COLS + col] = column_sums[i]; }
    }
}
