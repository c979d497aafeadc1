// y = silu(gate) up.
override LEN: u32;
@group(0) @binding(0) var<storage, read>       gate: array<f32>;  // [LEN]
@group(0) @binding(1) var<storage, read>       up:   array<f32>;  // [LEN]
@group(0) @binding(2) var<storage, read_write> y:    array<f32>;  // [LEN]

@compute @workgroup_size(64)
fn swiglu(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = (group.y * count.x + group.x) * 64u + lane;
    if (at < LEN) { y[at] = gate[at] / (1.0 + exp(-gate[at])) * up[at]; }
}
