// statistics = [loss, clip factor, squared norm of all gradients, squared norm of each]; the loss stays as it is.
// A NaN or an infinity in the loss or a gradient halts the run: the factor is -1 from then on, and updates do nothing.
// Else the factor is PyTorch's clip_grad_norm_: min(1, MAX_NORM / (norm + 1e-6)), or 1 without clipping (MAX_NORM = 0).
override N_PARAMETERS: u32;
override BLOCKS: u32;  // partial sums of each parameter
override MAX_NORM: f32 = 0.0;
@group(0) @binding(0) var<storage, read>       partial:    array<f32>;  // [N_PARAMETERS, BLOCKS]
@group(0) @binding(1) var<storage, read_write> statistics: array<f32>;  // [3 + N_PARAMETERS]

@compute @workgroup_size(WG)
fn gradient_statistics(@builtin(local_invocation_index) lane: u32) {
    var sum = 0.0;
    for (var parameter = lane; parameter < N_PARAMETERS; parameter += WG) {
        var squares = 0.0;
        for (var block = 0u; block < BLOCKS; block++) { squares += partial[parameter * BLOCKS + block]; }
        statistics[3u + parameter] = squares;
        sum += squares;
    }
    let total = workgroup_sum(sum, lane);
    if (lane == 0u) {
        let factor = select(1.0, min(1.0, MAX_NORM / (sqrt(total) + 1e-6)), MAX_NORM > 0.0);
        let halt = statistics[1] < 0.0 || !is_finite(total) || !is_finite(statistics[0]);
        statistics[1] = select(factor, -1.0, halt);
        statistics[2] = total;
    }
}
