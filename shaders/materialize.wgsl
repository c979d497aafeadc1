// x = diag(r) G diag(c), or its sign: the matrix itself, where scaling vectors do not do.
override ROWS: u32;
override COLS: u32;
override HAS_ROWS: bool;  // else r is 1
override HAS_COLS: bool;  // else c is 1
override SIGN: bool = false;
@group(0) @binding(0) var<storage, read>       gradient: array<f32>;  // [ROWS, COLS]
@group(0) @binding(1) var<storage, read>       r:        array<f32>;  // [ROWS]
@group(0) @binding(2) var<storage, read>       c:        array<f32>;  // [COLS]
@group(0) @binding(3) var<storage, read_write> x:        array<f32>;  // [ROWS, COLS]

@compute @workgroup_size(64)
fn materialize(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = (group.y * count.x + group.x) * 64u + lane;
    if (at >= ROWS * COLS) { return; }
    var value = gradient[at];
    if (HAS_ROWS) { value *= r[at / COLS]; }
    if (HAS_COLS) { value *= c[at % COLS]; }
    x[at] = select(value, sign(value), SIGN);
}
