// partial[b] = sum over block b of (X - Y)^2, for X = diag(r) G diag(c) and Y = diag(q) H diag(d).
override ROWS: u32;
override COLS: u32;
override BLOCK: u32;          // elements per workgroup
override HAS_ROWS: bool;      // else r is 1
override HAS_COLS: bool;      // else c is 1
override HAD_ROWS: bool;      // else q is 1
override HAD_COLS: bool;      // else d is 1
@group(0) @binding(0) var<storage, read>       g: array<f32>;        // [ROWS, COLS]
@group(0) @binding(1) var<storage, read>       r: array<f32>;        // [ROWS]
@group(0) @binding(2) var<storage, read>       c: array<f32>;        // [COLS]
@group(0) @binding(3) var<storage, read>       h: array<f32>;        // [ROWS, COLS]
@group(0) @binding(4) var<storage, read>       q: array<f32>;        // [ROWS]
@group(0) @binding(5) var<storage, read>       d: array<f32>;        // [COLS]
@group(0) @binding(6) var<storage, read_write> partial: array<f32>;  // [blocks]

@compute @workgroup_size(WG)
fn change_partial(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    var squares = 0.0;
    for (var at = group.x * BLOCK + lane; at < min(ROWS * COLS, (group.x + 1u) * BLOCK); at += WG) {
        var x = g[at];
        if (HAS_ROWS) { x *= r[at / COLS]; }
        if (HAS_COLS) { x *= c[at % COLS]; }
        var y = h[at];
        if (HAD_ROWS) { y *= q[at / COLS]; }
        if (HAD_COLS) { y *= d[at % COLS]; }
        squares = fma(x - y, x - y, squares);
    }
    squares = workgroup_sum(squares, lane);
    if (lane == 0u) { partial[group.x] = squares; }
}
