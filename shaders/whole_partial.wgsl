// partial[b] = (max |x|, sum of (x / max)^2) over block b of x = diag(r) G diag(c): a norm that neither over- nor underflows.
override ROWS: u32;
override COLS: u32;
override BLOCK: u32;     // elements of a workgroup
override HAS_ROWS: bool; // else r is 1
override HAS_COLS: bool; // else c is 1
@group(0) @binding(0) var<storage, read>       gradient: array<f32>;        // [ROWS, COLS]
@group(0) @binding(1) var<storage, read>       r:        array<f32>;        // [ROWS]
@group(0) @binding(2) var<storage, read>       c:        array<f32>;        // [COLS]
@group(0) @binding(3) var<storage, read_write> partial:  array<vec2<f32>>;  // [blocks]

@compute @workgroup_size(WG)
fn whole_partial(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let end = min(ROWS * COLS, (group.x + 1u) * BLOCK);
    var largest = 0.0;
    for (var at = group.x * BLOCK + lane; at < end; at += WG) { largest = max(largest, abs(element(at))); }
    largest = workgroup_max(largest, lane);
    let scale = select(0.0, 1.0 / largest, largest >= 1.1754944e-38);  // denormals count as zero
    var squares = 0.0;
    for (var at = group.x * BLOCK + lane; at < end; at += WG) {
        let scaled = element(at) * scale;
        squares = fma(scaled, scaled, squares);
    }
    squares = workgroup_sum(squares, lane);
    if (lane == 0u) { partial[group.x] = vec2(largest, squares); }
}

fn element(at: u32) -> f32 {
    var x = gradient[at];
    if (HAS_ROWS) { x *= r[at / COLS]; }
    if (HAS_COLS) { x *= c[at % COLS]; }
    return x;
}
