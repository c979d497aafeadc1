// partial[k, b] = (max |x|, sum of (x / max)^2) over block b of x = diag(r) G diag(c), matrix k: a norm without
// overflow or underflow.
override MATRICES: u32 = 1u;
override ROWS: u32;      // per matrix
override COLS: u32;      // in Reals
override BLOCK: u32;     // Reals per workgroup
override BLOCKS: u32;    // per matrix
override HAS_ROWS: bool; // else r is 1
override HAS_COLS: bool; // else c is 1
@group(0) @binding(0) var<storage, read>       gradient: array<Real>;       // [MATRICES, ROWS, COLS]
@group(0) @binding(1) var<storage, read>       r:        array<f32>;        // [MATRICES, ROWS]
@group(0) @binding(2) var<storage, read>       c:        array<Real>;       // [MATRICES, COLS]
@group(0) @binding(3) var<storage, read_write> partial:  array<vec2<f32>>;  // [MATRICES, BLOCKS]

@compute @workgroup_size(WG)
fn whole_partial(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let number = group.y * count.x + group.x;
    if (number >= MATRICES * BLOCKS) { return; }
    let matrix = number / BLOCKS;
    let block = number % BLOCKS;
    let end = min(ROWS * COLS, (block + 1u) * BLOCK);
    var largest = 0.0;
    for (var at = block * BLOCK + lane; at < end; at += WG) { largest = max(largest, greatest(abs(element(matrix, at)))); }
    largest = workgroup_max(largest, lane);
    let scale = select(0.0, 1.0 / largest, largest >= 1.1754944e-38);  // denormals count as zero
    var squares = Real(0.0);
    for (var at = block * BLOCK + lane; at < end; at += WG) {
        let scaled = element(matrix, at) * scale;
        squares = fma(scaled, scaled, squares);
    }
    let sum = workgroup_sum(total(squares), lane);
    if (lane == 0u) { partial[number] = vec2(largest, sum); }
}

fn element(matrix: u32, at: u32) -> Real {
    var x = gradient[matrix * ROWS * COLS + at];
    if (HAS_ROWS) { x *= r[matrix * ROWS + at / COLS]; }
    if (HAS_COLS) { x *= c[matrix * COLS + at % COLS]; }
    return x;
}
