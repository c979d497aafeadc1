// With y = silu(gate) up: gate becomes dgate, up becomes dup, and dy becomes y, which the weight gradient needs.
// All in place, so the backward pass needs no extra memory here.
override LEN: u32;  // in Reals
@group(0) @binding(0) var<storage, read_write> gate: array<Stored>;  // [LEN]
@group(0) @binding(1) var<storage, read_write> up:   array<Stored>;  // [LEN]
@group(0) @binding(2) var<storage, read_write> dy:   array<Stored>;  // [LEN]

@compute @workgroup_size(256)
fn swiglu_backward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = (group.y * count.x + group.x) * 256u + lane;
    if (at >= LEN) { return; }
    // Read everything before the first write: the compiler cannot know that the three do not overlap.
    let g = Real(gate[at]);
    let u = Real(up[at]);
    let d = Real(dy[at]);
    let sigmoid = 1.0 / (1.0 + exp(-g));
    let silu = g * sigmoid;
    dy[at] = stored(silu * u);
    gate[at] = stored(d * u * (sigmoid + silu * (1.0 - sigmoid)));
    up[at] = stored(d * silu);
}
