// Power iteration on P = G*G (RACS), the row half: q = P s / |s|^2, and the sums that the column half needs:
// partial[b, j] = sum over the rows i of block b of P[i, j] q[i]. One read of G serves both.
override ROWS: u32;
override COLS: u32;         // at most MAX_PER_LANE * WG
override BLOCK: u32;        // rows per workgroup
override FIRST: bool;       // q is 1, and s is not computed yet
override COLUMN_SUMS: bool; // whether a column half follows
const MAX_PER_LANE: u32 = 64u;
@group(0) @binding(0) var<storage, read>       gradient:   array<f32>;  // [ROWS, COLS]
@group(0) @binding(1) var<storage, read>       statistics: array<f32>;  // [1] is the clip factor
@group(0) @binding(2) var<storage, read>       s:          array<f32>;  // [COLS]
@group(0) @binding(3) var<storage, read>       norm:       array<f32>;  // [2] max(s), sum of (s / max)^2
@group(0) @binding(4) var<storage, read_write> q:          array<f32>;  // [ROWS]
@group(0) @binding(5) var<storage, read_write> partial:    array<f32>;  // [blocks, COLS]

@compute @workgroup_size(WG)
fn racs_rows(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let per_lane = (COLS + WG - 1u) / WG;
    var values: array<f32, MAX_PER_LANE>;
    var column_sums: array<f32, MAX_PER_LANE>;
    for (var i = 0u; i < per_lane; i++) { column_sums[i] = 0.0; }
    // The squared squares of small gradients are below f32's range: s is divided by its largest element before use.
    var over = 0.0;
    if (!FIRST && norm[0] > 0.0) { over = 1.0 / norm[0]; }
    for (var row = group.x * BLOCK; row < min(ROWS, (group.x + 1u) * BLOCK); row++) {
        var sum = 0.0;
        for (var i = 0u; i < per_lane; i++) {
            let col = lane + i * WG;
            if (col < COLS) {
                let g = gradient[row * COLS + col] * statistics[1];
                values[i] = g * g;
                if (!FIRST) { sum = fma(values[i], s[col] * over, sum); }
            }
        }
        var of_row = 1.0;
        if (!FIRST) {
            let total = workgroup_sum(sum, lane);
            of_row = select(0.0, total * over / norm[1], over > 0.0);
        }
        if (lane == 0u) { q[row] = of_row; }
        for (var i = 0u; i < per_lane; i++) { column_sums[i] = fma(values[i], of_row, column_sums[i]); }
    }
    if (COLUMN_SUMS) {
        for (var i = 0u; i < per_lane; i++) {
            let col = lane + i * WG;
            if (col < COLS) { partial[group.x * COLS + col] = column_sums[i]; }
        }
    }
}
