// AdamW (Loshchilov & Hutter, 2019, algorithm 2), as PyTorch orders it: decay first, eps after the bias correction.
override LEN: u32;  // in Reals
override LR: f32;
override BETA1: f32;
override BETA2: f32;
override ONE_MINUS_BETA1: f32;  // 1 - BETA1, computed by the host: in f32, 1 - 0.999 has only four digits
override ONE_MINUS_BETA2: f32;  // 1 - BETA2
override LOG_BETA1: f32;
override LOG_BETA2: f32;
override EPS: f32;
override WEIGHT_DECAY: f32 = 0.0;
@group(0) @binding(0) var<storage, read_write> weight:     array<Real>;  // [LEN]
@group(0) @binding(1) var<storage, read>       gradient:   array<Real>;  // [LEN]
@group(0) @binding(2) var<storage, read_write> exp_avg:    array<Real>;  // [LEN]
@group(0) @binding(3) var<storage, read_write> exp_avg_sq: array<Real>;  // [LEN]
@group(0) @binding(4) var<storage, read>       statistics: array<f32>;   // [1] is the clip factor
@group(0) @binding(5) var<uniform>             step:       Step;

@compute @workgroup_size(64)
fn adamw(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = (group.y * count.x + group.x) * 64u + lane;
    if (at >= LEN || halted(statistics[1])) { return; }
    let lr = LR * step.schedule;
    let g = gradient[at] * statistics[1];
    let m = fma(Real(BETA1), exp_avg[at], ONE_MINUS_BETA1 * g);
    let v = fma(Real(BETA2), exp_avg_sq[at], ONE_MINUS_BETA2 * g * g);
    exp_avg[at] = m;
    exp_avg_sq[at] = v;
    let denominator = sqrt(v) / sqrt(one_minus_power(LOG_BETA2, step.number)) + EPS;
    weight[at] = weight[at] * (1.0 - lr * WEIGHT_DECAY) - lr / one_minus_power(LOG_BETA1, step.number) * m / denominator;
}
