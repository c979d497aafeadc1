// The scaling-vector form of the passes `row` and `column`: X = diag(r) G diag(c), of which only r and c are stored.
// Row pass: r[i] = sqrt(COLS) / |G[i, :] c|. Its squares go at once into the sums that the column pass needs:
// partial[b, j] = sum over the rows i of block b of (r[i] G[i, j])^2. So one read of G serves both passes.
override ROWS: u32;
override COLS: u32;           // at most MAX_PER_LANE * WG
override BLOCK: u32;          // rows of a workgroup
override BEGIN_ROWS: bool;    // no row pass yet: r is 1
override BEGIN_COLS: bool;    // no column pass yet: c is 1
override ROW_PASS: bool;      // else r stays as it is
override COLUMN_SUMS: bool;   // whether a column pass follows
const MAX_PER_LANE: u32 = 64u;
@group(0) @binding(0) var<storage, read>       gradient: array<f32>;  // [ROWS, COLS]
@group(0) @binding(1) var<storage, read>       c:        array<f32>;  // [COLS]
@group(0) @binding(2) var<storage, read_write> r:        array<f32>;  // [ROWS]
@group(0) @binding(3) var<storage, read_write> partial:  array<f32>;  // [blocks, COLS]

@compute @workgroup_size(WG)
fn scale_rows(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let per_lane = (COLS + WG - 1u) / WG;
    var values: array<f32, MAX_PER_LANE>;
    var column_sums: array<f32, MAX_PER_LANE>;
    for (var i = 0u; i < per_lane; i++) { column_sums[i] = 0.0; }
    for (var row = group.x * BLOCK; row < min(ROWS, (group.x + 1u) * BLOCK); row++) {
        var squares = 0.0;
        for (var i = 0u; i < per_lane; i++) {
            let col = lane + i * WG;
            if (col < COLS) {
                values[i] = gradient[row * COLS + col];
                var scaled = values[i];
                if (!BEGIN_COLS) { scaled *= c[col]; }
                squares = fma(scaled, scaled, squares);
            }
        }
        var scale = 1.0;
        if (ROW_PASS) {
            let total = workgroup_sum(squares, lane);
            scale = 0.0;  // a zero row stays zero and is never divided by
            if (total > 0.0) { scale = sqrt(f32(COLS) / total); }
            if (lane == 0u) { r[row] = scale; }
        } else if (!BEGIN_ROWS) {
            scale = r[row];
        } else if (lane == 0u) {
            r[row] = 1.0;
        }
        for (var i = 0u; i < per_lane; i++) {
            let scaled = values[i] * scale;
            column_sums[i] = fma(scaled, scaled, column_sums[i]);
        }
    }
    if (COLUMN_SUMS) {
        for (var i = 0u; i < per_lane; i++) {
            let col = lane + i * WG;
            if (col < COLS) { partial[group.x * COLS + col] = column_sums[i]; }
        }
    }
}
