// The same as scale_rows, for GPUs: X = diag(r) G diag(c), r[i] = sqrt(cols) / |G[i, :] c|, and the squares that the
// column pass needs, partial[b, j] = sum over the rows i of block b of (r[i] G[i, j])^2.
// A lane keeps vec4s of a row in registers, and of the next row as well if there is room: its loads are in flight while
// this one is reduced.
override MATRICES: u32 = 1u;
override ROWS: u32;           // per matrix
override COLS: u32;           // vec4s per row, at most MAX_PER_LANE * WG
override BLOCK: u32;          // rows per workgroup
override BLOCKS: u32;         // per matrix
override BEGIN_ROWS: bool;    // r is not yet set
override BEGIN_COLS: bool;    // no column pass yet: c is 1
override ROW_PASS: bool;      // else r is unchanged
override COLUMN_SUMS: bool;   // whether a column pass follows
const MAX_PER_LANE: u32 = 16u;
const PREFETCHED_PER_LANE: u32 = 4u;  // most vec4s per lane for which the next row is prefetched
const LEAST: f32 = 1.1754944e-38;  // smaller values may be flushed to zero, and count as zero
@group(0) @binding(0) var<storage, read>       gradient: array<vec4<f32>>;  // [MATRICES, ROWS, COLS]
@group(0) @binding(1) var<storage, read>       c:        array<vec4<f32>>;  // [MATRICES, COLS]
@group(0) @binding(2) var<storage, read_write> r:        array<f32>;        // [MATRICES, ROWS]
@group(0) @binding(3) var<storage, read_write> partial:  array<vec4<f32>>;  // [MATRICES, BLOCKS, COLS]

@compute @workgroup_size(WG)
fn scale_rows_vec4(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let number = group.y * count.x + group.x;
    if (number >= MATRICES * BLOCKS) { return; }
    let matrix = number / BLOCKS;
    let first = number % BLOCKS * BLOCK;
    let begin = matrix * ROWS + first;
    let end = matrix * ROWS + min(ROWS, first + BLOCK);
    let per_lane = (COLS + WG - 1u) / WG;
    let prefetches = per_lane <= PREFETCHED_PER_LANE;
    // Those beyond the last column stay zero and contribute nothing.
    var values: array<vec4<f32>, MAX_PER_LANE>;
    var next: array<vec4<f32>, PREFETCHED_PER_LANE>;
    var column_sums: array<vec4<f32>, MAX_PER_LANE>;
    var next_scale = 0.0;
    if (prefetches) {
        for (var i = 0u; i < per_lane; i++) {
            let col = lane + i * WG;
            if (col < COLS) { next[i] = gradient[begin * COLS + col]; }
        }
    }
    if (!BEGIN_ROWS) { next_scale = r[begin]; }
    for (var row = begin; row < end; row++) {
        var scale = next_scale;
        for (var i = 0u; i < per_lane; i++) {
            let col = lane + i * WG;
            if (prefetches) {
                values[i] = next[i];
                if (col < COLS && row + 1u < end) { next[i] = gradient[(row + 1u) * COLS + col]; }
            } else if (col < COLS) {
                values[i] = gradient[row * COLS + col];
            }
        }
        // Squares of a raw gradient may exceed the range of f32; those of an already scaled row do not.
        if (BEGIN_ROWS) {
            var largest = vec4(0.0);
            for (var i = 0u; i < per_lane; i++) { largest = max(largest, abs(values[i])); }
            let most = workgroup_max(max(max(largest.x, largest.y), max(largest.z, largest.w)), lane);
            if (most >= LEAST) { scale = max(1.0 / most, LEAST); }
        } else if (row + 1u < end) {
            next_scale = r[row + 1u];
        }
        if (ROW_PASS) {
            var squares = vec4(0.0);
            for (var i = 0u; i < per_lane; i++) {
                let col = lane + i * WG;
                var scaled = values[i] * scale;
                if (!BEGIN_COLS && col < COLS) { scaled *= c[matrix * COLS + col]; }
                squares = fma(scaled, scaled, squares);
            }
            let sum = workgroup_sum((squares.x + squares.y) + (squares.z + squares.w), lane);
            if (sum > 0.0) { scale *= sqrt(f32(COLS * 4u) / sum); } else { scale = 0.0; }
            if (lane == 0u) { r[row] = scale; }
        }
        if (COLUMN_SUMS) {
            for (var i = 0u; i < per_lane; i++) {
                let scaled = values[i] * scale;
                column_sums[i] = fma(scaled, scaled, column_sums[i]);
            }
        }
    }
    if (COLUMN_SUMS) {
        for (var i = 0u; i < per_lane; i++) {
            let col = lane + i * WG;
            if (col < COLS) { partial[number * COLS + col] = column_sums[i]; }
        }
    }
}
