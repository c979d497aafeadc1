// Every row of G diag(c) minus its mean, over its standard deviation; a constant row becomes zero. One workgroup per
// row.
// The row's own scaling cancels, except for a dropped row: r = 0.
override MATRICES: u32 = 1u;
override ROWS: u32;       // per matrix
override COLS: u32;       // in Reals
override HAS_ROWS: bool;  // else r is 1
override HAS_COLS: bool;  // else c is 1
const CONSTANT_ROW: f32 = 9.5367431640625e-7;  // a deviation below this fraction of the largest is rounding
@group(0) @binding(0) var<storage, read>       gradient: array<Real>;  // [MATRICES, ROWS, COLS]
@group(0) @binding(1) var<storage, read>       r:        array<f32>;   // [MATRICES, ROWS]
@group(0) @binding(2) var<storage, read>       c:        array<Real>;  // [MATRICES, COLS]
@group(0) @binding(3) var<storage, read_write> x:        array<Real>;  // [MATRICES, ROWS, COLS]

@compute @workgroup_size(WG)
fn standardize(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = group.y * count.x + group.x;
    if (row >= MATRICES * ROWS) { return; }
    let n = f32(COLS * WIDTH);
    var largest = 0.0;
    for (var col = lane; col < COLS; col += WG) { largest = max(largest, greatest(abs(element(row, col)))); }
    largest = workgroup_max(largest, lane);
    var scale = select(0.0, 1.0 / largest, largest >= 1.1754944e-38);  // denormals count as zero
    if (HAS_ROWS) { scale = select(0.0, scale, r[row] != 0.0); }
    var sum = Real(0.0);
    for (var col = lane; col < COLS; col += WG) { sum += element(row, col) * scale; }
    let mean = workgroup_sum(total(sum), lane) / n;
    var squares = Real(0.0);
    for (var col = lane; col < COLS; col += WG) {
        let centered = element(row, col) * scale - mean;
        squares = fma(centered, centered, squares);
    }
    let deviation = sqrt(workgroup_sum(total(squares), lane) / n);
    let factor = select(0.0, 1.0 / deviation, deviation > CONSTANT_ROW);
    for (var col = lane; col < COLS; col += WG) { x[row * COLS + col] = (element(row, col) * scale - mean) * factor; }
}

fn element(row: u32, col: u32) -> Real {
    var x = gradient[row * COLS + col];
    if (HAS_COLS) { x *= c[row / ROWS * COLS + col]; }
    return x;
}
