// SGD with a gradient taken at an extrapolated point: moves back from there, exact to about an ulp, then
// w -= LR (g + WEIGHT_DECAY w), and stores g as the last gradient. A halted run only moves back.
override LEN: u32;
override LR: f32;
override LOOKAHEAD: f32;  // rate of the extrapolation
override WEIGHT_DECAY: f32 = 0.0;
@group(0) @binding(0) var<storage, read_write> weight:     array<f32>;  // [LEN]
@group(0) @binding(1) var<storage, read>       gradient:   array<f32>;  // [LEN]
@group(0) @binding(2) var<storage, read_write> previous:   array<f32>;  // [LEN]
@group(0) @binding(3) var<storage, read>       statistics: array<f32>;  // [1] is the clip factor
@group(0) @binding(4) var<uniform>             step:       Step;

@compute @workgroup_size(64)
fn extrapolated_sgd(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = (group.y * count.x + group.x) * 64u + lane;
    if (at >= LEN) { return; }
    let w = weight[at] + LOOKAHEAD * step.schedule * previous[at];
    if (halted(statistics[1])) {
        weight[at] = w;
        return;
    }
    let g = gradient[at] * statistics[1];
    weight[at] = w - LR * step.schedule * fma(WEIGHT_DECAY, w, g);
    previous[at] = g;
}
