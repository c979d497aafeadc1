// An update inside the backward pass: statistics[3 + PARAMETER] = squared norm of this gradient, and the factor is 1, or -1
// from the first loss or gradient on that is NaN or infinite: later updates do nothing.
override PARAMETER: u32;
override BLOCKS: u32;
@group(0) @binding(0) var<storage, read>       partial:    array<f32>;  // [BLOCKS]
@group(0) @binding(1) var<storage, read_write> statistics: array<f32>;  // [3 + parameters]

@compute @workgroup_size(1)
fn gradient_check() {
    var squares = 0.0;
    for (var block = 0u; block < BLOCKS; block++) { squares += partial[block]; }
    statistics[3u + PARAMETER] = squares;
    let halt = statistics[1] < 0.0 || !is_finite(squares) || !is_finite(statistics[0]);
    statistics[1] = select(1.0, -1.0, halt);
}
