// For an update inside the backward pass: norms[PARAMETER] and statistics[3 + PARAMETER] = the norm of this gradient.
// The factor is 1, or -1 from the first loss or gradient on that is NaN or infinite: later updates then do nothing;
// under a loss scale only those of this step.
override PARAMETER: u32;
override PARTIALS: u32;
override LOSS_SCALED: bool = false;
@group(0) @binding(0) var<storage, read>       partial:    array<vec2<u32>>;  // [PARTIALS]
@group(0) @binding(1) var<storage, read_write> norms:      array<vec2<u32>>;  // [parameters]
@group(0) @binding(2) var<storage, read_write> statistics: array<f32>;        // [3 + parameters]

@compute @workgroup_size(WG)
fn gradient_check(@builtin(local_invocation_index) lane: u32) {
    var bits = 0u;
    for (var block = lane; block < PARTIALS; block += WG) { bits = max(bits, partial[block].x); }
    let largest = workgroup_largest(bits, lane, WG);
    if (lane == 0u) {
        var squares = 0.0;
        for (var block = 0u; block < PARTIALS; block++) { squares += in_unit_of(largest, partial[block]); }
        norms[PARAMETER] = vec2(largest, bitcast<u32>(squares));
        statistics[3u + PARAMETER] = norm_of(largest, squares);
        let bad = is_bad(largest);
        let halt = is_halted(statistics[1]) || !is_finite(statistics[0]) || (bad && !LOSS_SCALED);
        let skip = bad || is_skipped(statistics[1]);
        statistics[1] = select(select(1.0, SKIPPED, skip), HALTED, halt);
    }
}
