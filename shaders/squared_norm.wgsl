// partial[p, b] = (bits of max |x|, sum of (x / unit)^2) over block b of gradient p; the unit is chosen from the
// maximum, and is 1 for all but extreme numbers. Unused blocks of a gradient contribute nothing.
struct Params {
    gradients: u32,
    len: u32,        // Reals per gradient
    block: u32,      // Reals per workgroup
    blocks: u32,     // per gradient
    partials: u32,   // space for blocks, per gradient
}
@group(0) @binding(0) var<storage, read>       x:       array<Real>;       // [GRADIENTS, LEN]
@group(0) @binding(1) var<storage, read_write> partial: array<vec2<u32>>;  // [GRADIENTS, PARTIALS]
@group(0) @binding(2) var<uniform>             params:  Params;

@compute @workgroup_size(WG)
fn squared_norm(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let number = group.y * count.x + group.x;
    if (number >= params.gradients * params.blocks) { return; }
    let gradient = number / params.blocks;
    let block = number % params.blocks;
    let first = gradient * params.len + block * params.block + lane;
    let end = gradient * params.len + min(params.len, (block + 1u) * params.block);
    var bits = 0u;
    var sum = Real(0.0);
    for (var at = first; at < end; at += WG) {
        let value = x[at];
        bits = max(bits, magnitude(value));
        sum = fma(value, value, sum);
    }
    let largest = workgroup_largest(bits, lane, WG);
    let scale = norm_scale(largest);
    if (scale != 1.0) {
        sum = Real(0.0);
        for (var at = first; at < end; at += WG) {
            let value = x[at] * scale;
            sum = fma(value, value, sum);
        }
    }
    let squares = workgroup_sum(total(sum), lane);
    let place = gradient * params.partials + block;
    if (lane == 0u) { partial[place] = vec2(largest, bitcast<u32>(squares)); }
    for (var rest = block + params.blocks * (lane + 1u); rest < params.partials; rest += params.blocks * WG) {
        partial[gradient * params.partials + rest] = vec2(0u);
    }
}
