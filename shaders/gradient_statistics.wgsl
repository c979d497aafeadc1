// statistics = [loss, clip factor, norm of all gradients, norm of each]; the loss is unchanged.
// A NaN or an infinity in the loss or a gradient halts the run: the factor is -1 from then on, and updates do nothing.
// Under a loss scale such a gradient has overflowed, and only this step is skipped.
// Otherwise the factor is PyTorch's clip_grad_norm_: min(1, MAX_NORM / (norm + 1e-6)), or 1 if MAX_NORM = 0.
override N_PARAMETERS: u32;
override MAX_NORM: f32 = 0.0;
override LOSS_SCALED: bool = false;
@group(0) @binding(0) var<storage, read>       norms:      array<vec2<u32>>;  // [N_PARAMETERS]
@group(0) @binding(1) var<storage, read_write> statistics: array<f32>;        // [3 + N_PARAMETERS]

@compute @workgroup_size(WG)
fn gradient_statistics(@builtin(local_invocation_index) lane: u32) {
    var bits = 0u;
    for (var parameter = lane; parameter < N_PARAMETERS; parameter += WG) {
        let norm = norms[parameter];
        statistics[3u + parameter] = norm_of(norm.x, bitcast<f32>(norm.y));
        bits = max(bits, norm.x);
    }
    let largest = workgroup_largest(bits, lane, WG);
    var sum = 0.0;
    for (var parameter = lane; parameter < N_PARAMETERS; parameter += WG) { sum += in_unit_of(largest, norms[parameter]); }
    let squares = workgroup_sum(sum, lane);
    if (lane == 0u) {
        let norm = norm_of(largest, squares);
        let factor = select(1.0, min(1.0, MAX_NORM / (norm + 1e-6)), MAX_NORM > 0.0);
        let bad = is_bad(largest);
        let halt = is_halted(statistics[1]) || !is_finite(statistics[0]) || (bad && !LOSS_SCALED);
        statistics[1] = select(select(factor, SKIPPED, bad), HALTED, halt);
        statistics[2] = norm;
    }
}
