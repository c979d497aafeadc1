// y = silu(gate) up.
override LEN: u32;  // in Reals
@group(0) @binding(0) var<storage, read>       gate: array<Stored>;  // [LEN]
@group(0) @binding(1) var<storage, read>       up:   array<Stored>;  // [LEN]
@group(0) @binding(2) var<storage, read_write> y:    array<Stored>;  // [LEN]

@compute @workgroup_size(256)
fn swiglu(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = (group.y * count.x + group.x) * 256u + lane;
    if (at >= LEN) { return; }
    y[at] = stored(silu(Real(gate[at])) * Real(up[at]));
}
