// loss (+)= SCALE sum over rows of (log-sum-exp - target's logit); rows whose target is IGNORE count nothing.
override ROWS: u32;
override SCALE: f32;
override ACCUMULATE: bool = false;
const IGNORE: u32 = 0xffffffffu;
@group(0) @binding(0) var<storage, read>       statistics: array<vec4<f32>>;  // [ROWS]
@group(0) @binding(1) var<storage, read>       targets:    array<u32>;        // [ROWS]
@group(0) @binding(2) var<storage, read_write> loss:       array<f32>;        // [1]

@compute @workgroup_size(WG)
fn cross_entropy_loss(@builtin(local_invocation_index) lane: u32) {
    var sum = 0.0;
    for (var row = lane; row < ROWS; row += WG) {
        let s = statistics[row];
        if (targets[row] != IGNORE) { sum += s.x + log(s.y) - s.z; }
    }
    let total = workgroup_sum(sum, lane);
    if (lane == 0u) { loss[0] = select(0.0, loss[0], ACCUMULATE) + SCALE * total; }
}
