// factor[k] = TARGET / norm of matrix k, from the blocks in `partial`; 0 for a zero matrix. One workgroup per matrix.
override BLOCKS: u32;
override TARGET: f32;
override MAXIMUM: bool;  // the norm is max |x|, else the Frobenius norm
@group(0) @binding(0) var<storage, read>       partial: array<vec2<f32>>;  // [matrices, BLOCKS]: max |x|, sum of (x / max)^2
@group(0) @binding(1) var<storage, read_write> factor:  array<f32>;        // [matrices]

@compute @workgroup_size(WG)
fn whole_factor(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let first = group.x * BLOCKS;
    var largest = 0.0;
    for (var block = lane; block < BLOCKS; block += WG) { largest = max(largest, partial[first + block].x); }
    largest = workgroup_max(largest, lane);
    let scale = select(0.0, 1.0 / largest, largest >= 1.1754944e-38);
    var squares = 0.0;
    for (var block = lane; block < BLOCKS; block += WG) {
        let share = partial[first + block].x * scale;
        squares = fma(partial[first + block].y, share * share, squares);
    }
    squares = workgroup_sum(squares, lane);
    if (lane == 0u) {
        var result = 0.0;
        if (squares > 0.0) { result = scale * select(TARGET / sqrt(squares), TARGET, MAXIMUM); }
        factor[group.x] = result;
    }
}
