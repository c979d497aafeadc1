// Every row of G diag(c) minus its mean, over its standard deviation; a constant row becomes zero. One workgroup a row.
// The row's own scaling drops out, but for a row that was dropped: r = 0.
override ROWS: u32;
override COLS: u32;
override HAS_ROWS: bool;  // else r is 1
override HAS_COLS: bool;  // else c is 1
const CONSTANT_ROW: f32 = 9.5367431640625e-7;  // a deviation of at most this share of the largest element is rounding
@group(0) @binding(0) var<storage, read>       gradient: array<f32>;  // [ROWS, COLS]
@group(0) @binding(1) var<storage, read>       r:        array<f32>;  // [ROWS]
@group(0) @binding(2) var<storage, read>       c:        array<f32>;  // [COLS]
@group(0) @binding(3) var<storage, read_write> x:        array<f32>;  // [ROWS, COLS]

@compute @workgroup_size(WG)
fn standardize(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = group.y * count.x + group.x;
    if (row >= ROWS) { return; }
    let start = row * COLS;
    var largest = 0.0;
    for (var col = lane; col < COLS; col += WG) { largest = max(largest, abs(element(start, col))); }
    largest = workgroup_max(largest, lane);
    var scale = select(0.0, 1.0 / largest, largest >= 1.1754944e-38);  // denormals count as zero
    if (HAS_ROWS) { scale = select(0.0, scale, r[row] != 0.0); }
    var sum = 0.0;
    for (var col = lane; col < COLS; col += WG) { sum += element(start, col) * scale; }
    let mean = workgroup_sum(sum, lane) / f32(COLS);
    var squares = 0.0;
    for (var col = lane; col < COLS; col += WG) {
        let centered = element(start, col) * scale - mean;
        squares = fma(centered, centered, squares);
    }
    let deviation = sqrt(workgroup_sum(squares, lane) / f32(COLS));
    let factor = select(0.0, 1.0 / deviation, deviation > CONSTANT_ROW);
    for (var col = lane; col < COLS; col += WG) { x[start + col] = (element(start, col) * scale - mean) * factor; }
}

fn element(start: u32, col: u32) -> f32 {
    var x = gradient[start + col];
    if (HAS_COLS) { x *= c[col]; }
    return x;
}
