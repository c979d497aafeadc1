// Adam with a second moment that does not start at 0 (arXiv 2412.02153). From data: in the first BATCHES steps
// v += START g^2 / BATCHES, and nothing moves. Random (BATCHES is 0): v = START z^2 before the first step, with z
// standard normal.
override LEN: u32;
override LR: f32;
override BETA1: f32;
override BETA2: f32;
override ONE_MINUS_BETA1: f32;  // 1 - BETA1, by the host
override ONE_MINUS_BETA2: f32;
override LOG_BETA1: f32;
override LOG_BETA2: f32;
override EPS: f32;
override WEIGHT_DECAY: f32 = 0.0;
override START: f32;
override BATCHES: u32;
override STREAM: u32;
override CORRECTS: u32;  // whether to correct v, too, as if it had started at 0
@group(0) @binding(0) var<storage, read_write> weight:     array<f32>;  // [LEN]
@group(0) @binding(1) var<storage, read>       gradient:   array<f32>;  // [LEN]
@group(0) @binding(2) var<storage, read_write> exp_avg:    array<f32>;  // [LEN], zero before the first step
@group(0) @binding(3) var<storage, read_write> exp_avg_sq: array<f32>;  // [LEN], zero before the first step
@group(0) @binding(4) var<storage, read>       statistics: array<f32>;  // [1] is the clip factor
@group(0) @binding(5) var<uniform>             step:       Step;

@compute @workgroup_size(64)
fn adam_nonzero(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = (group.y * count.x + group.x) * 64u + lane;
    if (at >= LEN || halted(statistics[1])) { return; }
    let g = gradient[at] * statistics[1];
    var start = exp_avg_sq[at];
    if (step.number <= BATCHES) {
        exp_avg_sq[at] = fma(START / f32(max(BATCHES, 1u)) * g, g, start);
        return;
    }
    let number = step.number - BATCHES;
    if (BATCHES == 0u && number == 1u) {
        let z = normal(at, STREAM, 0u, step.seed);
        start = START * z * z;
    }
    let lr = LR * step.schedule;
    let m = fma(BETA1, exp_avg[at], ONE_MINUS_BETA1 * g);
    let v = fma(BETA2, start, ONE_MINUS_BETA2 * g * g);
    exp_avg[at] = m;
    exp_avg_sq[at] = v;
    let corrected = m / one_minus_power(LOG_BETA1, number);
    let square = select(v, v / one_minus_power(LOG_BETA2, number), CORRECTS != 0u);
    weight[at] = weight[at] * (1.0 - lr * WEIGHT_DECAY) - lr * corrected / (sqrt(square) + EPS);
}
