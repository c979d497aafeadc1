// Rows to orthonormal ones that span at least as much, by Gram and Schmidt, three times over, each time from length 1: one
// workgroup, for few and short rows, FIRST to LAST of which are not yet done. What rounding leaves of a row that lies in
// the span of those before it becomes a direction as good as any; a zero row stays zero.
override FIRST: u32;
override LAST: u32;
override COLS: u32;
const LEAST: f32 = 1.1754944e-38;
@group(0) @binding(0) var<storage, read_write> y: array<f32>;  // [LAST or more, COLS]

@compute @workgroup_size(WG)
fn orthonormalize_rows(@builtin(local_invocation_index) lane: u32) {
    for (var row = FIRST; row < LAST; row++) {
        // Each lane touches its own columns alone, so that only the sums are shared.
        for (var time = 0u; time < 3u; time++) {
            var largest = 0.0;
            for (var at = lane; at < COLS; at += WG) { largest = max(largest, abs(y[row * COLS + at])); }
            largest = workgroup_max(largest, lane);
            let scale = select(0.0, 1.0 / largest, largest >= LEAST);
            for (var at = lane; at < COLS; at += WG) { y[row * COLS + at] *= scale; }
            for (var other = 0u; other < row; other++) {
                var sum = 0.0;
                for (var at = lane; at < COLS; at += WG) { sum = fma(y[row * COLS + at], y[other * COLS + at], sum); }
                let share = workgroup_sum(sum, lane);
                for (var at = lane; at < COLS; at += WG) { y[row * COLS + at] -= share * y[other * COLS + at]; }
            }
        }
        var squares = 0.0;
        for (var at = lane; at < COLS; at += WG) { squares = fma(y[row * COLS + at], y[row * COLS + at], squares); }
        let norm = workgroup_sum(squares, lane);
        let over = select(0.0, inverseSqrt(norm), norm >= LEAST);
        for (var at = lane; at < COLS; at += WG) { y[row * COLS + at] *= over; }
    }
}
