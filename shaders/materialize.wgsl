// x = diag(r) G diag(c), or its sign: the matrix itself, for when scaling vectors do not suffice.
override MATRICES: u32 = 1u;
override ROWS: u32;  // per matrix
override COLS: u32;  // in Reals
override HAS_ROWS: bool;  // else r is 1
override HAS_COLS: bool;  // else c is 1
override SIGN: bool = false;
@group(0) @binding(0) var<storage, read>       gradient: array<Real>;  // [MATRICES, ROWS, COLS]
@group(0) @binding(1) var<storage, read>       r:        array<f32>;   // [MATRICES, ROWS]
@group(0) @binding(2) var<storage, read>       c:        array<Real>;  // [MATRICES, COLS]
@group(0) @binding(3) var<storage, read_write> x:        array<Real>;  // [MATRICES, ROWS, COLS]

@compute @workgroup_size(64)
fn materialize(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = (group.y * count.x + group.x) * 64u + lane;
    if (at >= MATRICES * ROWS * COLS) { return; }
    var value = gradient[at];
    if (HAS_ROWS) { value *= r[at / COLS]; }
    if (HAS_COLS) { value *= c[column(at)]; }
    if (SIGN) { value = sign(value); }
    x[at] = value;
}

// Index in c of an element's column.
fn column(at: u32) -> u32 {
    var column = at % COLS;
    if (MATRICES > 1u) { column += at / (ROWS * COLS) * COLS; }
    return column;
}
