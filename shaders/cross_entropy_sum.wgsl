// loss (+)= SCALE times the sum of the rows' losses.
override ROWS: u32;
override SCALE: f32;
override ACCUMULATE: bool = false;
@group(0) @binding(0) var<storage, read>       losses: array<f32>;  // [ROWS]
@group(0) @binding(1) var<storage, read_write> loss:   array<f32>;  // [1]

@compute @workgroup_size(WG)
fn cross_entropy_sum(@builtin(local_invocation_index) lane: u32) {
    var sum = 0.0;
    for (var row = lane; row < ROWS; row += WG) { sum += losses[row]; }
    let total = workgroup_sum(sum, lane);
    if (lane == 0u) { loss[0] = select(0.0, loss[0], ACCUMULATE) + SCALE * total; }
}
