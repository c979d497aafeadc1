// APOLLO's factor for each channel of the clipped gradient: the norm of Adam's step over that of the gradient, both
// projected; a single factor for all if WHOLE. Includes the clip factor.
override CHANNELS: u32;
override WHOLE: bool;
const EPS: f32 = 1e-8;  // added to the norm in the divisor, as in the authors' code
@group(0) @binding(0) var<storage, read>       sums:       array<vec2<f32>>;  // [CHANNELS]
@group(0) @binding(1) var<storage, read>       statistics: array<f32>;        // [1] is the clip factor
@group(0) @binding(2) var<storage, read_write> factors:    array<f32>;        // [CHANNELS]

@compute @workgroup_size(WG)
fn apollo_factors(@builtin(local_invocation_index) lane: u32) {
    var all = vec2(0.0);
    if (WHOLE) {
        for (var at = lane; at < CHANNELS; at += WG) { all += sums[at]; }
    }
    all = vec2(workgroup_sum(all.x, lane), workgroup_sum(all.y, lane));
    for (var at = lane; at < CHANNELS; at += WG) {
        let roots = sqrt(select(sums[at], all, WHOLE));
        factors[at] = statistics[1] * roots.x / (roots.y + EPS);
    }
}
