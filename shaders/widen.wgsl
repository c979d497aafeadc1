// y = factor diag(r) G diag(c), transposed if it is tall, zero-padded to multiples of 4: the start of Newton-Schulz.
override MATRICES: u32 = 1u;
override ROWS: u32;  // per matrix
override COLS: u32;
override HAS_ROWS: bool;  // else r is 1
override HAS_COLS: bool;  // else c is 1
override SIGN: bool = false;
override WIDE_ROWS: u32;  // of y
override WIDE_COLS: u32;
override TALL: bool;      // ROWS > COLS: y is transposed
@group(0) @binding(0) var<storage, read>       gradient: array<f32>;  // [MATRICES, ROWS, COLS]
@group(0) @binding(1) var<storage, read>       r:        array<f32>;  // [MATRICES, ROWS]
@group(0) @binding(2) var<storage, read>       c:        array<f32>;  // [MATRICES, COLS]
@group(0) @binding(3) var<storage, read>       factor:   array<f32>;  // [MATRICES]
@group(0) @binding(4) var<storage, read_write> y:        array<f32>;  // [MATRICES, WIDE_ROWS, WIDE_COLS]

@compute @workgroup_size(64)
fn widen(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = (group.y * count.x + group.x) * 64u + lane;
    if (at >= MATRICES * WIDE_ROWS * WIDE_COLS) { return; }
    let matrix = at / (WIDE_ROWS * WIDE_COLS);
    let i = at / WIDE_COLS % WIDE_ROWS;
    let j = at % WIDE_COLS;
    let row = select(i, j, TALL);
    let col = select(j, i, TALL);
    var value = 0.0;
    if (row < ROWS && col < COLS) {
        value = gradient[(matrix * ROWS + row) * COLS + col];
        if (HAS_ROWS) { value *= r[matrix * ROWS + row]; }
        if (HAS_COLS) { value *= c[matrix * COLS + col]; }
        value = select(value, sign(value), SIGN) * factor[matrix];
    }
    y[at] = value;
}
