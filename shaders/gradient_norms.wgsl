// norms[p] = (bits of max |x|, sum of (x / unit)^2) of gradient p, from its blocks. One workgroup per gradient.
override GRADIENTS: u32;
override PARTIALS: u32;
@group(0) @binding(0) var<storage, read>       partial: array<vec2<u32>>;  // [GRADIENTS, PARTIALS]
@group(0) @binding(1) var<storage, read_write> norms:   array<vec2<u32>>;  // [GRADIENTS]

@compute @workgroup_size(WG)
fn gradient_norms(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let gradient = group.y * count.x + group.x;
    if (gradient >= GRADIENTS) { return; }
    let first = gradient * PARTIALS;
    var bits = 0u;
    for (var block = lane; block < PARTIALS; block += WG) { bits = max(bits, partial[first + block].x); }
    let largest = workgroup_largest(bits, lane, WG);
    if (lane == 0u) {
        var squares = 0.0;
        for (var block = 0u; block < PARTIALS; block++) { squares += in_unit_of(largest, partial[first + block]); }
        norms[gradient] = vec2(largest, bitcast<u32>(squares));
    }
}
