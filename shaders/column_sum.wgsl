// y (+)= factor times the sum over the rows of x, or of its squares. ACROSS adjacent lanes cover a row; WG / ACROSS of
// them share the rows of a column with a stride, and their sums are added in pairs. WG and ACROSS are powers of two.
override ROWS: u32;
override COLS: u32;  // in Reals
override ACROSS: u32;
override WG: u32;
override ACCUMULATE: bool = false;
override SQUARED: bool = false;
@group(0) @binding(0) var<storage, read>       x:      array<Stored>;  // [ROWS, COLS]
@group(0) @binding(1) var<storage, read_write> y:      array<Real>;    // [COLS]
@group(0) @binding(2) var<storage, read>       factor: array<f32>;     // [1]

var<workgroup> shares: array<Real, WG>;

@compute @workgroup_size(WG)
fn column_sum(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let col = group.x * ACROSS + lane % ACROSS;
    var sum = Real(0.0);
    if (col < COLS) {
        for (var row = lane / ACROSS; row < ROWS; row += WG / ACROSS) {
            let value = Real(x[row * COLS + col]);
            sum += select(value, value * value, SQUARED);
        }
    }
    shares[lane] = sum;
    workgroupBarrier();
    for (var width = WG / 2u; width >= ACROSS; width /= 2u) {
        if (lane < width) { shares[lane] += shares[lane + width]; }
        workgroupBarrier();
    }
    if (lane < ACROSS && col < COLS) {
        var before = Real(0.0);
        if (ACCUMULATE) { before = y[col]; }
        y[col] = before + factor[0] * shares[lane];
    }
}
