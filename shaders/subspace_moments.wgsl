// Adam's moments of a projected gradient R, one workgroup per channel: the direction m / (sqrt(v) + EPS) times the bias
// corrections for GaLore, and sums[i] = (sum over k of (m / (sqrt(v) + EPS))^2, sum over k of R^2) for Fira and APOLLO.
override RANK: u32;
override CHANNELS: u32;
override BETA1: f32;
override BETA2: f32;
override ONE_MINUS_BETA1: f32;  // 1 - BETA1, computed by the host
override ONE_MINUS_BETA2: f32;
override LOG_BETA1: f32;
override LOG_BETA2: f32;
override EPS: f32;
override DIRECTION: bool;  // whether to write the direction
@group(0) @binding(0) var<storage, read>       projected:  array<f32>;        // [CHANNELS, RANK]
@group(0) @binding(1) var<storage, read>       statistics: array<f32>;        // [1] is the clip factor
@group(0) @binding(2) var<storage, read_write> exp_avg:    array<f32>;        // [CHANNELS, RANK]
@group(0) @binding(3) var<storage, read_write> exp_avg_sq: array<f32>;        // [CHANNELS, RANK]
@group(0) @binding(4) var<storage, read_write> direction:  array<f32>;        // [CHANNELS, RANK], or anything
@group(0) @binding(5) var<storage, read_write> sums:       array<vec2<f32>>;  // [CHANNELS]
@group(0) @binding(6) var<uniform>             step:       Step;

@compute @workgroup_size(WG)
fn subspace_moments(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let channel = group.y * count.x + group.x;
    let corrections = sqrt(one_minus_power(LOG_BETA2, step.number)) / one_minus_power(LOG_BETA1, step.number);
    var scaled = 0.0;
    var raw = 0.0;
    if (channel < CHANNELS && !halted(statistics[1])) {
        for (var k = lane; k < RANK; k += WG) {
            let at = channel * RANK + k;
            let x = projected[at] * statistics[1];
            let m = fma(BETA1, exp_avg[at], ONE_MINUS_BETA1 * x);
            let v = fma(BETA2, exp_avg_sq[at], ONE_MINUS_BETA2 * x * x);
            exp_avg[at] = m;
            exp_avg_sq[at] = v;
            let adam = m / (sqrt(v) + EPS);
            if (DIRECTION) { direction[at] = corrections * adam; }
            scaled = fma(adam, adam, scaled);
            raw = fma(x, x, raw);
        }
    }
    scaled = workgroup_sum(scaled, lane);
    raw = workgroup_sum(raw, lane);
    if (lane == 0u && channel < CHANNELS) { sums[channel] = vec2(scaled, raw); }
}
