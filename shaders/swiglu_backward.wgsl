// With y = silu(gate) up: gate becomes dgate, up becomes dup, and dy becomes y, which the weights' gradient wants.
// All in place: the backward pass needs no memory of its own here.
override LEN: u32;
@group(0) @binding(0) var<storage, read_write> gate: array<f32>;  // [LEN]
@group(0) @binding(1) var<storage, read_write> up:   array<f32>;  // [LEN]
@group(0) @binding(2) var<storage, read_write> dy:   array<f32>;  // [LEN]

@compute @workgroup_size(64)
fn swiglu_backward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = (group.y * count.x + group.x) * 64u + lane;
    if (at >= LEN) { return; }
    let sigmoid = 1.0 / (1.0 + exp(-gate[at]));
    let silu = gate[at] * sigmoid;
    let d = dy[at];
    dy[at] = silu * up[at];
    gate[at] = d * up[at] * (sigmoid + silu * (1.0 - sigmoid));
    up[at] = d * silu;
}
