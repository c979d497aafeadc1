// partial[p, b] = (bits of max |x|, sum of (x / unit)^2) over block b of gradient p; the unit follows from the maximum, and
// is 1 for all but extreme numbers. Blocks that a gradient does not have count nothing.
override GRADIENTS: u32 = 1u;
override LEN: u32;       // Reals of a gradient
override BLOCK: u32;     // Reals of a workgroup
override BLOCKS: u32;    // of a gradient
override PARTIALS: u32;  // room for blocks, of every gradient
@group(0) @binding(0) var<storage, read>       x:       array<Real>;       // [GRADIENTS, LEN]
@group(0) @binding(1) var<storage, read_write> partial: array<vec2<u32>>;  // [GRADIENTS, PARTIALS]

@compute @workgroup_size(WG)
fn squared_norm(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let number = group.y * count.x + group.x;
    if (number >= GRADIENTS * BLOCKS) { return; }
    let gradient = number / BLOCKS;
    let block = number % BLOCKS;
    let first = gradient * LEN + block * BLOCK + lane;
    let end = gradient * LEN + min(LEN, (block + 1u) * BLOCK);
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
    let place = gradient * PARTIALS + block;
    if (lane == 0u) { partial[place] = vec2(largest, bitcast<u32>(squares)); }
    for (var rest = block + BLOCKS * (lane + 1u); rest < PARTIALS; rest += BLOCKS * WG) {
        partial[gradient * PARTIALS + rest] = vec2(0u);
    }
}
