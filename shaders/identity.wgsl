// The identity and round 0: the initial state of an elimination or of rotations.
override ROWS: u32;
@group(0) @binding(0) var<storage, read_write> y:     array<f32>;  // [ROWS, ROWS]
@group(0) @binding(1) var<storage, read_write> round: array<u32>;  // [1]

@compute @workgroup_size(64)
fn identity(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = (group.y * count.x + group.x) * 64u + lane;
    if (at == 0u) { round[0] = 0u; }
    if (at < ROWS * ROWS) { y[at] = select(0.0, 1.0, at / ROWS == at % ROWS); }
}
