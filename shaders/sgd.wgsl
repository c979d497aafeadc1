// Plain SGD as in PyTorch: w -= lr (g + WEIGHT_DECAY w).
override LEN: u32;  // in Reals
override LR: f32;
override WEIGHT_DECAY: f32 = 0.0;
@group(0) @binding(0) var<storage, read_write> weight:     array<Real>;  // [LEN]
@group(0) @binding(1) var<storage, read>       gradient:   array<Real>;  // [LEN]
@group(0) @binding(2) var<storage, read>       statistics: array<f32>;   // [1] is the clip factor
@group(0) @binding(3) var<uniform>             step:       Step;

@compute @workgroup_size(64)
fn sgd(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = (group.y * count.x + group.x) * 64u + lane;
    if (at >= LEN || halted(statistics[1])) { return; }
    let g = fma(Real(WEIGHT_DECAY), weight[at], gradient[at] * statistics[1]);
    weight[at] -= LR * step.schedule * g;
}
