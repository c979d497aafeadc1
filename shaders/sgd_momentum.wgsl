// SGD with momentum as in PyTorch: g += decay w; b = MOMENTUM b + g; w -= lr b, or lr (g + MOMENTUM b) for Nesterov.
override LEN: u32;  // in Reals
override LR: f32;
override MOMENTUM: f32;
override NESTEROV: bool = false;
override WEIGHT_DECAY: f32 = 0.0;
@group(0) @binding(0) var<storage, read_write> weight:          array<Real>;  // [LEN]
@group(0) @binding(1) var<storage, read>       gradient:        array<Real>;  // [LEN]
@group(0) @binding(2) var<storage, read_write> momentum_buffer: array<Real>;  // [LEN], zero before the first step
@group(0) @binding(3) var<storage, read>       statistics:      array<f32>;   // [1] is the clip factor
@group(0) @binding(4) var<uniform>             step:            Step;

@compute @workgroup_size(64)
fn sgd_momentum(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = (group.y * count.x + group.x) * 64u + lane;
    if (at >= LEN || halted(statistics[1])) { return; }
    let g = fma(Real(WEIGHT_DECAY), weight[at], gradient[at] * statistics[1]);
    let b = fma(Real(MOMENTUM), momentum_buffer[at], g);
    momentum_buffer[at] = b;
    var lookahead = b;
    if (NESTEROV) { lookahead = fma(Real(MOMENTUM), b, g); }
    weight[at] -= LR * step.schedule * lookahead;
}
