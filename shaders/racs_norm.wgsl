// norm = (max(s), sum of (s / max)^2): the norm of a vector of positive numbers, without overflow or underflow.
override COLS: u32;
@group(0) @binding(0) var<storage, read>       s:    array<f32>;  // [COLS]
@group(0) @binding(1) var<storage, read_write> norm: array<f32>;  // [2]

@compute @workgroup_size(WG)
fn racs_norm(@builtin(local_invocation_index) lane: u32) {
    var largest = 0.0;
    for (var at = lane; at < COLS; at += WG) { largest = max(largest, s[at]); }
    largest = workgroup_max(largest, lane);
    let over = select(0.0, 1.0 / largest, largest >= 1.1754944e-38);
    var squares = 0.0;
    for (var at = lane; at < COLS; at += WG) {
        let share = s[at] * over;
        squares = fma(share, share, squares);
    }
    squares = workgroup_sum(squares, lane);
    if (lane == 0u) {
        norm[0] = select(0.0, largest, over > 0.0);
        norm[1] = squares;
    }
}
