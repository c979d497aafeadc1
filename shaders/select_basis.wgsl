// The RANK rows of y with the largest norms become the columns of a basis, largest first, each with the sign that makes
// its largest element positive. One workgroup per row of y.
override ROWS: u32;
override COLS: u32;
override RANK: u32;
@group(0) @binding(0) var<storage, read>       y:     array<f32>;  // [ROWS, COLS]
@group(0) @binding(1) var<storage, read>       norms: array<f32>;  // [ROWS]
@group(0) @binding(2) var<storage, read_write> basis: array<f32>;  // [COLS, RANK]

@compute @workgroup_size(WG)
fn select_basis(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = group.x;
    var place = 0u;
    for (var other = 0u; other < ROWS; other++) {
        if (norms[other] > norms[row] || (norms[other] == norms[row] && other < row)) { place++; }
    }
    var largest = 0.0;
    for (var at = lane; at < COLS; at += WG) { largest = max(largest, abs(y[row * COLS + at])); }
    largest = workgroup_max(largest, lane);
    // Negative if the element of that magnitude is.
    var negative = 0.0;
    for (var at = lane; at < COLS; at += WG) {
        if (y[row * COLS + at] == -largest) { negative = 1.0; }
    }
    negative = workgroup_max(negative, lane);
    if (place >= RANK) { return; }
    let sign = 1.0 - 2.0 * negative;
    for (var at = lane; at < COLS; at += WG) { basis[at * RANK + place] = sign * y[row * COLS + at]; }
}
