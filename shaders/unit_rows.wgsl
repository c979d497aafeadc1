// Scales rows to length 1, in place, one workgroup per row; a zero row stays zero.
override ROWS: u32;
override COLS: u32;
const LEAST: f32 = 1.1754944e-38;  // denormals count as zero
@group(0) @binding(0) var<storage, read_write> y: array<f32>;  // [ROWS, COLS]

@compute @workgroup_size(WG)
fn unit_rows(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = group.y * count.x + group.x;
    if (row >= ROWS) { return; }
    // First scale the largest to 1, because a square may exceed the range.
    var largest = 0.0;
    for (var col = lane; col < COLS; col += WG) { largest = max(largest, abs(y[row * COLS + col])); }
    largest = workgroup_max(largest, lane);
    let scale = select(0.0, 1.0 / largest, largest >= LEAST);
    var squares = 0.0;
    for (var col = lane; col < COLS; col += WG) {
        let scaled = y[row * COLS + col] * scale;
        squares = fma(scaled, scaled, squares);
    }
    squares = workgroup_sum(squares, lane);
    let over = select(0.0, scale * inverseSqrt(squares), squares >= LEAST);
    for (var col = lane; col < COLS; col += WG) { y[row * COLS + col] *= over; }
}
