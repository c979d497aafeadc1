// Lion (Chen et al. 2023, algorithm 2): w = (1 - lr WEIGHT_DECAY) w - lr sign(BETA1 m + (1 - BETA1) g);
// m = BETA2 m + (1 - BETA2) g.
override LEN: u32;  // in Reals
override LR: f32;
override BETA1: f32;
override BETA2: f32;
override ONE_MINUS_BETA1: f32;  // 1 - BETA1, computed by the host: f32 would lose digits
override ONE_MINUS_BETA2: f32;  // 1 - BETA2
override WEIGHT_DECAY: f32 = 0.0;
@group(0) @binding(0) var<storage, read_write> weight:     array<Real>;  // [LEN]
@group(0) @binding(1) var<storage, read>       gradient:   array<Real>;  // [LEN]
@group(0) @binding(2) var<storage, read_write> exp_avg:    array<Real>;  // [LEN], zero before the first step
@group(0) @binding(3) var<storage, read>       statistics: array<f32>;   // [1] is the clip factor
@group(0) @binding(4) var<uniform>             step:       Step;

@compute @workgroup_size(64)
fn lion(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = (group.y * count.x + group.x) * 64u + lane;
    if (at >= LEN || halted(statistics[1])) { return; }
    let lr = LR * step.schedule;
    let g = gradient[at] * statistics[1];
    let m = exp_avg[at];
    weight[at] = weight[at] * (1.0 - lr * WEIGHT_DECAY) - lr * sign(fma(Real(BETA1), m, ONE_MINUS_BETA1 * g));
    exp_avg[at] = fma(Real(BETA2), m, ONE_MINUS_BETA2 * g);
}
