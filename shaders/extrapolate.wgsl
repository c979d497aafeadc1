// Moves the weight along the last gradient: w -= LR g. The update undoes this.
override LEN: u32;
override LR: f32;
@group(0) @binding(0) var<storage, read_write> weight:   array<f32>;  // [LEN]
@group(0) @binding(1) var<storage, read>       previous: array<f32>;  // [LEN] the last gradient, zero before the first step
@group(0) @binding(2) var<uniform>             step:     Step;

@compute @workgroup_size(64)
fn extrapolate(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = (group.y * count.x + group.x) * 64u + lane;
    if (at >= LEN) { return; }
    weight[at] -= LR * step.schedule * previous[at];
}
